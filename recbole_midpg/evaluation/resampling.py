"""Metrics of rows that are drawn with replacement: what intervals by the bootstrap are made of.

Rows are drawn as many times as there are rows, and a metric is measured on those drawn (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13). What is drawn is how often
each row counts, so that scores are sorted once and a resample costs a few passes over the rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Metric = Callable[[NDArray[np.integer]], Floats]
"""From how often each row counts, ``(B,)``, to a value for each group, ``(G,)``."""

CONFIDENCE = 0.95
"""How often an interval should hold the value that endless rows would show."""
FEW = 10
"""Of fewer positive rows, or fewer negative ones, the bootstrap's intervals are too narrow."""


class CountedRows(Protocol):
    """A group of rows, counted."""

    @property
    def rows(self) -> int:
        """How many there are."""

    @property
    def positives(self) -> int:
        """How many of them are positive."""


def count_too_small(groups: Iterable[CountedRows]) -> int:
    """Count the groups whose intervals are not to be trusted; see :data:`FEW`."""
    return sum(min(group.positives, group.rows - group.positives) < FEW for group in groups)


def draw_weights(
    rows: int, clusters: NDArray[np.integer] | None, resamples: int, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Draw with replacement how often each row counts, for each resample.

    Args:
        rows: how many there are.
        clusters: what is drawn instead of single rows: the cluster of each row, ``(rows,)``, from
            0. One that is drawn brings all its rows.
        resamples: how often to draw.
        seed: of the draws.

    Yields:
        ``(rows,)`` for each resample.
    """
    generator = np.random.default_rng(seed)
    size = rows if clusters is None else int(clusters.max()) + 1
    for _ in range(resamples):
        drawn = np.bincount(generator.integers(0, size, size), minlength=size)
        # That one of many is drawn more than 255 times is less likely than 1 in 10^500. Bytes are
        # few enough for the processor's cache, where they are looked up in the order of scores.
        weights = drawn.astype(np.uint8)
        yield weights if clusters is None else weights[clusters]


def interval_ends(values: Floats) -> Floats:
    """The ends of the intervals.

    Args:
        values: of each resample, ``(resamples, metrics, G)``; NaN where one is not defined.

    Returns:
        The quantiles between which a share of :data:`CONFIDENCE` of the resamples lies,
        ``(metrics, 2, G)``; NaN where no resample has a value.
    """
    tail = (1 - CONFIDENCE) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return np.moveaxis(np.nanquantile(values, [tail, 1 - tail], axis=0), 0, 1)


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
