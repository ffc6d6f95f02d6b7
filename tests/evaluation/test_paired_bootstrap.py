"""Paired bootstrap intervals, against resamples whose rows are written out one after the other."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import auc, row_losses
from recbole_midpg.evaluation.paired_bootstrap import PairedDifference, compare_by_group
from recbole_midpg.evaluation.resampling import draw_weights

RESAMPLES = 30


def rows_of(count, groups=3, seed=0, decimals=1):
    """Labels, two models' scores with ties, and groups that all occur."""
    draw = np.random.default_rng(seed)
    truth = draw.random(count)
    labels = (draw.random(count) < truth).astype(np.float32)
    scores = [
        np.clip(truth + noise * draw.normal(size=count), 0.1, 0.9).round(decimals)
        for noise in (0.2, 0.6)
    ]
    of_rows = np.concatenate([np.arange(groups), draw.integers(0, groups, count - groups)])
    return labels, scores[0].astype(np.float32), scores[1].astype(np.float32), of_rows


def slow(labels, first, second, groups, draws):
    """Mean differences and their quantiles for each group, by rows that are repeated."""
    expected = []
    for group in range(groups.max() + 1):
        found = {"auc": [], "logloss": []}
        for weights in draws:
            rows = np.repeat(np.arange(len(labels)), weights)
            rows = rows[groups[rows] == group]
            if len(set(labels[rows])) == 2:
                areas = [roc_auc_score(labels[rows], scores[rows]) for scores in (first, second)]
                found["auc"].append(areas[1] - areas[0])
            if len(rows):
                losses = [
                    log_loss(labels[rows], scores[rows].astype(np.float64), labels=[0, 1])
                    for scores in (first, second)
                ]
                found["logloss"].append(losses[1] - losses[0])
        expected.append({name: np.quantile(v, [0.025, 0.975]) for name, v in found.items() if v})
    return expected


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("count", [12, 200])
def test_intervals_are_those_of_rows_written_out(count, clustered):
    labels, first, second, groups = rows_of(count)
    clusters = np.random.default_rng(1).integers(0, count // 4, count) if clustered else None
    draws = [w.copy() for w in draw_weights(count, clusters, RESAMPLES, 7)]
    whole, by_group = compare_by_group(
        labels,
        first,
        second,
        [np.zeros(count, np.int64), groups],
        clusters=clusters,
        resamples=RESAMPLES,
        seed=7,
    )
    for found, of_rows in ((whole, np.zeros(count, np.int64)), (by_group, groups)):
        expected = slow(labels, first, second, of_rows, draws)
        assert len(found) == len(expected)
        for group, (here, bounds) in enumerate(zip(found, expected, strict=True)):
            rows = of_rows == group
            assert (here.rows, here.positives) == (rows.sum(), (labels[rows] == 1).sum())
            for scores, value in ((first, here.auc.first), (second, here.auc.second)):
                np.testing.assert_equal(value, auc(labels[rows], scores[rows]))
            np.testing.assert_allclose(
                [here.logloss.first, here.logloss.second],
                [row_losses(labels, scores)[rows].mean() for scores in (first, second)],
                rtol=1e-12,
            )
            for name, (low, high) in bounds.items():
                metric = getattr(here, name)
                np.testing.assert_allclose([metric.low, metric.high], [low, high], atol=1e-7)


def test_by_hand():
    """Positive rows .8 and .4, negative ones .6 and .4: won 2 + 0.5 of 4; the other wins all."""
    labels = np.array([1, 0, 1, 0])
    first, second = np.array([0.8, 0.6, 0.4, 0.4]), np.array([0.9, 0.1, 0.9, 0.1])
    ((here,),) = compare_by_group(labels, first, second, [np.zeros(4, np.int64)], resamples=50)
    assert (here.rows, here.positives) == (4, 2)
    assert (here.auc.first, here.auc.second, here.auc.difference) == (0.625, 1.0, 0.375)
    assert here.logloss.first == pytest.approx(-np.log([0.8, 0.4, 0.4, 0.6]).mean())
    assert here.logloss.second == pytest.approx(-np.log(0.9))
    assert 0 <= here.auc.low <= 0.375 <= here.auc.high <= 1


def test_equal_models_differ_by_nothing():
    labels, first, _, groups = rows_of(300)
    ((whole,), by_group) = compare_by_group(
        labels, first, first.copy(), [np.zeros(300, np.int64), groups], resamples=RESAMPLES
    )
    for group in (whole, *by_group):
        for metric in (group.auc, group.logloss):
            assert (metric.difference, metric.low, metric.high) == (0, 0, 0)
            assert not metric.excludes_zero


def test_a_group_of_one_class_has_no_auc():
    labels = np.array([1, 1, 0, 1])
    scores = np.array([0.5, 0.25, 0.25, 0.75])
    ((one_class, both),) = compare_by_group(
        labels, scores, scores / 2, [np.array([0, 0, 1, 1])], resamples=RESAMPLES
    )
    assert np.isnan([one_class.auc.first, one_class.auc.low, one_class.auc.high]).all()
    assert not one_class.auc.excludes_zero
    assert np.isfinite([one_class.logloss.low, both.auc.first, both.auc.low]).all()


def test_the_same_seed_draws_the_same():
    labels, first, second, groups = rows_of(100)
    found = [
        compare_by_group(labels, first, second, [groups], resamples=RESAMPLES, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert found[0] == found[1] != found[2]


def test_scores_that_are_no_numbers_are_told():
    with pytest.raises(UsageError, match="not finite"):
        compare_by_group(np.ones(2), np.ones(2), np.array([1, np.nan]), [np.zeros(2, np.int64)])


@pytest.mark.parametrize(("low", "high", "excludes"), [(-1, 1, 0), (0, 1, 0), (0.1, 1, 1)])
def test_intervals_beside_zero(low, high, excludes):
    assert PairedDifference(0, 0, low, high).excludes_zero == bool(excludes)
    assert PairedDifference(0, 0, -high, -low).excludes_zero == bool(excludes)


def test_intervals_hold_the_true_difference_as_often_as_they_say():
    """Of 100 samples of two equally good models about 95 hold 0: 88 to 100, nearly always."""
    held = np.zeros(2)
    for seed in range(100):
        draw = np.random.default_rng(seed)
        truth = draw.normal(size=200)
        labels = draw.random(200) < 1 / (1 + np.exp(-truth))
        scores = [1 / (1 + np.exp(-truth - draw.normal(size=200))) for _ in range(2)]
        ((here,),) = compare_by_group(
            labels, *scores, [np.zeros(200, np.int64)], resamples=150, seed=seed
        )
        held += [not here.auc.excludes_zero, not here.logloss.excludes_zero]
    assert ((held >= 88) & (held < 100)).all(), held
