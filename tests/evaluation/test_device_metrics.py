"""The metrics of tensors are those of numpy, of all rows and of each group."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation import binary_metrics, device_metrics
from recbole_midpg.evaluation.device_metrics import Runs
from tests.evaluation.test_binary_metrics import pairwise_auc

COUNTED = ("auc", "count_positives")
MEASURES = (
    "auc",
    "average_precision",
    "log_loss",
    "predicted_over_observed",
    "expected_calibration_error",
)
OPTIONS = {"expected_calibration_error": {"bins": 7}}
LIMITS = [0.0, -0.0, 1.0, math.nan, -math.nan, math.inf, -math.inf]


@st.composite
def rows_of_groups(draw, scores=(0.0, 1.0), extra=(), labels=(0.0, 1.0)):
    """Labels, scores with many ties and single ones, and groups that may have one row."""
    rows = draw(st.integers(0, 60))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    value = st.floats(*(float(dtype(bound)) for bound in scores), width=dtype(0).nbytes * 8)
    if draw(st.booleans()):
        value = st.sampled_from(draw(st.lists(value, min_size=1, max_size=3)))
    if extra:
        value |= st.sampled_from(extra)
    ids = st.sampled_from([0, 1, 5, 70_000, 2**40])
    labels = draw(arrays.arrays(np.float64, rows, elements=st.sampled_from(labels)))
    label_type = draw(st.sampled_from([np.float32, np.float64, np.int64, np.bool_]))
    return (
        labels if np.isnan(labels).any() else labels.astype(label_type),
        draw(arrays.arrays(dtype, rows, elements=value)),
        draw(arrays.arrays(np.int64, rows, elements=ids)),
    )


def measured(name, runs):
    return getattr(device_metrics, name)(runs, **OPTIONS.get(name, {})).numpy()


def by_numpy(name, labels, scores):
    with np.errstate(all="ignore"):
        return getattr(binary_metrics, name)(labels, scores, **OPTIONS.get(name, {}))


def compare(name, data, **tolerance):
    """A metric of all rows and of each group, against numpy's."""
    labels, scores, groups = data
    tensors = [torch.from_numpy(column.copy()) for column in data]
    runs = Runs.by_group(*tensors)
    ids = sorted(set(groups.tolist()))
    assert runs.groups.tolist() == ids
    assert runs.lengths.tolist() == [int((groups == group).sum()) for group in ids]
    expected = [by_numpy(name, labels[groups == g], scores[groups == g]) for g in ids]
    np.testing.assert_allclose(measured(name, runs), expected, **tolerance)
    whole = measured(name, Runs.whole(*tensors[:2]))
    expected = [by_numpy(name, labels, scores)] if len(labels) else []
    np.testing.assert_allclose(whole, expected, **tolerance)
    for column, tensor in zip(data, tensors, strict=True):
        np.testing.assert_array_equal(column, tensor.numpy())  # nothing is written into them


@given(rows_of_groups(scores=(-1e30, 1e30), extra=LIMITS, labels=(0, 1, 0.5, 2, -1, math.nan)))
def test_auc_is_numpys_to_the_last_bit(data):
    compare("auc", data, rtol=0, atol=0)


@given(rows_of_groups(scores=(-3.0, 3.0), extra=(-0.0, 0.0)))
def test_auc_is_the_share_of_pairs_in_order(data):
    labels, scores, groups = data
    runs = Runs.by_group(*(torch.from_numpy(column) for column in data))
    for group, area in zip(runs.groups.tolist(), measured("auc", runs), strict=True):
        here = groups == group
        of_both = 0 < (labels[here] == 1).sum() < here.sum()
        expected = pairwise_auc(labels[here], scores[here]) if of_both else math.nan
        assert area == pytest.approx(expected, abs=1e-15, nan_ok=True)


@given(rows_of_groups(scores=(-1e30, 1e30), extra=LIMITS, labels=(0, 1, 0.5)))
def test_average_precision_is_numpys(data):
    compare("average_precision", data, rtol=1e-13)


@given(rows_of_groups(extra=LIMITS, labels=(0, 1, 0.3, 1e-9)))
def test_log_loss_is_numpys(data):
    compare("log_loss", data, rtol=1e-13, atol=1e-15)


@given(rows_of_groups(extra=[math.nan, math.inf], labels=(0, 1, 0.3, math.nan)))
def test_predicted_over_observed_is_numpys(data):
    compare("predicted_over_observed", data, rtol=1e-13)


@given(rows_of_groups(extra=[0.0, 1.0, 1 / 7, math.nan], labels=(0, 1, 0.3)))
@example((np.ones(2), np.array([2 / 7, 1.0]), np.zeros(2, np.int64)))
def test_calibration_error_is_numpys(data):
    compare("expected_calibration_error", data, rtol=1e-13, atol=1e-15)


@given(rows_of_groups(labels=(0, 1, 0.5, 2, math.nan)))
def test_positive_rows_are_those_of_label_1(data):
    labels, _, groups = data
    runs = Runs.by_group(*(torch.from_numpy(column) for column in data))
    found = device_metrics.count_positives(runs).tolist()
    assert found == [((labels == 1) & (groups == group)).sum() for group in runs.groups.tolist()]


def test_by_hand():
    runs = Runs.by_group(
        torch.tensor([1.0, 0, 1, 0, 1, 0]),
        torch.tensor([0.5, 0.25, 0.25, 0.5, 0.75, 0.75]),
        torch.tensor([7, 7, 7, 3, 3, 9]),
    )
    assert runs.groups.tolist() == [3, 7, 9]
    # Of group 7: 0.5 is above the negative row, 0.25 is equal to it.
    assert measured("auc", runs).tolist()[:2] == [1.0, 0.75]
    assert math.isnan(measured("auc", runs)[2])
    assert measured("average_precision", runs)[:2] == pytest.approx([1, (1 + 2 / 3) / 2])
    losses = [math.log(2) - math.log(0.75), math.log(2) - math.log(0.75) + math.log(4)]
    assert measured("log_loss", runs)[:2] == pytest.approx([losses[0] / 2, losses[1] / 3])
    assert measured("predicted_over_observed", runs)[:2].tolist() == [1.25, 0.5]
    gaps = [(0.5 + 0.25) / 2, (0.5 + abs(1 - 0.5)) / 3, 0.75]
    assert device_metrics.expected_calibration_error(runs, 4).tolist() == pytest.approx(gaps)


@pytest.mark.parametrize("name", MEASURES)
def test_without_rows_there_is_no_group(name):
    nothing = torch.empty(0)
    assert measured(name, Runs.whole(nothing, nothing)).shape == (0,)
    assert measured(name, Runs.by_group(nothing, nothing, nothing.long())).shape == (0,)


@pytest.mark.parametrize(
    ("labels", "scores"), [((2,), (3,)), ((2, 1), (2, 1)), ((), ()), ((2,), (2, 1))]
)
def test_wrong_shapes_are_refused(labels, scores):
    columns = torch.zeros(labels), torch.zeros(scores)
    with pytest.raises(UsageError, match="two vectors of one length"):
        Runs.whole(*columns)
    with pytest.raises(UsageError, match="two vectors of one length"):
        Runs.by_group(*columns, torch.zeros(2, dtype=torch.int64))


def test_half_precision_and_gradients():
    scores = torch.tensor([0.25, 0.5, 0.75], requires_grad=True)
    labels = torch.tensor([0.0, 1.0, 0.0])
    for given_scores in (scores, scores.bfloat16(), scores.half()):
        runs = Runs.whole(labels, given_scores)
        assert device_metrics.auc(runs).tolist() == [0.5]
        assert not device_metrics.log_loss(runs).requires_grad


def test_counts_of_pairs_beyond_32_bits():
    rows = 200_000
    is_high = torch.arange(2 * rows) >= rows
    groups = torch.arange(2 * rows) % 2
    for labels, expected in ((is_high, 1.0), (~is_high, 0.0)):
        assert measured("auc", Runs.whole(labels, is_high.float())).tolist() == [expected]
        assert measured("auc", Runs.by_group(labels, is_high.float(), groups)).tolist() == (
            [expected] * 2
        )


# --------------------------------------------------------------------------------------------------
# Many rows


@pytest.fixture(scope="module")
def million():
    """A million rows at a low base rate, with ties, in groups of all sizes from one row up."""
    random = np.random.default_rng(3)
    rows = 1_000_000
    scores = random.beta(1, 20, rows).astype(np.float32)
    scores[::2] = scores[::2].round(3)
    labels = (random.random(rows) < scores).astype(np.float32)
    groups = np.minimum(random.pareto(0.3, rows), 10_000).astype(np.int64)
    return labels, scores, groups


@pytest.mark.parametrize("name", MEASURES)
def test_a_million_rows(name, million):
    labels, scores, groups = million
    tensors = [torch.from_numpy(column) for column in million]
    whole = measured(name, Runs.whole(*tensors[:2]))
    np.testing.assert_allclose(whole, [by_numpy(name, labels, scores)], rtol=1e-12, atol=1e-15)
    few = groups < 6
    runs = Runs.by_group(*(tensor[torch.from_numpy(few)] for tensor in tensors))
    parts = [groups == group for group in range(6)]
    expected = [by_numpy(name, labels[part], scores[part]) for part in parts]
    np.testing.assert_allclose(measured(name, runs), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("lengths", [[1024], [1025, 1], [1, 3000, 1024, 2048], [1024**2 + 1, 5]])
def test_long_runs_are_summed_as_exactly_as_short_ones(lengths):
    values = np.random.default_rng(0).lognormal(0, 5, sum(lengths))
    ends = np.cumsum(lengths)
    expected = [math.fsum(part) for part in np.split(values, ends[:-1])]
    found = device_metrics._sums(torch.from_numpy(values), torch.tensor(lengths))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)


class Calls(TorchDispatchMode):
    """Counts torch's operations."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function._opname] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", MEASURES)
def test_the_work_of_the_host_does_not_grow_with_rows_or_groups(name):
    counts = []
    for rows, groups in ((60, 3), (1000, 500)):
        columns = torch.arange(rows) % 2, torch.linspace(0, 1, rows), torch.arange(rows) % groups
        with Calls() as calls:
            measured(name, Runs.by_group(*columns))
        counts.append(calls.counts)
    assert counts[0] == counts[1]
    # What is read on the host: sizes that depend on the data.
    waits = ("_local_scalar_dense", "nonzero", "repeat_interleave", "unique_consecutive")
    assert sum(counts[0][operation] for operation in waits) <= 8
