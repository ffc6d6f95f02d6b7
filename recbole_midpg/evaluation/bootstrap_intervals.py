"""A model's metrics on rows, with intervals by the bootstrap: overall, and by group.

Memory grows with the rows, about 100 bytes each, and not with the resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, starmap

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import row_losses
from recbole_midpg.evaluation.resampling import (
    Array,
    Floats,
    GroupedAUC,
    GroupedMean,
    Metric,
    draw_weights,
    interval_ends,
)


@dataclass(frozen=True)
class Estimate:
    """A metric on rows; NaN where it is not defined.

    Attributes:
        value: on the rows themselves.
        low: the lower end of its interval: the 2.5 % quantile over the resamples.
        high: the upper end, the 97.5 % quantile.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupEstimates:
    """A model on the rows of a group.

    Attributes:
        rows: how many there are.
        positives: how many of them are positive.
        auc: the area under the ROC curve; not defined where the rows are of one class.
        logloss: the mean negative log-likelihood, in nats a row.
        pcoc: mean prediction over mean label; not defined where no row is positive.
    """

    rows: int
    positives: int
    auc: Estimate
    logloss: Estimate
    pcoc: Estimate


def estimate_by_group(
    labels: Array,
    scores: Array,
    groupings: Sequence[NDArray[np.integer]],
    *,
    clusters: NDArray[np.integer] | None = None,
    resamples: int = 1000,
    seed: int = 2020,
    report: Callable[[int], None] | None = None,
) -> list[list[GroupEstimates]]:
    """Measure a model on the rows of groups, by the same resamples of all rows.

    A resample in which a metric is not defined, as the AUC of a small group of which no positive
    row was drawn, says nothing of that group.

    Args:
        labels: ``(B,)``, 0 or 1; at least one.
        scores: probabilities of label 1, ``(B,)``.
        groupings: one or more ways to group the rows: the group of each row, ``(B,)``, every id
            from 0 to the largest.
        clusters: what is drawn instead of single rows, as users, whose rows depend on each other:
            the cluster of each row, ``(B,)``, from 0. One that is drawn brings all its rows.
        resamples: how often rows are drawn; with 0 the ends of the intervals are NaN.
        seed: of the draws.
        report: called with the number of resamples that are done.

    Returns:
        The groups of each grouping, by id.

    Raises:
        UsageError: a probability is not a number.
    """
    if not np.isfinite(scores).all():
        raise UsageError("scores: some are not finite numbers, which cannot be ranked.")
    metrics = _metrics_of(labels, scores, groupings)

    def measure(weights: NDArray[np.integer]) -> Floats:
        """All metrics, ``(metrics, G)`` with the groups of all groupings one after the other."""
        return np.array([np.concatenate([part(weights) for part in parts]) for parts in metrics])

    values = measure(np.ones(len(labels), np.uint8))
    resampled = np.empty((resamples, *values.shape))
    for place, weights in enumerate(draw_weights(len(labels), clusters, resamples, seed)):
        resampled[place] = measure(weights)
        if report is not None:
            report(place + 1)
    # (metrics, 3, G): value, low, high.
    ends = (
        interval_ends(resampled)
        if resamples
        else np.full((len(values), 2, values.shape[1]), np.nan)
    )
    columns = np.concatenate([values[:, None], ends], axis=1)
    estimates = (list(starmap(Estimate, metric.T.tolist())) for metric in columns)
    rows = [np.bincount(groups) for groups in groupings]
    positives = [
        np.bincount(groups[labels == 1], minlength=len(n))
        for groups, n in zip(groupings, rows, strict=True)
    ]
    measured = map(
        GroupEstimates,
        np.concatenate(rows).tolist(),
        np.concatenate(positives).tolist(),
        *estimates,
    )
    return [list(islice(measured, len(n))) for n in rows]


def _metrics_of(
    labels: Array, scores: Array, groupings: Sequence[NDArray[np.integer]]
) -> list[list[Metric]]:
    """AUC, LogLoss and PCOC of each grouping."""
    losses, probabilities = row_losses(labels, scores), scores.astype(np.float64)
    positive = (labels == 1).astype(np.float64)
    return [
        [GroupedAUC(labels, scores, groups) for groups in groupings],
        [GroupedMean(losses, groups) for groups in groupings],
        [_Ratio(probabilities, positive, groups) for groups in groupings],
    ]


class _Ratio:
    """The mean of one value over that of another, of each group."""

    def __init__(self, above: Floats, below: Floats, groups: NDArray[np.integer]) -> None:
        self._above, self._below = GroupedMean(above, groups), GroupedMean(below, groups)

    def __call__(self, weights: NDArray[np.integer]) -> Floats:
        """Divide; NaN where the mean below is 0 or no row counts."""
        below = self._below(weights)
        return self._above(weights) / np.where(below > 0, below, np.nan)
