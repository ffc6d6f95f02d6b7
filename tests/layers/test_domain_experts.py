"""M3oE's experts and their fusion: formulas by hand, and a batch cut in parts."""

import pytest
import torch

from recbole_midpg.layers import domain_experts
from recbole_midpg.layers.domain_experts import (
    DomainFusion,
    ExpertMixture,
    OwnExperts,
    normed_layer,
)
from recbole_midpg.layers.scenario_grouping import ScenarioGroups, ScenarioTiles
from tests.reference.m3oe import expert, others_of
from tests.support.toy import scrambled


def double(values, shape):
    return torch.tensor(values, dtype=torch.float64).view(shape)


def test_a_normed_layer_by_hand():
    layer = normed_layer(1, 2, "relu", 0.0, 1.0).double()
    with torch.no_grad():
        layer[0].weight.copy_(double([1.0, 3.0], (2, 1)))
        layer[0].bias.zero_()
        layer[1].weight.copy_(double([10.0, 10.0], 2))
        layer[1].bias.copy_(double([11.0, -11.0], 2))
    # 5 and 15 are 5 below and above their mean: -1 and 1, then 1 and relu(-1).
    out = layer(double([5.0], (1, 1)))
    assert out.flatten().tolist() == pytest.approx([1.0, 0.0], abs=1e-5)


@pytest.mark.parametrize("sizes", [[5], [5, 3]])
def test_a_mixture_is_the_weighted_sum_of_its_experts(sizes):
    mixture = scrambled(ExpertMixture(3, 4, sizes, "relu", 0.0, 1.0)).double()
    rows, weights = torch.randn(6, 4).double(), torch.rand(6, 3).double()
    for row, own_weights, found in zip(rows, weights, mixture(rows, weights), strict=True):
        expected = sum(w * expert(row, mixture, i) for i, w in enumerate(own_weights))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
@pytest.mark.parametrize("sizes", [[5], [5, 3]])
def test_own_experts_compute_a_row_by_its_own_scenarios(layout, sizes):
    own = scrambled(OwnExperts(4, 4, sizes, "relu", 0.0, 1.0)).double()
    rows, ids = torch.randn(7, 4).double(), torch.tensor([3, 1, 1, 0, 3, 1, 1])
    groups = layout(ids, 4)
    found = groups.pick_up(own(groups.lay_out(rows), groups))
    expected = torch.stack(
        [expert(row, own, scenario) for row, scenario in zip(rows, ids.tolist(), strict=True)]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    leaves = list(own.parameters())
    gradients = torch.autograd.grad(found.square().sum(), leaves)
    wanted = torch.autograd.grad(expected.square().sum(), leaves)
    for gradient, expected_gradient in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)
        assert not gradient[2].any()


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("sizes", [[5], [5, 3]])
def test_a_batch_in_parts_is_the_batch_as_a_whole(monkeypatch, recomputed, dropout, sizes):
    mixture = scrambled(ExpertMixture(3, 4, sizes, "relu", dropout, 1.0)).double()
    rows = torch.randn(10, 4).double().requires_grad_()
    weights = torch.rand(10, 3).double().requires_grad_()
    leaves = [rows, weights, *mixture.parameters()]

    def results():
        torch.manual_seed(0)
        found = mixture(rows, weights)
        return [found, *torch.autograd.grad(found.square().sum(), leaves)]

    mixture.fixed_shapes = True
    whole = results()
    mixture.fixed_shapes = False
    monkeypatch.setattr(domain_experts, "CACHED_OUTPUTS", 3 * 15)  # three rows a part
    if recomputed:
        monkeypatch.setattr(domain_experts, "MOST_KEPT_OUTPUTS", 0)
    for found, expected in zip(results(), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_large_batch_keeps_the_mixtures_only(monkeypatch):
    """What autograd keeps for the backward pass, with and without computing experts again."""
    mixture = ExpertMixture(50, 4, [5], "relu", 0.0, 1.0)
    rows, weights = torch.randn(20, 4), torch.rand(20, 50)

    def kept():
        seen = {}

        def keep(tensor):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            mixture(rows, weights)
        return sum(seen.values())

    outputs = 20 * 50 * 5 * 4
    assert kept() > 3 * outputs
    monkeypatch.setattr(domain_experts, "MOST_KEPT_OUTPUTS", 0)
    assert kept() < outputs


def test_dropout_falls_on_each_expert_s_outputs():
    mixture = ExpertMixture(2, 1, [1000], "relu", 0.25, 1.0)
    with torch.no_grad():
        mixture.scales[0].zero_()
        mixture.shifts[0].fill_(1.0)
    rows, weights = torch.zeros(1, 1), torch.tensor([[1.0, 10.0]])
    values, counts = torch.unique(mixture(rows, weights).round(decimals=3), return_counts=True)
    # An output of 1 becomes 0 or 4/3, of each expert for itself.
    assert values.tolist() == pytest.approx([0, 4 / 3, 40 / 3, 44 / 3], abs=1e-3)
    parts = [0.25**2, 0.25 * 0.75, 0.25 * 0.75, 0.75**2]
    assert (counts / 1000).tolist() == pytest.approx(parts, abs=0.06)
    assert mixture.eval()(rows, weights).unique().tolist() == [11.0]


@pytest.mark.parametrize("n_scenarios", [1, 2, 3, 6])
def test_fusion_weighs_the_own_expert_and_the_others_mean(n_scenarios):
    fusion = DomainFusion(n_scenarios, 0.5).double()
    beta = 1 / (1 + torch.exp(torch.tensor(-0.5)).item())
    for scenario, weights in enumerate(fusion(torch.arange(n_scenarios)).tolist()):
        others = others_of(scenario, n_scenarios)
        expected = [0.0] * n_scenarios
        expected[scenario] = beta if others else 1.0
        for other in others:
            expected[other] = (1 - beta) / len(others)
        assert weights == pytest.approx(expected, abs=1e-7)


def test_token_0_is_among_nobody_s_others():
    weights = DomainFusion(4, 0.0)(torch.tensor([0, 1, 2, 3]))
    assert weights[:, 0].tolist() == [0.5, 0.0, 0.0, 0.0]


def test_multiplications():
    # Two layers of three experts, and the mixture of their outputs.
    assert ExpertMixture(3, 4, [5, 6], "relu", 0.0, 1.0).multiply_adds() == 3 * (20 + 30) + 3 * 6
    assert OwnExperts(3, 4, [5, 6], "relu", 0.0, 1.0).multiply_adds() == 20 + 30


def test_scenarios_drawn_for_themselves_have_weights_of_a_layer_s_size():
    experts = ExpertMixture(200, 30, [50], "relu", 0.0, 1.0)
    spread = experts.weights[0].std(dim=(1, 2))
    assert spread.mean().item() == pytest.approx((2 / 80) ** 0.5, rel=0.02)
    assert not torch.equal(experts.weights[0][0], experts.weights[0][1])
