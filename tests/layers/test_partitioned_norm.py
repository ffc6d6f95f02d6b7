"""STAR's partitioned normalisation."""

import pytest
import torch
from torch import nn

from recbole_midpg.layers.across_processes import SharedBatch, shared
from recbole_midpg.layers.partitioned_norm import PartitionedNorm
from recbole_midpg.layers.scenario_grouping import ScenarioGroups, ScenarioTiles
from tests.reference.baselines import partitioned_norm
from tests.support.forked import in_group


def randomised(n_scenarios, size, **settings):
    """A layer with parameters and statistics that are not those of the start."""
    torch.manual_seed(1)
    norm = PartitionedNorm(n_scenarios, size, **settings).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn_like(parameter))
        norm.running_mean.normal_()
        norm.running_variance.uniform_(0.5, 2.0)
    return norm


def apply(norm, inputs, ids, layout=ScenarioGroups):
    groups = layout(ids, len(norm.running_mean))
    return groups.pick_up(norm(groups.lay_out(inputs), groups))


def test_by_hand():
    norm = PartitionedNorm(2, 1, min_rows=2, momentum=0.5, epsilon=0.0)
    with torch.no_grad():
        norm.shared_scale.fill_(2.0)
        norm.specific_scale[1] = 2.0  # a scale of 3
        norm.shared_shift.fill_(0.5)
        norm.specific_shift[1] = 1.0
    outputs = apply(norm, torch.tensor([[1.0], [10.0], [5.0], [20.0]]), torch.tensor([0, 1, 0, 1]))
    # scenario 0: mean 3, deviation 2; scenario 1: mean 15, deviation 5
    assert outputs.flatten().tolist() == pytest.approx([-1.5, -4.5, 2.5, 7.5])
    # Half way from 0 to the mean, and from 1 to the unbiased variance, 8 and 50.
    assert norm.running_mean.flatten().tolist() == [1.5, 7.5]
    assert norm.running_variance.flatten().tolist() == pytest.approx([4.5, 25.5])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("counts", [[9, 0, 4, 30], [3, 3, 3, 3], [1, 1, 0, 1], [80, 5, 1, 2]])
@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
def test_reference(training, counts, layout):
    norm = randomised(4, 3, min_rows=3).train(training)
    ids = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    ids = ids[torch.randperm(len(ids))]
    inputs = torch.randn(len(ids), 3, dtype=torch.float64, requires_grad=True)
    parameters = [inputs, *norm.parameters()]
    expected = partitioned_norm(inputs, ids, norm, training)
    outputs = apply(norm, inputs, ids, layout)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-10)
    towards = torch.randn_like(expected)
    for gradient, expected_gradient in zip(
        torch.autograd.grad(outputs, parameters, towards),
        torch.autograd.grad(expected, parameters, towards),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rows", [2, 7])
def test_one_scenario_is_batch_normalisation(rows):
    norm, standard = PartitionedNorm(1, 3, min_rows=2).double(), nn.BatchNorm1d(3).double()
    for step in range(3):
        torch.manual_seed(step)
        inputs = torch.randn(rows, 3, dtype=torch.float64) + step
        outputs = apply(norm, inputs, torch.zeros(rows, dtype=torch.long))
        torch.testing.assert_close(outputs, standard(inputs), rtol=0, atol=1e-10)
    torch.testing.assert_close(norm.running_mean[0], standard.running_mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.running_variance[0], standard.running_var, rtol=0, atol=1e-12)
    norm.eval(), standard.eval()
    outputs = apply(norm, inputs, torch.zeros(rows, dtype=torch.long))
    torch.testing.assert_close(outputs, standard(inputs), rtol=0, atol=1e-10)


def test_statistics_change_only_for_scenarios_with_enough_rows_in_training():
    norm = randomised(4, 2, min_rows=2)
    mean, variance = norm.running_mean.clone(), norm.running_variance.clone()
    ids = torch.tensor([1, 1, 2, 1])
    apply(norm, torch.randn(4, 2, dtype=torch.float64), ids)
    changed = [not torch.equal(now, old) for now, old in zip(norm.running_mean, mean, strict=True)]
    assert changed == [False, True, False, False]
    unchanged = [0, 2, 3]
    assert torch.equal(norm.running_variance[unchanged], variance[unchanged])
    assert norm.unseen().tolist() == unchanged
    before = norm.running_mean.clone()
    apply(norm.eval(), torch.randn(4, 2, dtype=torch.float64), ids)
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("counts", [[9, 0, 4, 30], [1, 1, 0, 1], [0, 0, 0, 0], [80, 5, 1, 2]])
def test_statistics_are_the_same_in_tiles(counts):
    one, other = randomised(4, 3, min_rows=3), randomised(4, 3, min_rows=3)
    ids = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    inputs = torch.randn(len(ids), 3, dtype=torch.float64)
    for norm, layout in ((one, ScenarioGroups), (other, ScenarioTiles)):
        apply(norm, inputs, ids, layout)
    for name in ("running_mean", "running_variance", "batches_seen"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-12)


def test_a_single_row_keeps_its_value():
    norm = PartitionedNorm(2, 3, min_rows=2, epsilon=0.0)
    row = torch.tensor([[1.0, -2.0, 3.0]])
    assert torch.equal(apply(norm, row, torch.tensor([1])), row)


@pytest.mark.parametrize("size_of_inputs", [0.1, 30.0])
def test_outputs_start_at_the_initial_scale_whatever_the_inputs(size_of_inputs):
    norm = PartitionedNorm(2, 3, initial_scale=0.25).double()
    torch.manual_seed(0)
    inputs, ids = size_of_inputs * torch.randn(40, 3, dtype=torch.float64), torch.arange(40) % 2
    for scenario in range(2):
        deviation = apply(norm, inputs, ids)[ids == scenario].std(0, correction=0)
        torch.testing.assert_close(deviation, torch.full_like(deviation, 0.25), rtol=1e-2, atol=0)


def test_equal_rows_do_not_divide_by_zero():
    norm = PartitionedNorm(1, 2, min_rows=2)
    inputs = torch.ones(5, 2, requires_grad=True)
    outputs = apply(norm, inputs, torch.zeros(5, dtype=torch.long))
    outputs.sum().backward()
    assert not outputs.any()
    assert inputs.grad.isfinite().all()


def test_weight_decay_pulls_a_scenario_to_the_shared_scale():
    norm = PartitionedNorm(2, 3)
    optimizer = torch.optim.SGD(norm.parameters(), lr=0.1, weight_decay=0.1)
    (norm.specific_scale * 0).sum().backward()
    optimizer.step()
    assert not norm.specific_scale.any()  # still a factor of 1


def test_parameter_count():
    assert sum(p.numel() for p in PartitionedNorm(4, 3).parameters()) == 2 * (4 + 1) * 3
    assert PartitionedNorm(4, 3).multiply_adds() == 3


# Rows in several processes: scenario 0 in all, 1 in the last, 2 too rare, 3 in none.
SHARED_IDS = torch.tensor([0, 0, 2, 0, 1, 0, 1, 1])
SHARED_COUNTS = (4, 1, 3)


def normalised(rows, weights, ids, layout, share=1.0):
    """Outputs, gradients and statistics of two steps."""
    torch.manual_seed(3)
    norm = PartitionedNorm(4, 5, min_rows=2).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn_like(parameter))
    rows = rows.clone().requires_grad_()
    groups = layout(ids, 4)
    for _ in range(2):
        outputs = groups.pick_up(norm(groups.lay_out(rows), groups))
        (share * (outputs * weights).sum() / max(len(rows), 1)).backward()
    return (
        outputs.detach(),
        rows.grad,
        [parameter.grad for parameter in norm.parameters()],
        list(norm.buffers()),
    )


def normalised_in_process(rank, data):
    batch = SharedBatch(SHARED_COUNTS, rank)
    *parts, layout = data
    with shared(batch):
        return normalised(*(part.split(SHARED_COUNTS)[rank] for part in parts), layout, batch.share)


@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
def test_rows_in_several_processes_are_normalised_together(layout):
    torch.manual_seed(0)
    rows, weights = 3 + torch.randn(2, 8, 5, dtype=torch.float64)
    outputs, to_rows, gradients, buffers = normalised(rows, weights, SHARED_IDS, ScenarioGroups)
    found = in_group(3, normalised_in_process, (rows, weights, SHARED_IDS, layout))
    torch.testing.assert_close(torch.cat([part[0] for part in found]), outputs)
    torch.testing.assert_close(torch.cat([part[1] for part in found]), to_rows)
    for place, expected in enumerate(gradients):
        torch.testing.assert_close(sum(part[2][place] for part in found), expected)
    for part in found:
        for mine, expected in zip(part[3], buffers, strict=True):
            torch.testing.assert_close(mine, expected)
    assert buffers[-1].tolist() == [2, 2, 0, 0]  # who was normalised by rows of its own
