"""Metrics of rows that count as often as they are drawn, against rows written out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.evaluation.binary_metrics import auc
from recbole_midpg.evaluation.resampling import GroupedAUC, GroupedMean, draw_weights


@given(
    count=st.integers(1, 30),
    groups=st.integers(1, 4),
    seed=st.integers(0, 10**6),
    largest=st.integers(1, 3),
)
def test_weighted_metrics_are_those_of_repeated_rows(count, groups, seed, largest):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    scores = draw.integers(0, 4, count) / 4
    of_rows = np.unique(draw.integers(0, groups, count), return_inverse=True)[1].reshape(-1)
    weights = draw.integers(0, largest + 1, count).astype(np.uint8)
    repeated = np.repeat(np.arange(count), weights)
    areas = GroupedAUC(labels, scores, of_rows)(weights)
    means = GroupedMean(scores, of_rows)(weights)
    for group in range(of_rows.max() + 1):
        rows = repeated[of_rows[repeated] == group]
        np.testing.assert_equal(areas[group], auc(labels[rows], scores[rows]))
        expected = scores[rows].mean() if len(rows) else np.nan
        np.testing.assert_allclose(means[group], expected, rtol=1e-12)


def test_a_cluster_brings_all_its_rows():
    clusters = np.array([0, 1, 1, 0, 2])
    for weights in draw_weights(5, clusters, 20, 0):
        assert weights[0] == weights[3] and weights[1] == weights[2]
        assert weights[[0, 1, 4]].sum() == 3
