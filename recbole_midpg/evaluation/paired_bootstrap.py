"""Two models on the same rows: differences of their metrics, with intervals by the bootstrap.

Rows are drawn with replacement, as many as there are, and both models are measured on the rows
drawn (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13). What is
drawn is how often each row counts, so that scores are sorted once and a resample costs a few passes
over the rows. Memory grows with the rows, about 160 bytes each, and not with the resamples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, starmap

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import row_losses

Array = NDArray[np.generic]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Metric = Callable[[NDArray[np.integer]], Floats]
"""From how often each row counts, ``(B,)``, to a value for each group, ``(G,)``."""

CONFIDENCE = 0.95
"""How often an interval should hold the difference that endless test rows would show."""


@dataclass(frozen=True)
class PairedDifference:
    """A metric of two models on the same rows; NaN where it is not defined.

    Attributes:
        first: of the first model.
        second: of the second one.
        low: the lower end of the interval of ``difference``: its 2.5 % quantile over the resamples.
        high: the upper end, its 97.5 % quantile.
    """

    first: float
    second: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """``second - first``."""
        return self.second - self.first

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies above 0 or below."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class GroupDifference:
    """Two models on the rows of a group.

    Attributes:
        rows: how many there are.
        positives: how many of them are positive.
        auc: the area under the ROC curve; not defined where the rows are of one class.
        logloss: the mean negative log-likelihood, in nats a row.
    """

    rows: int
    positives: int
    auc: PairedDifference
    logloss: PairedDifference


def compare_by_group(
    labels: Array,
    first: Array,
    second: Array,
    groupings: Sequence[NDArray[np.integer]],
    *,
    clusters: NDArray[np.integer] | None = None,
    resamples: int = 1000,
    seed: int = 2020,
) -> list[list[GroupDifference]]:
    """Compare two models on the rows of groups, by the same resamples of all rows.

    A resample in which a metric is not defined, as the AUC of a small group of which no positive
    row was drawn, says nothing of that group.

    Args:
        labels: ``(B,)``, 0 or 1; at least one.
        first: the first model's probabilities of label 1, ``(B,)``.
        second: the second one's.
        groupings: one or more ways to group the rows: the group of each row, ``(B,)``, every id
            from 0 to the largest.
        clusters: what is drawn instead of single rows, as users, whose rows depend on each other:
            the cluster of each row, ``(B,)``, from 0. One that is drawn brings all its rows.
        resamples: how often rows are drawn, at least once.
        seed: of the draws.

    Returns:
        The groups of each grouping, by id.

    Raises:
        UsageError: a probability is not a number.
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UsageError("scores: some are not finite numbers, which cannot be ranked.")
    models = [_metrics_of(labels, scores, groupings) for scores in (first, second)]

    def measure(weights: NDArray[np.integer]) -> Floats:
        """All metrics, ``(2, metrics, G)`` with the groups of all groupings one after the other."""
        return np.array(
            [
                [np.concatenate([part(weights) for part in metric]) for metric in model]
                for model in models
            ]
        )

    values = measure(np.ones(len(labels), np.uint8))
    differences = np.empty((resamples, *values.shape[1:]))
    for place, weights in enumerate(_draws(len(labels), clusters, resamples, seed)):
        of_first, of_second = measure(weights)
        np.subtract(of_second, of_first, out=differences[place])
    # (metrics, 4, G): first, second, low, high.
    columns = np.concatenate([values.swapaxes(0, 1), _intervals(differences)], axis=1)
    auc, logloss = (list(starmap(PairedDifference, metric.T.tolist())) for metric in columns)
    rows = [np.bincount(groups) for groups in groupings]
    positives = [
        np.bincount(groups[labels == 1], minlength=len(n))
        for groups, n in zip(groupings, rows, strict=True)
    ]
    compared = map(
        GroupDifference,
        np.concatenate(rows).tolist(),
        np.concatenate(positives).tolist(),
        auc,
        logloss,
    )
    return [list(islice(compared, len(n))) for n in rows]


def _metrics_of(
    labels: Array, scores: Array, groupings: Sequence[NDArray[np.integer]]
) -> list[list[Metric]]:
    """A model's AUC, and its LogLoss, of each grouping."""
    losses = row_losses(labels, scores)
    return [
        [GroupedAUC(labels, scores, groups) for groups in groupings],
        [GroupedMean(losses, groups) for groups in groupings],
    ]


def _draws(
    rows: int, clusters: NDArray[np.integer] | None, resamples: int, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Draw how often each row counts, ``(rows,)``, for each resample."""
    generator = np.random.default_rng(seed)
    size = rows if clusters is None else int(clusters.max()) + 1
    for _ in range(resamples):
        drawn = np.bincount(generator.integers(0, size, size), minlength=size)
        # That one of many is drawn more than 255 times is less likely than 1 in 10^500. Bytes are
        # few enough for the processor's cache, where they are looked up in the order of scores.
        weights = drawn.astype(np.uint8)
        yield weights if clusters is None else weights[clusters]


def _intervals(differences: Floats) -> Floats:
    """The ends of the intervals.

    Args:
        differences: of each resample, ``(resamples, metrics, G)``; NaN where they are not defined.

    Returns:
        ``(metrics, 2, G)``; NaN where no resample has a difference.
    """
    tail = (1 - CONFIDENCE) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return np.moveaxis(np.nanquantile(differences, [tail, 1 - tail], axis=0), 0, 1)


class GroupedAUC:
    r"""The AUC of each group where rows count as often as they are drawn.

    .. math:: \frac{1}{W_P W_N} \sum_p w_p \Big(\sum_{n: s_n < s_p} w_n
        + \tfrac12 \sum_{n: s_n = s_p} w_n\Big)

    over a group's positive rows p and negative rows n, with weights w that sum to W_P and W_N: the
    AUC of rows that are repeated so often. In whole numbers, as
    :func:`~recbole_midpg.evaluation.binary_metrics.auc`. The rows are sorted here, once; a call
    takes the weights in that order, and sums.

    Args:
        labels: ``(B,)``; 1 is positive, every other value negative.
        scores: ``(B,)``, finite.
        groups: the group of each row, ``(B,)``, from 0.
    """

    def __init__(self, labels: Array, scores: Array, groups: NDArray[np.integer]) -> None:
        distinct, ranks = np.unique(scores, return_inverse=True)
        # By group, and by score within the group.
        places = groups.astype(np.int64) * len(distinct) + ranks.reshape(-1)
        positive = labels == 1
        self._positives, self._negatives = (
            rows[np.argsort(places[rows], kind="stable")]
            for rows in (np.flatnonzero(positive), np.flatnonzero(~positive))
        )
        of_positives, of_negatives = places[self._positives], places[self._negatives]
        bounds = np.arange(int(groups.max()) + 2) * len(distinct)
        self._positive_bounds = np.searchsorted(of_positives, bounds)
        self._negative_bounds = np.searchsorted(of_negatives, bounds)
        # Between which negative rows, of all groups, each positive one stands.
        self._below = np.searchsorted(of_negatives, of_positives, side="left")
        self._not_above = np.searchsorted(of_negatives, of_positives, side="right")

    def __call__(self, weights: NDArray[np.integer]) -> Floats:
        """Measure.

        Args:
            weights: how often each row counts, ``(B,)``.

        Returns:
            The AUC of each group, ``(G,)``; NaN where a class counts nothing.
        """
        positive, negative = weights[self._positives], _sums_before(weights[self._negatives])
        before = negative[self._negative_bounds]
        pairs = positive * (negative[self._below] + negative[self._not_above])
        of_positives = _sums_before(positive)[self._positive_bounds]
        positives, negatives = np.diff(of_positives), np.diff(before)
        # Negative rows of the groups before lie below too, by where they stand: they are taken off.
        won = np.diff(_sums_before(pairs)[self._positive_bounds]) - 2 * positives * before[:-1]
        with np.errstate(invalid="ignore"):
            return won / (2 * positives * negatives)


class GroupedMean:
    """The mean of each group's values where rows count as often as they are drawn.

    Args:
        values: ``(B,)``.
        groups: the group of each row, ``(B,)``: every id from 0 to ``G - 1``.
    """

    def __init__(self, values: Floats, groups: NDArray[np.integer]) -> None:
        self._order = np.argsort(groups, kind="stable")
        self._values = values[self._order]
        self._starts = np.searchsorted(groups[self._order], np.arange(int(groups.max()) + 1))

    def __call__(self, weights: NDArray[np.integer]) -> Floats:
        """Average.

        Args:
            weights: how often each row counts, ``(B,)``.

        Returns:
            The mean of each group, ``(G,)``; NaN where no row counts.
        """
        ordered = weights[self._order]
        sums = np.add.reduceat(ordered * self._values, self._starts)
        with np.errstate(invalid="ignore"):
            return sums / np.add.reduceat(ordered, self._starts, dtype=np.int64)


def _sums_before(values: NDArray[np.integer]) -> Integers:
    """The sum of the values before each one, and of all, ``(len(values) + 1,)``."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums
