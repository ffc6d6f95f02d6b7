"""SAR-Net's layers against loops, and in both layouts."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from recbole_midpg.layers.debias_experts import DebiasExperts, ScenarioTransform, normalise_batch
from recbole_midpg.layers.scenario_grouping import ScenarioGroups, ScenarioTiles
from tests.support.toy import scrambled

IDS = torch.tensor([3, 1, 1, 0, 3, 1])


def rows(n=6):
    return torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_transform_starts_as_no_change():
    transform = ScenarioTransform(4, 4).double()
    assert torch.equal(transform(rows(), IDS), rows())
    assert transform.multiply_adds() == 4


def test_a_transform_scales_and_shifts_by_the_row_s_scenario():
    transform = scrambled(ScenarioTransform(4, 4)).double()
    for row, scenario, found in zip(rows(), IDS, transform(rows(), IDS), strict=True):
        scale = 1 + transform.specific_scale[scenario]
        expected = scale * row + transform.specific_shift[scenario]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_gradients_of_a_transform():
    transform = scrambled(ScenarioTransform(4, 4)).double()
    assert gradcheck(lambda inputs: transform(inputs, IDS), rows().requires_grad_())


def test_scenarios_without_rows_get_no_gradient():
    transform = scrambled(ScenarioTransform(4, 4)).double()
    transform(rows(), IDS).square().sum().backward()
    for parameter in transform.parameters():
        assert not parameter.grad[2].any()
        assert parameter.grad[[0, 1, 3]].all()


@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
@pytest.mark.parametrize(("n_shared", "n_specific"), [(2, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("sizes", [[5], [5, 3]], ids=str)
def test_a_row_meets_its_own_scenario_s_experts(layout, n_shared, n_specific, sizes):
    torch.manual_seed(0)
    experts = scrambled(DebiasExperts(4, 4, sizes, n_shared, n_specific, "relu", 0.0)).double()
    mixed = experts(rows(), layout(IDS, 4))
    for row, scenario, found in zip(rows(), IDS, mixed, strict=True):
        outputs = list(experts.shared(row.unsqueeze(0)))
        for network in experts.specific:
            hidden = row
            for layer in network.layers:
                hidden = torch.relu(hidden @ layer.weight[scenario] + layer.bias[scenario])
            outputs.append(hidden.unsqueeze(0))
        weights = torch.softmax(experts.gate.weight @ row + experts.gate.bias, 0)
        expected = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
        torch.testing.assert_close(found, expected.squeeze(0), rtol=0, atol=1e-12)


def test_without_specific_experts_no_layout_is_needed():
    experts = DebiasExperts(4, 4, [5], 2, 0, "relu", 0.0).double()
    whole = experts(rows(), ScenarioGroups(IDS, 4))
    assert torch.equal(experts(rows(), None), whole)


def test_dropout_is_on_every_expert():
    torch.manual_seed(0)
    experts = DebiasExperts(2, 4, [64], 1, 1, "relu", 0.5)
    with torch.no_grad():
        for layer in (experts.shared.networks[0][0], experts.specific[0].layers[0]):
            layer.weight.zero_()
            layer.bias.fill_(1)
        experts.gate.weight.zero_()
        experts.gate.bias.zero_()
    groups = ScenarioGroups(torch.zeros(200, dtype=torch.long), 2)
    mixed = experts(torch.randn(200, 4), groups)
    # Each of both experts gives 0 or 2, the gate half of each.
    for value, share in ((0.0, 0.25), (1.0, 0.5), (2.0, 0.25)):
        assert (mixed == value).float().mean().item() == pytest.approx(share, abs=0.03)
    assert (experts.eval()(torch.randn(200, 4), groups) == 1).all()


def test_multiplications_of_the_mixture():
    assert DebiasExperts(4, 4, [7, 5], 3, 2, "relu", 0.0).multiply_adds() == 5 * 5


@pytest.mark.parametrize("n_rows", [0, 1, 2, 6])
def test_a_batch_of_any_size_is_normalised(n_rows):
    norm = nn.BatchNorm1d(4).double()
    norm(rows(20)[6:] + 1)
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    found = normalise_batch(rows()[:n_rows], norm)
    if n_rows > 1:
        mean, variance = rows()[:n_rows].mean(0), rows()[:n_rows].var(0, correction=0)
        assert norm.num_batches_tracked == 2
    else:
        assert torch.equal(norm.running_mean, mean)
        assert norm.num_batches_tracked == 1
    expected = (rows()[:n_rows] - mean) / torch.sqrt(variance + norm.eps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
