"""STAR: the formulas, its start as a shared network, and what a scenario's step leaves alone."""

import pytest
import torch

from recbole_midpg.layers.mlp import MLP
from recbole_midpg.layers.scenario_grouping import ScenarioGroups
from recbole_midpg.layers.star_linear import StarLinear
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.star import STAR
from tests.reference.baselines import star_logits
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_config, toy_dataset, toy_model


def as_mlp(model):
    """The shared network of STAR's layers as a plain one."""
    sizes = [layer.shared_weight.shape[0] for layer in model.backbone.layers]
    network = MLP(sizes[0], sizes[1:], 1).to(model.backbone.layers[0].shared_weight.dtype)
    for linear, layer in zip(network.layers[::3], model.backbone.layers, strict=True):
        linear.weight.data = layer.shared_weight.data.T
        linear.bias.data = layer.shared_bias.data
    return network


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings",
    [{}, {"partitioned_norm": False}, {"auxiliary_network": False}, {"auxiliary_hidden_size": []}],
    ids=str,
)
def test_reference(training, settings):
    model = scrambled(toy_model(STAR, pn_min_rows=4, **settings)).double().train(training)
    batch = toy_batch(40, scenarios=[1, 1, 1, 2, 1, 3, 1, 0])
    inputs, _ = model.embed(batch)
    expected = star_logits(model, inputs, batch[SCENARIO], training)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def test_it_starts_as_its_shared_network_for_every_scenario():
    model = toy_model(STAR, partitioned_norm=False, auxiliary_network=False).double()
    batch = toy_batch(20, scenarios=[0, 1, 2, 3])
    expected = as_mlp(model)(model.embed(batch)[0]).squeeze(-1)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-12)


# None: a checkpoint of a version without the key.
@pytest.mark.parametrize(("given", "scale"), [(None, 1.0), (1, 1.0), (0.1, 0.1)])
def test_the_input_is_normalised_to_the_initial_scale(given, scale):
    config = toy_config(STAR)
    config["pn_initial_scale"] = given
    model = STAR(config, toy_dataset())
    assert torch.equal(model.norm.shared_scale, torch.full((model.input_size,), scale))


def test_at_the_start_the_scenario_makes_no_difference_to_the_star_network():
    model = toy_model(STAR, auxiliary_network=False).double().eval()
    batch = toy_batch(8)
    inputs, _ = model.embed(batch)
    scores = []
    for scenario in range(4):
        groups = ScenarioGroups(torch.full((8,), scenario), 4)
        hidden = model.norm(groups.lay_out(inputs), groups)
        scores.append(groups.pick_up(model.backbone(hidden, groups)))
    for other in scores[1:]:
        assert torch.equal(scores[0], other)


def test_a_layer_by_hand():
    layer = StarLinear(2, 2, 1)
    with torch.no_grad():
        layer.shared_weight.copy_(torch.tensor([[2.0], [3.0]]))
        layer.shared_bias.fill_(1.0)
        layer.specific_weight[1] = torch.tensor([[0.5], [-1.0]])  # factors 1.5 and 0
        layer.specific_bias[1] = 0.25
    groups = ScenarioGroups(torch.tensor([0, 1]), 2)
    outputs = groups.pick_up(layer(groups.lay_out(torch.ones(2, 2)), groups))
    assert outputs.flatten().tolist() == [6.0, 4.25]
    assert layer.multiply_adds() == 2


def own_parameters(model):
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if "specific" in name.rsplit(".", 1)[-1]
    }


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_on_one_scenario_leaves_the_others_parameters(optimizer):
    model = scrambled(toy_model(STAR, pn_min_rows=2))
    before = {name: value.clone() for name, value in own_parameters(model).items()}
    assert len(before) == 2 * 4 + 2
    model.calculate_loss(toy_batch(30, scenarios=[2])).backward()
    optimizer(model.parameters(), lr=0.1).step()
    for name, value in own_parameters(model).items():
        others = [0, 1, 3]
        assert not value.grad[others].any()
        assert torch.equal(value[others], before[name][others])
        assert not torch.equal(value[2], before[name][2])


def test_shared_parameters_learn_from_every_scenario():
    model = scrambled(toy_model(STAR))
    for scenario in range(4):
        model.zero_grad()
        model.calculate_loss(toy_batch(20, scenarios=[scenario])).backward()
        assert all(layer.shared_weight.grad.any() for layer in model.backbone.layers)


@pytest.mark.parametrize("hidden_sizes", [[8, 6, 4], [5]])
def test_parameter_count(hidden_sizes):
    dataset = toy_dataset(6)
    model = toy_model(STAR, dataset, mlp_hidden_size=hidden_sizes, auxiliary_hidden_size=[7])
    of_dnn = count_parameters(toy_model(DNN, dataset, mlp_hidden_size=hidden_sizes))[1]
    d_0 = model.input_size
    expected = (6 + 1) * (of_dnn + 2 * d_0) + 7 * (d_0 + 2) + 1
    assert count_parameters(model)[1] == expected


def test_weight_decay_pulls_a_scenario_to_the_shared_network():
    model = scrambled(toy_model(STAR))
    optimizer = torch.optim.SGD(own_parameters(model).values(), lr=1.0, weight_decay=0.5)
    before = model.backbone.layers[0].specific_weight.detach().clone()
    for parameter in own_parameters(model).values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.backbone.layers[0].specific_weight.detach(), before / 2)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(STAR, pn_min_rows=2) > 0.88 > dnn_auc()
