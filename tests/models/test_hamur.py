"""HAMUR: the formulas, the models that it becomes, and what a scenario's step leaves alone."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.adapter import AdaptedGroupedMLP
from recbole_midpg.layers.scenario_grouping import GroupedMLP, ScenarioGroups
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.hamur import HAMUR
from tests.reference.hamur import hamur_logits
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model, train_step

SMALL = {"hyper_rank": 3, "adapter_size": 5, "hyper_hidden_size": [7]}
BACKBONES = pytest.mark.parametrize("specific", [True, False])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"adapter_layers": 3, "hyper_hidden_size": []},
        {"adapter_layers": 1, "hyper_rank": 9, "hyper_hidden_size": [6, 5]},
        {"adapter_layers": 0},
        {"specific_backbone": False},
        {"specific_backbone": False, "adapter_layers": 3},
    ],
    ids=str,
)
def test_reference(training, settings):
    model = scrambled(toy_model(HAMUR, pn_min_rows=4, **{**SMALL, **settings})).double()
    # A batch before, so that running statistics are not those of the start.
    model(toy_batch(40, seed=1, scenarios=[1, 1, 3]))
    model.train(training)
    batch = toy_batch(40, scenarios=[1, 1, 1, 2, 1, 3, 1, 0])
    inputs, _ = model.embed(batch)
    expected = hamur_logits(model, inputs, batch[SCENARIO], training)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)
    leaves = list(model.parameters())
    for gradient, expected_gradient in zip(
        torch.autograd.grad(model.calculate_loss(batch), leaves),
        torch.autograd.grad(model.cross_entropy(expected, batch), leaves),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


def without_effect(model):
    """A model whose adapters add zero: the norm's scale and shift are zero."""
    with torch.no_grad():
        for adapter in model.backbone.adapters:
            for parameter in adapter.norm.parameters():
                parameter.zero_()
    return model


@pytest.mark.parametrize("adapter_layers", [0, 1, 3])
def test_a_shared_network_without_adapters_effect_is_dnn(adapter_layers):
    model = toy_model(HAMUR, specific_backbone=False, adapter_layers=adapter_layers, **SMALL)
    model = without_effect(scrambled(model)).double()
    plain = toy_model(DNN).double()
    plain.token_embedding_table = model.token_embedding_table
    layers = [*model.backbone.layers, model.backbone.output]
    for place, layer in zip(plain.backbone.layers[::3], layers, strict=True):
        place.load_state_dict(layer.state_dict())
    batch = toy_batch(30)
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("adapter_layers", [0, 1, 3])
def test_networks_without_adapters_effect_are_a_dnn_for_each_scenario(adapter_layers):
    """SharedBottom without a bottom layer: whole networks on shared embeddings."""
    model = without_effect(scrambled(toy_model(HAMUR, adapter_layers=adapter_layers))).double()
    batch = toy_batch(30, scenarios=[0, 1, 2, 3])
    inputs, _ = model.embed(batch)
    towers = GroupedMLP(4, model.input_size, model.hidden_sizes, 1, "relu", 0.0).double()
    for place, layer in zip(towers.layers, model.backbone.layers, strict=True):
        place.load_state_dict(layer.state_dict())
    groups = ScenarioGroups(batch[SCENARIO], 4)
    expected = groups.pick_up(towers(groups.lay_out(inputs), groups)).squeeze(-1)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-12)
    for scenario in range(4):
        plain = toy_model(DNN).double()
        plain.token_embedding_table = model.token_embedding_table
        with torch.no_grad():
            for place, layer in zip(plain.backbone.layers[::3], model.backbone.layers, strict=True):
                place.weight.copy_(layer.weight[scenario].T)
                place.bias.copy_(layer.bias[scenario])
        own = batch[SCENARIO] == scenario
        torch.testing.assert_close(model(batch)[own], plain(batch)[own], rtol=0, atol=1e-12)


@BACKBONES
def test_a_new_model_is_its_backbone_until_its_adapters_have_learned(specific):
    """The norm would bring a random cell to size 1 beside hidden layers that start far smaller."""
    model = toy_model(HAMUR, specific_backbone=specific, pn_min_rows=2, **SMALL)
    batch = toy_batch(40)

    def logits_without_adapters():
        return without_effect(copy.deepcopy(model))(batch)

    assert torch.equal(model(batch), logits_without_adapters())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    cells = [adapter.cell.second_output_factor.clone() for adapter in model.backbone.adapters]
    for _ in range(2):  # the first moves the scale, and only then the cell has a gradient
        train_step(model, batch, optimizer)
    assert not torch.allclose(model(batch), logits_without_adapters())
    for adapter, cell in zip(model.backbone.adapters, cells, strict=True):
        assert not torch.equal(adapter.cell.second_output_factor, cell)


@BACKBONES
def test_a_hyper_network_of_the_identity_makes_adapters_static(specific):
    """Then a cell is U V of rank k, the same for every row."""
    model = scrambled(toy_model(HAMUR, specific_backbone=specific, **SMALL)).double().eval()
    last = model.hyper_network.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.eye(3).flatten())
    inputs, _ = model.embed(toy_batch(9))
    instance = model.hyper_network(inputs.T).view(3, 3, -1)
    cell = model.backbone.adapters[0].cell
    hidden = torch.randn(9, 6, dtype=torch.float64)
    inner = hidden @ (cell.first_input_factor.T @ cell.first_output_factor) + cell.first_bias
    expected = (
        torch.sigmoid(inner) @ (cell.second_input_factor.T @ cell.second_output_factor)
        + cell.second_bias
    )
    torch.testing.assert_close(cell(hidden, instance), expected, rtol=0, atol=1e-12)


def own_parameters(model):
    """The parameters that have a slot for each scenario."""
    own = {}
    if isinstance(model.backbone, AdaptedGroupedMLP):
        own.update(model.backbone.layers.named_parameters())
    for number, adapter in enumerate(model.backbone.adapters):
        own[f"scale {number}"] = adapter.norm.specific_scale
        own[f"shift {number}"] = adapter.norm.specific_shift
    return own


@BACKBONES
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_on_one_scenario_leaves_the_others_parameters(specific, optimizer):
    model = scrambled(toy_model(HAMUR, specific_backbone=specific, pn_min_rows=2, **SMALL))
    own = own_parameters(model)
    assert len(own) == (8 if specific else 0) + 2 * 2
    before = {name: value.clone() for name, value in own.items()}
    statistics = [adapter.norm.running_mean.clone() for adapter in model.backbone.adapters]
    model.calculate_loss(toy_batch(30, scenarios=[2])).backward()
    optimizer(model.parameters(), lr=0.1).step()
    others = [0, 1, 3]
    for name, value in own.items():
        assert not value.grad[others].any(), name
        assert torch.equal(value[others], before[name][others]), name
        assert not torch.equal(value[2], before[name][2]), name
    for adapter, mean in zip(model.backbone.adapters, statistics, strict=True):
        assert torch.equal(adapter.norm.running_mean[others], mean[others])
        assert not torch.equal(adapter.norm.running_mean[2], mean[2])


@BACKBONES
def test_adapters_and_hyper_network_learn_from_every_scenario(specific):
    model = scrambled(toy_model(HAMUR, specific_backbone=specific, pn_min_rows=2, **SMALL))
    for scenario in range(4):
        model.zero_grad()
        model.calculate_loss(toy_batch(20, scenarios=[scenario])).backward()
        shared = [*model.hyper_network.parameters()]
        for adapter in model.backbone.adapters:
            # A shift of all rows is taken back by the norm: the cell's last bias gets no gradient.
            shared += [
                value for name, value in adapter.cell.named_parameters() if "bias" not in name
            ]
        assert all(value.grad.abs().max() > 1e-8 for value in shared)


@BACKBONES
@pytest.mark.parametrize("hidden_sizes", [[8, 6, 4], [5]])
@pytest.mark.parametrize("hyper_hidden", [[], [7], [5, 3]])
def test_parameter_count(specific, hidden_sizes, hyper_hidden):
    dataset, n, r, k = toy_dataset(6), 6, 5, 3
    model = toy_model(
        HAMUR,
        dataset,
        mlp_hidden_size=hidden_sizes,
        specific_backbone=specific,
        adapter_layers=1,
        **{**SMALL, "hyper_hidden_size": hyper_hidden},
    )
    of_dnn = count_parameters(toy_model(DNN, dataset, mlp_hidden_size=hidden_sizes))[1]
    widths, m = [model.input_size, *hyper_hidden, k * k], hidden_sizes[-1]
    expected = (n if specific else 1) * of_dnn
    expected += sum((a + 1) * b for a, b in pairwise(widths))
    expected += 2 * k * (m + r) + r + m + 2 * (n + 1) * m
    assert count_parameters(model)[1] == expected


@pytest.mark.parametrize(("n_scenarios", "expected"), [(11, 241_931), (101, 2_125_541)])
def test_size_at_the_defaults(n_scenarios, expected):
    model = toy_model(
        HAMUR, toy_dataset(n_scenarios), embedding_size=20, mlp_hidden_size=[128, 64, 32]
    )
    assert model.input_size == 80
    assert count_parameters(model)[1] == expected


@BACKBONES
def test_multiplications_at_the_defaults(specific):
    """1.56 times a plain network's, whichever backbone and however many scenarios there are."""
    model = toy_model(
        HAMUR, embedding_size=20, mlp_hidden_size=[128, 64, 32], specific_backbone=specific
    )
    linears = [m for m in model.backbone.modules() if isinstance(m, nn.Linear)]
    counted = [m for m in model.modules() if hasattr(m, "multiply_adds")]
    total = sum(m.weight.numel() for m in linears) + sum(m.multiply_adds() for m in counted)
    of_dnn = 128 * 80 + 128 * 64 + 64 * 32 + 32
    cells = sum(2 * (m * 8 + 8 * 8 + 8 * 16) for m in (64, 32))
    assert total == of_dnn + 64 * 80 + 64 * 64 + cells + (64 + 32)  # the last of the norms
    assert total / of_dnn == pytest.approx(1.56, abs=0.01)


@pytest.mark.parametrize("adapter_layers", [4, 9])
def test_more_adapters_than_hidden_layers_are_refused(adapter_layers):
    with pytest.raises(UsageError, match=rf"adapter_layers: {adapter_layers} .* at most 3"):
        toy_model(HAMUR, adapter_layers=adapter_layers)


def test_scenarios_that_no_batch_normalised_are_named():
    model = toy_model(HAMUR, pn_min_rows=6, **SMALL)
    model(toy_batch(20, scenarios=[1, 1, 1, 2]))
    assert model.remarks() == [
        "HAMUR: 2 of 3 scenarios had no training batch with 6 rows (pn_min_rows) and are "
        "normalised with mean 0 and variance 1; their tokens of scenario: [2, 3]."
    ]
    model(toy_batch(20, scenarios=[2, 3]))
    assert model.remarks() == []
    assert toy_model(HAMUR, adapter_layers=0).remarks() == []


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(HAMUR, adapter_layers=1, pn_min_rows=2, **SMALL) > 0.88 > dnn_auc()
