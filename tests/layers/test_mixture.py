"""Shared experts and the gates of scenarios that mix them, against loops."""

import pytest
import torch
from torch import nn

from recbole_midpg.layers.mixture import ScenarioMixture, SharedExperts, weighted_sum
from recbole_midpg.layers.scenario_grouping import ScenarioGroups, ScenarioTiles
from tests.support.toy import scrambled


def by_hand(network, row):
    for layer in network[::3]:
        row = torch.relu(layer.weight @ row + layer.bias)
    return row


@pytest.mark.parametrize("sizes", [[5], [5, 3], [5, 4, 3]], ids=str)
@pytest.mark.parametrize("n_experts", [1, 3])
def test_experts_are_networks_side_by_side(sizes, n_experts):
    torch.manual_seed(0)
    experts = scrambled(SharedExperts(4, sizes, n_experts, "relu", 0.0)).double()
    rows = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    leaves = [rows, *experts.parameters()]
    assert len(experts.networks) == n_experts
    outputs = torch.stack(experts(rows))
    expected = torch.stack(
        [torch.stack([by_hand(network, row) for row in rows]) for network in experts.networks]
    )
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    towards = torch.randn_like(expected)
    for gradient, expected_gradient in zip(
        torch.autograd.grad(outputs, leaves, towards),
        torch.autograd.grad(expected, leaves, towards),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
@pytest.mark.parametrize("gate_sizes", [[], [7]], ids=str)
def test_a_row_is_mixed_by_its_own_gate(layout, gate_sizes):
    torch.manual_seed(0)
    mixture = scrambled(ScenarioMixture(4, 4, [5, 3], 2, gate_sizes, "relu", 0.0)).double()
    rows = torch.randn(6, 4, dtype=torch.float64)
    ids = torch.tensor([3, 1, 1, 0, 3, 1])
    mixed, experts = mixture(rows, layout(ids, 4))
    torch.testing.assert_close(experts, mixture.experts(rows), rtol=0, atol=0)
    for row, slot, own, of_row in zip(rows, ids, mixed, zip(*experts, strict=True), strict=True):
        gate = row
        for depth, layer in enumerate(mixture.gates.layers):
            gate = (torch.relu(gate) if depth else gate) @ layer.weight[slot]
            gate = gate if layer.bias is None else gate + layer.bias[slot]
        weights = gate.exp() / gate.exp().sum()
        expected = sum(weight * expert for weight, expert in zip(weights, of_row, strict=True))
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-12)


def test_the_last_layer_of_a_gate_has_no_bias():
    mixture = ScenarioMixture(3, 4, [5], 2, [7], "relu", 0.0)
    hidden, last = mixture.gates.layers
    assert hidden.bias.shape == (3, 7)
    assert last.bias is None


def test_dropout_is_on_experts_and_not_on_gates():
    torch.manual_seed(0)
    mixture = ScenarioMixture(2, 4, [64], 2, [7], "relu", 0.5)
    (first, *_), (second, *_) = mixture.experts.networks
    for layer in (first, second):
        nn.init.zeros_(layer.weight)
        nn.init.ones_(layer.bias)
    mixed, experts = mixture(torch.randn(50, 4), ScenarioGroups(torch.zeros(50).long(), 2))
    for expert in experts:
        assert set(expert.unique().tolist()) == {0.0, 2.0}
        assert (expert == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(*experts)
    mixed, experts = mixture.eval()(torch.randn(50, 4), ScenarioGroups(torch.ones(50).long(), 2))
    torch.testing.assert_close(mixed, torch.ones(50, 64))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_weighted_sum(n):
    weights, parts = torch.rand(3, n).double(), torch.randn(n, 3, 4).double()
    expected = torch.einsum("bn,nbm->bm", weights, parts)
    torch.testing.assert_close(weighted_sum(weights, list(parts)), expected, rtol=0, atol=1e-12)


def test_multiplications():
    """Beside those of the linear layers: two experts of width 3 are mixed."""
    assert ScenarioMixture(9, 4, [5, 3], 2, [], "relu", 0.0).multiply_adds() == 2 * 3
