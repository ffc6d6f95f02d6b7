"""Two models on the same rows: differences of their metrics, with intervals by the bootstrap.

Both models are measured on the same rows drawn, see
:mod:`~recbole_midpg.evaluation.resampling`. Memory grows with the rows, about 160 bytes each, and
not with the resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    for place, weights in enumerate(draw_weights(len(labels), clusters, resamples, seed)):
        of_first, of_second = measure(weights)
        np.subtract(of_second, of_first, out=differences[place])
    # (metrics, 4, G): first, second, low, high.
    columns = np.concatenate([values.swapaxes(0, 1), interval_ends(differences)], axis=1)
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
