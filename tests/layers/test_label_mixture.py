"""HMoE's mixtures of scenarios, and what it computes of all of them as constants."""

import pytest
import torch

from recbole_midpg.layers.label_mixture import (
    SCENARIOS_AT_A_TIME,
    constant_hidden,
    constant_linear,
    mix_hidden,
    mix_probabilities,
    of_all_scenarios,
)
from recbole_midpg.layers.mixture import ScenarioMixture
from recbole_midpg.layers.scenario_grouping import GroupedLinear, GroupedMLP, ScenarioGroups
from tests.support.toy import scrambled


def test_a_mixture_of_probabilities():
    torch.manual_seed(0)
    logits = torch.randn(7, 3).double()
    weights = torch.rand(7, 3).double().softmax(1)
    mixed = mix_probabilities(weights.log(), logits)
    expected = (weights * torch.sigmoid(logits)).sum(1)
    torch.testing.assert_close(torch.sigmoid(mixed), expected, rtol=0, atol=1e-14)


def test_it_is_exact_where_probabilities_are_close_to_0_or_1():
    """Half of e^-80 and half of e^-90, of which the logit is log(0.5 e^-80 (1 + e^-10))."""
    half = torch.full((2, 2), 0.5).log()
    mixed = mix_probabilities(half, torch.tensor([[-80.0, -90.0], [80.0, 90.0]]))
    assert mixed.tolist() == pytest.approx([-80 - 0.69310, 80 + 0.69310], abs=1e-4)


def test_a_scenario_of_weight_zero_gives_and_gets_nothing():
    scores = torch.tensor([[-torch.inf, 1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([[9.0, 1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    mixed = mix_probabilities(scores.log_softmax(1), logits)
    without = mix_probabilities(scores[:, 1:].log_softmax(1), logits[:, 1:])
    assert mixed.item() == pytest.approx(without.item(), abs=1e-14)
    mixed.backward()
    for leaf in (scores, logits):
        assert leaf.grad.isfinite().all()
        assert leaf.grad[0, 0] == 0
        assert leaf.grad[0, 1:].all()


def test_hidden_values_are_mixed_with_the_row_s_own():
    torch.manual_seed(0)
    weights = torch.rand(4, 3).double().softmax(1)
    own, values = torch.randn(4, 5).double(), torch.randn(3, 4, 5).double()
    ids = torch.tensor([2, 0, 1, 1])
    parts = iter([(slice(0, 2), values[:2]), (slice(2, 3), values[2:])])
    mixed = mix_hidden(weights, own, parts, ids.unsqueeze(1) == torch.arange(3))
    for row, slot in enumerate(ids.tolist()):
        expected = sum(
            weights[row, j] * (own[row] if j == slot else values[j, row]) for j in range(3)
        )
        torch.testing.assert_close(mixed[row], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shared", [True, False], ids=["shared-rows", "own-rows"])
def test_some_scenarios_maps_on_all_rows(bias, shared):
    torch.manual_seed(0)
    layer = scrambled(GroupedLinear(5, 3, 4, bias)).double()
    rows = torch.randn(6, 3).double() if shared else torch.randn(2, 6, 3).double()
    mapped = constant_linear(layer, rows, slice(1, 3))
    assert not mapped.requires_grad
    for place, scenario in enumerate((1, 2)):
        groups = ScenarioGroups(torch.full((6,), scenario), 5)
        expected = groups.pick_up(layer(groups.lay_out(rows if shared else rows[place]), groups))
        torch.testing.assert_close(mapped[place], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n_scenarios", [1, SCENARIOS_AT_A_TIME, 2 * SCENARIOS_AT_A_TIME + 1])
@pytest.mark.parametrize("hidden", [[], [4], [4, 3]], ids=str)
def test_all_scenarios_are_computed_as_each_row_s_own_is(n_scenarios, hidden):
    torch.manual_seed(0)
    mixture = ScenarioMixture(n_scenarios, 4, [5], 2, [3], "relu", 0.0)
    towers = GroupedMLP(n_scenarios, 5, hidden, 1, "relu", 0.0)
    mixture, towers = scrambled(mixture).double(), scrambled(towers).double()
    rows = torch.randn(6, 4, requires_grad=True).double()
    parts = list(of_all_scenarios(rows, mixture.experts(rows), mixture.gates, towers))
    found = torch.cat([values for _, values in parts])
    assert not found.requires_grad
    assert [scenarios.start for scenarios, _ in parts] == [
        *range(0, n_scenarios, SCENARIOS_AT_A_TIME)
    ]
    assert len(found) == n_scenarios
    for scenario, values in enumerate(found):
        groups = ScenarioGroups(torch.full((6,), scenario), n_scenarios)
        mixed, _ = mixture(rows, groups)
        expected = groups.pick_up(towers.hidden(groups.lay_out(mixed), groups))
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-14)


def test_networks_without_hidden_layers_read_what_is_given():
    rows = torch.randn(6, 4)
    network = GroupedMLP(3, 4, [], 2, "relu", 0.0)
    assert constant_hidden(network, rows, slice(0, 3)) is rows
