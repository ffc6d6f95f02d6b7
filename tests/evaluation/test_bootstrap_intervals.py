"""A model's metrics with intervals, against resamples whose rows are written out."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import auc, predicted_over_observed
from recbole_midpg.evaluation.bootstrap_intervals import estimate_by_group
from recbole_midpg.evaluation.resampling import draw_weights

RESAMPLES = 30


def rows_of(count, seed=0, groups=3):
    draw = np.random.default_rng(seed)
    truth = draw.random(count)
    labels = (draw.random(count) < truth).astype(np.float32)
    scores = np.clip(truth + 0.2 * draw.normal(size=count), 0.1, 0.9).round(1).astype(np.float32)
    of_rows = np.concatenate([np.arange(groups), draw.integers(0, groups, count - groups)])
    return labels, scores, of_rows


def slow(labels, scores, draws):
    """The quantiles of each metric over resamples in which it is defined."""
    found = {"auc": [], "logloss": [], "pcoc": []}
    for rows in draws:
        y, p = labels[rows], scores[rows].astype(np.float64)
        if len(set(y)) == 2:
            found["auc"].append(roc_auc_score(y, p))
        if len(y):
            found["logloss"].append(log_loss(y, p, labels=[0, 1]))
        if y.sum():
            found["pcoc"].append(p.mean() / y.mean())
    return {name: np.quantile(values, [0.025, 0.975]) for name, values in found.items()}


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("count", [12, 200])
def test_intervals_are_those_of_rows_written_out(count, clustered):
    labels, scores, groups = rows_of(count)
    clusters = np.random.default_rng(1).integers(0, count // 4, count) if clustered else None
    everything = np.zeros(count, np.int64)
    done = []
    found = estimate_by_group(
        labels,
        scores,
        [everything, groups],
        clusters=clusters,
        resamples=RESAMPLES,
        seed=7,
        report=done.append,
    )
    assert done == list(range(1, RESAMPLES + 1))
    weights = [w.copy() for w in draw_weights(count, clusters, RESAMPLES, 7)]
    drawn = [np.repeat(np.arange(count), w) for w in weights]
    for of_rows, estimates in zip((everything, groups), found, strict=True):
        for group, here in enumerate(estimates):
            mine = of_rows == group
            y, p = labels[mine], scores[mine]
            assert (here.rows, here.positives) == (mine.sum(), (y == 1).sum())
            np.testing.assert_equal(here.auc.value, auc(y, p))
            np.testing.assert_allclose(here.logloss.value, log_loss(y, p.astype(float)), rtol=1e-6)
            np.testing.assert_allclose(here.pcoc.value, predicted_over_observed(y, p), rtol=1e-12)
            expected = slow(labels, scores, [rows[mine[rows]] for rows in drawn])
            for name, ends in expected.items():
                metric = getattr(here, name)
                np.testing.assert_allclose([metric.low, metric.high], ends, atol=1e-6)


def test_by_hand():
    """Positive rows .8 and .4, negative ones .6 and .4: won 2 + 0.5 of 4; 2.2 expected, 2 seen."""
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.8, 0.6, 0.4, 0.4])
    ((here,),) = estimate_by_group(labels, scores, [np.zeros(4, np.int64)], resamples=50)
    assert (here.rows, here.positives, here.auc.value) == (4, 2, 0.625)
    assert here.pcoc.value == pytest.approx(1.1)
    for metric in (here.auc, here.logloss, here.pcoc):
        assert metric.low <= metric.value <= metric.high


def test_what_is_not_defined_is_nan():
    labels, scores = np.array([0, 0, 0, 1]), np.array([0.5, 0.25, 0.25, 0.75])
    ((negative, both),) = estimate_by_group(
        labels, scores, [np.array([0, 0, 1, 1])], resamples=RESAMPLES
    )
    for metric in (negative.auc, negative.pcoc):
        assert np.isnan([metric.value, metric.low, metric.high]).all()
    assert np.isfinite([negative.logloss.low, both.auc.value, both.pcoc.value]).all()


def test_no_resamples_give_no_intervals():
    labels, scores, groups = rows_of(20)
    ((whole,),) = estimate_by_group(labels, scores, [groups * 0], resamples=0)
    assert np.isfinite([whole.auc.value, whole.logloss.value, whole.pcoc.value]).all()
    assert np.isnan([whole.auc.low, whole.auc.high, whole.pcoc.low, whole.logloss.high]).all()


def test_scores_that_are_no_numbers_are_told():
    with pytest.raises(UsageError, match="not finite"):
        estimate_by_group(np.ones(2), np.array([1, np.nan]), [np.zeros(2, np.int64)])


def test_intervals_hold_the_true_calibration_as_often_as_they_say():
    """Of 100 samples with calibrated scores about 95 hold a PCOC of 1: 88 to 99, nearly always."""
    held = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        scores = draw.random(200)
        labels = (draw.random(200) < scores).astype(np.float32)
        ((here,),) = estimate_by_group(
            labels, scores, [np.zeros(200, np.int64)], resamples=150, seed=seed
        )
        held += here.pcoc.low <= 1 <= here.pcoc.high
    assert 88 <= held < 100, held
