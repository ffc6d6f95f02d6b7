import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import (
    auc,
    average_precision,
    expected_calibration_error,
    log_loss,
    predicted_over_observed,
)


@st.composite
def predictions(draw, dtypes=(np.float32, np.float64), least=0.0, greatest=1.0):
    """Labels of both classes and scores, often with many ties."""
    rows = draw(st.integers(2, 60))
    dtype = draw(st.sampled_from(dtypes))
    bounds = [float(dtype(bound)) for bound in (least, greatest)]
    value = st.floats(*bounds, width=dtype(0).nbytes * 8, allow_nan=False)
    if draw(st.booleans()):
        value = st.sampled_from(draw(st.lists(value, min_size=1, max_size=3)))
    scores = draw(arrays.arrays(dtype, rows, elements=value))
    labels = draw(arrays.arrays(np.float32, rows, elements=st.sampled_from([0.0, 1.0])))
    labels[:2] = 0, 1
    return labels, scores


def pairwise_auc(labels, scores):
    wins = [
        1.0 if s > t else 0.5 if s == t else 0.0
        for (y, s), (z, t) in product(zip(labels, scores, strict=True), repeat=2)
        if y == 1 and z == 0
    ]
    return math.fsum(wins) / len(wins)


@given(predictions(least=-1e30, greatest=1e30))
def test_auc_is_the_share_of_pairs_in_order(data):
    labels, scores = data
    assert auc(labels, scores) == pytest.approx(pairwise_auc(labels, scores), abs=1e-15)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_auc_by_hand():
    labels = [0, 0, 1, 1]
    assert auc(np.array(labels), np.array([0.1, 0.4, 0.35, 0.8])) == 3 / 4
    assert auc(np.array(labels), np.array([0.1, 0.5, 0.5, 0.5])) == 3 / 4
    assert auc(np.array(labels), np.full(4, 0.5)) == 1 / 2
    assert auc(np.array(labels), np.array([9, 8, 7, 6])) == 0


@given(predictions(least=1e-6, greatest=1 - 1e-6))
def test_log_loss_is_scikit_learns(data):
    labels, scores = data
    # scikit-learn bounds a float32 by that type's precision.
    expected = metrics.log_loss(labels, scores.astype(np.float64))
    assert log_loss(labels, scores) == pytest.approx(expected, rel=1e-12)


def test_log_loss_by_hand():
    assert log_loss(np.array([1.0, 0.0]), np.array([0.25, 0.5])) == pytest.approx(
        (math.log(4) + math.log(2)) / 2, rel=1e-15
    )
    assert log_loss(np.array([0.3]), np.array([0.5])) == pytest.approx(math.log(2), rel=1e-15)


def test_log_loss_of_certain_mistakes_is_bounded():
    certain = np.array([0, 1], dtype=np.float32)
    assert log_loss(1 - certain, certain) == pytest.approx(-math.log(1e-15), rel=1e-2)
    assert log_loss(certain, certain) == pytest.approx(0, abs=1e-14)


@given(predictions(), st.randoms())
def test_the_order_of_rows_plays_no_part_in_auc(data, random):
    labels, scores = data
    order = random.sample(range(len(labels)), len(labels))
    assert auc(labels, scores) == auc(labels[order], scores[order])


def test_tensors_and_other_types():
    labels, scores = torch.tensor([0, 1, 1]), torch.tensor([0.2, 0.1, 0.9], requires_grad=True)
    assert auc(labels, scores) == auc(labels.bool(), scores) == auc(labels.float(), scores) == 1 / 2
    expected = log_loss(labels.numpy(), scores.detach().numpy())
    assert log_loss(labels, scores) == log_loss(labels.bool(), scores) == expected


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], [0], [1], []])
def test_one_class_has_no_auc(labels):
    labels = np.array(labels, dtype=np.float32)
    assert math.isnan(auc(labels, np.linspace(0, 1, len(labels))))


def test_nan_is_not_hidden():
    for scores in ([math.nan, 0.5], [0.5, math.nan]):
        assert math.isnan(auc(np.array([0, 1]), np.array(scores)))
        assert math.isnan(log_loss(np.array([0, 1]), np.array(scores)))
    assert math.isnan(log_loss(np.array([]), np.array([])))


def test_counts_of_pairs_beyond_32_bits():
    rows = 200_000
    labels = np.arange(2 * rows) >= rows
    assert auc(labels, labels.astype(np.float32)) == 1
    assert auc(~labels, labels.astype(np.float32)) == 0


@pytest.mark.parametrize("metric", [auc, log_loss])
@pytest.mark.parametrize(
    ("labels", "scores"), [((2,), (3,)), ((2, 1), (2, 1)), ((), ()), ((2,), (2, 1))]
)
def test_wrong_shapes_are_refused(metric, labels, scores):
    with pytest.raises(UsageError, match="two vectors of one length"):
        metric(np.zeros(labels), np.zeros(scores))


@given(predictions())
def test_average_precision_is_scikit_learns(data):
    labels, scores = data
    expected = metrics.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    order = np.random.default_rng(1).permutation(len(labels))
    assert average_precision(labels[order], scores[order]) == average_precision(labels, scores)


def test_average_precision_by_hand():
    labels = np.array([1, 0, 1, 0])
    assert average_precision(labels, np.array([0.9, 0.8, 0.7, 0.1])) == (1 + 2 / 3) / 2
    # All tied: one threshold, at which everything is found with the base rate.
    assert average_precision(labels, np.full(4, 0.5)) == 1 / 2


def test_average_precision_is_not_defined_without_a_positive_row():
    assert math.isnan(average_precision(np.zeros(3), np.array([0.1, 0.2, 0.3])))
    assert math.isnan(average_precision(np.zeros(0), np.zeros(0)))
    assert math.isnan(average_precision(np.ones(2), np.array([0.1, np.nan])))
    assert average_precision(np.ones(2), np.array([0.1, 0.2])) == 1.0


def test_calibration_by_hand():
    labels = np.array([1.0, 0, 0, 1])
    probabilities = np.array([0.9, 0.8, 0.1, 0.2])
    assert predicted_over_observed(labels, probabilities) == pytest.approx(2.0 / 2)
    # Two bins: (0.1, 0.2) with mean label 1/2, and (0.8, 0.9) with mean label 1/2.
    expected = 0.5 * abs(0.5 - 0.15) + 0.5 * abs(0.5 - 0.85)
    assert expected_calibration_error(labels, probabilities, 2) == pytest.approx(expected)
    assert expected_calibration_error(labels, probabilities, 1) == pytest.approx(0.0)
    assert math.isnan(predicted_over_observed(np.zeros(2), np.array([0.1, 0.2])))
    assert math.isnan(expected_calibration_error(np.zeros(0), np.zeros(0), 5))


@given(predictions(), st.integers(1, 20))
def test_calibration_error_is_the_mean_gap_of_bins(data, bins):
    labels, scores = data
    gaps = []
    for number in range(bins):
        here = [
            (y, float(p))
            for y, p in zip(labels, scores, strict=True)
            if min(max(math.ceil(float(p) * bins) - 1, 0), bins - 1) == number
        ]
        gaps.append(abs(math.fsum(y for y, _ in here) - math.fsum(p for _, p in here)))
    expected = math.fsum(gaps) / len(labels)
    assert expected_calibration_error(labels, scores, bins) == pytest.approx(expected, abs=1e-12)
