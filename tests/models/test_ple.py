"""PLE: the formulas, what flows between scenarios, and what does not."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.experts import ExtractionLevel, RoutedLevel
from recbole_midpg.layers.scenario_grouping import ScenarioGroups
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.ple import PLE
from tests.reference.baselines import ple_logits
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.one_scenario import assert_step_leaves_the_others
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("n_specific", "n_shared"), [(1, 1), (2, 1), (1, 3)])
def test_reference(levels, n_specific, n_shared):
    model = toy_model(
        PLE, expert_levels=levels, specific_experts=n_specific, shared_experts=n_shared
    )
    model = scrambled(model).double()
    batch = toy_batch(12, scenarios=[1, 1, 2, 0, 1, 3])
    inputs, _ = model.embed(batch)
    expected = ple_logits(model, inputs, batch[SCENARIO])
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)
    leaves = list(model.parameters())
    for gradient, expected_gradient in zip(
        torch.autograd.grad(model(batch).square().sum(), leaves),
        torch.autograd.grad(expected.square().sum(), leaves, allow_unused=True),
        strict=True,
    ):
        expected_gradient = (  # noqa: PLW2901
            torch.zeros_like(gradient) if expected_gradient is None else expected_gradient
        )
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_one_scenario_whose_experts_are_all_alike_is_a_plain_network(levels):
    """Gates sum to one: a mixture of experts that are the same is that expert."""
    dataset = toy_dataset(1)
    model = toy_model(PLE, dataset, expert_levels=levels).double()
    plain = toy_model(DNN, dataset).double()
    plain.token_embedding_table = model.token_embedding_table
    linears = list(plain.backbone.layers[::3])
    with torch.no_grad():
        for level, linear in zip(model.levels, linears, strict=False):
            level.weight.copy_(linear.weight.expand_as(level.weight))
        last = linears[levels - 1]
        model.last_level.own_experts[0].weight[0].copy_(last.weight.T)
        model.last_level.shared_experts[0].weight.copy_(last.weight)
        for linear, tower in zip(linears[levels:], model.towers.layers, strict=True):
            tower.weight[0].copy_(linear.weight.T)
    batch = toy_batch(9, dataset=dataset, scenarios=[0])
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-10)


def test_a_level_by_hand():
    level = ExtractionLevel(2, 1, 1, 1, 1, "relu", 0.0).double()
    with torch.no_grad():
        level.weight.copy_(torch.tensor([1.0, -2.0, 3.0]).view(3, 1, 1))
        level.bias.copy_(torch.tensor([0.0, 5.0, 1.0]).view(3, 1))
        level.gates.zero_()
        level.shared_gate.weight.copy_(torch.tensor([3.0, 2.0, 1.0]).log().view(3, 1))
    x = torch.ones(1, 1, dtype=torch.float64)
    own, shared = level(x, x)
    # Experts 1, 3 and 4; even gates of a scenario, 3 : 2 : 1 of the shared one.
    assert own.flatten().tolist() == pytest.approx([(1 + 4) / 2, (3 + 4) / 2])
    assert shared.item() == pytest.approx((3 * 1 + 2 * 3 + 1 * 4) / 6)
    routed, same_shared = level(x, x, torch.tensor([1]))
    assert routed.item() == pytest.approx((3 + 4) / 2)
    assert same_shared.item() == pytest.approx(shared.item())


@pytest.mark.parametrize("first", [True, False])
def test_routed_and_whole_levels_agree(first):
    torch.manual_seed(0)
    level = ExtractionLevel(3, 4, 5, 2, 2, "relu", 0.0).double()
    shared = torch.randn(6, 4, dtype=torch.float64)
    own = shared if first else torch.randn(6, 3, 4, dtype=torch.float64)
    ids = torch.tensor([0, 1, 2, 2, 1, 1])
    whole, whole_shared = level(own, shared)
    routed, routed_shared = level(own, shared, ids)
    torch.testing.assert_close(routed, whole[torch.arange(6), ids], rtol=0, atol=1e-12)
    torch.testing.assert_close(routed_shared, whole_shared, rtol=0, atol=1e-12)


def test_the_first_level_is_the_general_one_on_equal_inputs():
    torch.manual_seed(0)
    level = ExtractionLevel(3, 4, 5, 2, 1, "relu", 0.0).double()
    shared = torch.randn(6, 4, dtype=torch.float64)
    repeated = shared.unsqueeze(1).expand(-1, 3, -1)
    for one, other in zip(level(shared, shared), level(repeated, shared), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gates_sum_to_one():
    """Experts that are all one give a mixture that is one."""
    level = ExtractionLevel(3, 4, 1, 2, 2, "relu", 0.0)
    last = RoutedLevel(3, 4, 1, 2, 2, "relu", 0.0)
    with torch.no_grad():
        level.weight.zero_()
        level.bias.fill_(1)
        for expert in [*last.own_experts, *last.shared_experts]:
            expert.weight.zero_()
            expert.bias.fill_(1)
    x, ids = torch.randn(7, 4), torch.tensor([0, 1, 2, 2, 1, 1, 1])
    groups = ScenarioGroups(ids, 3)
    for mixture in (*level(x, x), *level(x, x, ids), groups.pick_up(last(x, x, groups))):
        torch.testing.assert_close(mixture, torch.ones_like(mixture))


def gradients_of(model, scenarios):
    model.zero_grad()
    model.calculate_loss(toy_batch(30, scenarios=scenarios)).backward()


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_on_one_scenario_leaves_the_others_own_parameters(levels, optimizer):
    model = scrambled(toy_model(PLE, expert_levels=levels, specific_experts=2))
    own = [*model.last_level.own_experts.parameters(), *model.last_level.gates.parameters()]
    own += model.towers.parameters()
    if levels > 1:
        own.append(model.levels[-1].gates)
    assert_step_leaves_the_others(model, own, optimizer)
    assert all(value.grad[2].any() for value in own)


def test_below_the_last_level_experts_learn_from_other_scenarios_through_the_shared_gate():
    model = scrambled(toy_model(PLE, expert_levels=2))
    gradients_of(model, [2])
    assert all(model.levels[0].weight.grad[scenario].any() for scenario in range(4))


def test_one_level_keeps_scenarios_apart():
    model = scrambled(toy_model(PLE, expert_levels=1))
    gradients_of(model, [2])
    assert not model.last_level.own_experts[0].weight.grad[[0, 1, 3]].any()
    assert model.last_level.shared_experts[0].weight.grad.any()


def formula(n, d_0, hidden, levels, m_k, m_s):
    total, experts = 0, n * m_k + m_s
    sizes = [d_0, *hidden, 1]
    for level in range(levels):
        fan_in, fan_out = sizes[level], sizes[level + 1]
        total += experts * (fan_in + 1) * fan_out + n * (m_k + m_s) * fan_in
        total += experts * fan_in if level < levels - 1 else 0
    for fan_in, fan_out in zip(sizes[levels:-1], sizes[levels + 1 :], strict=True):
        total += n * (fan_in + 1) * fan_out
    return total


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("m_k", "m_s"), [(1, 1), (3, 2)])
def test_parameter_count(levels, m_k, m_s):
    model = toy_model(
        PLE, toy_dataset(6), expert_levels=levels, specific_experts=m_k, shared_experts=m_s
    )
    expected = formula(6, model.input_size, [8, 6, 4], levels, m_k, m_s)
    assert count_parameters(model)[1] == expected


def test_multiplications():
    level = ExtractionLevel(3, 4, 5, 2, 1, "relu", 0.0)
    # 7 experts of 4 x 5, 3 gates of 4 x 3, two mixtures of 7 experts of width 5
    assert level.multiply_adds() == 7 * 20 + 3 * 12 + 2 * 35
    assert RoutedLevel(3, 4, 5, 2, 1, "relu", 0.0).multiply_adds() == 3 * 5


def test_more_levels_than_widths_are_refused():
    with pytest.raises(UsageError, match=r"expert_levels: 4 levels .* at most 3"):
        toy_model(PLE, expert_levels=4)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(PLE) > 0.90 > dnn_auc()
