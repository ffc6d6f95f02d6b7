"""MMoE: the formula, the shared bottom in it, and what scenarios share."""

import copy

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.mmoe import MMoE
from recbole_midpg.models.sharedbottom import SharedBottom
from tests.reference.mixtures import mmoe_logits
from tests.support.expert_mixtures import mixture_parameters
from tests.support.full_size import DNN_MULTIPLICATIONS, full_size_model, multiplications
from tests.support.gradients import assert_same_values_and_gradients
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.one_scenario import assert_step_leaves_the_others
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model

VARIANTS = [
    {},
    {"experts": 1},
    {"experts": 2, "expert_layers": 1},
    {"experts": 3, "expert_layers": 3},
    {"expert_gate_hidden_size": [5]},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_reference(settings):
    model = scrambled(toy_model(MMoE, **settings)).double()
    batch = toy_batch(12, scenarios=[1, 1, 2, 0, 1, 3])
    inputs, _ = model.embed(batch)
    expected = mmoe_logits(model, inputs, batch[SCENARIO])
    assert_same_values_and_gradients(model(batch), expected, model.parameters())


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("n_experts", [1, 3])
def test_with_equal_experts_it_is_the_shared_bottom(depth, n_experts):
    """Gates sum to one: a mixture of experts that are the same is that expert."""
    plain = scrambled(toy_model(SharedBottom, bottom_layers=depth)).double()
    model = scrambled(toy_model(MMoE, expert_layers=depth, experts=n_experts)).double()
    model.token_embedding_table, model.towers = plain.token_embedding_table, plain.towers
    for network in model.mixture.experts.networks:
        network.load_state_dict(plain.bottom.state_dict())
    batch = toy_batch(20, scenarios=[0, 1, 2, 3])
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)


def test_experts_in_another_order_give_the_same_logits():
    model = scrambled(toy_model(MMoE)).double()
    other, order = copy.deepcopy(model), [2, 0, 3, 1]
    for place, number in enumerate(order):
        network = model.mixture.experts.networks[number]
        other.mixture.experts.networks[place] = copy.deepcopy(network)
    (gates,) = other.mixture.gates.layers
    gates.weight.data = gates.weight.data[:, :, order]
    batch = toy_batch(20)
    torch.testing.assert_close(model(batch), other(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_on_one_scenario_leaves_the_others_gates_and_towers(settings, optimizer):
    model = scrambled(toy_model(MMoE, activation="tanh", **settings))
    own = [*model.mixture.gates.parameters(), *model.towers.parameters()]
    assert_step_leaves_the_others(model, own, optimizer)
    assert all(value.grad[2].any() for value in model.towers.parameters())
    # A gate of a single expert is 1, whatever its weights.
    for value in model.mixture.gates.parameters():
        assert value.grad[2].any() == (settings.get("experts") != 1)
    assert all(value.grad.any() for value in model.mixture.experts.parameters())


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_parameter_count(settings):
    model = toy_model(MMoE, toy_dataset(6), **settings)
    assert count_parameters(model)[1] == mixture_parameters(settings, model.input_size, 6)


@pytest.mark.parametrize(("scenarios", "parameters"), [(11, 101_259), (101, 320_229)])
def test_size_and_cost_at_the_widths_of_the_comparison(scenarios, parameters):
    model = full_size_model(MMoE, scenarios)
    assert count_parameters(model)[1] == parameters
    assert multiplications(model) == 4 * (128 * 80 + 128 * 64 + 64 + 80) + 64 * 32 + 32
    assert multiplications(model) / DNN_MULTIPLICATIONS == pytest.approx(3.72, abs=0.005)


def test_more_expert_layers_than_widths_are_refused():
    with pytest.raises(UsageError, match=r"expert_layers: 4 layers .* at most 3"):
        toy_model(MMoE, expert_layers=4)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(MMoE, expert_layers=1) > 0.90 > dnn_auc()
