"""Metrics of groups of rows: of scenarios, users, or the values of any field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class GroupedValues:
    """A metric of each group.

    Attributes:
        groups: the groups' ids, ascending, ``(G,)``.
        rows: how many rows each has, ``(G,)``.
        values: the metric of each, ``(G,)``; NaN where it is not defined, as the AUC of rows of one
            class only.
    """

    groups: NDArray[np.int64]
    rows: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def left_out(self) -> int:
        """In how many groups the metric is not defined; the means below leave them out."""
        return int(np.isnan(self.values).sum())

    def mean(self) -> float:
        """The mean over groups; NaN where none is defined."""
        defined = ~np.isnan(self.values)
        return float(self.values[defined].mean()) if defined.any() else float("nan")

    def weighted_mean(self) -> float:
        """The mean over groups, each counted by its rows; NaN where none is defined."""
        defined = ~np.isnan(self.values)
        if not defined.any():
            return float("nan")
        return float(np.average(self.values[defined], weights=self.rows[defined]))


def rows_by_group(groups: Array) -> tuple[Array, list[NDArray[np.intp]]]:
    """Sort rows by their group, once for all groups.

    Args:
        groups: the id of each row's group, at least 0, ``(B,)``.

    Returns:
        The ids that occur, ascending, ``(G,)``, and the rows of each, in their order.
    """
    if len(groups) == 0:
        return groups, []
    # numpy sorts integers of up to 16 bits by their digits, which is faster than comparing them.
    order = np.argsort(groups.astype(np.min_scalar_type(groups.max())), kind="stable")
    ranked = groups[order]
    starts = np.flatnonzero(ranked[1:] != ranked[:-1]) + 1
    return ranked[np.append(0, starts)], np.split(order, starts)


def grouped_auc(labels: Array, scores: Array, groups: Array) -> GroupedValues:
    r"""The AUC of each of very many groups, as of users, by one sort of all rows.

    As :func:`~recbole_midpg.evaluation.binary_metrics.auc` of each group. Its weighted mean is
    GAUC (Zhou et al., Deep Interest Network, KDD 2018, equation 8).

    Args:
        labels: ``(B,)``; 1 is positive, every other value negative.
        scores: ``(B,)``.
        groups: the id of each row's group, ``(B,)``.

    Returns:
        The AUC of each group that has rows; NaN where a class has no rows or a score is NaN.
    """
    order = np.lexsort((scores, groups))
    ranked, grouped = scores[order], groups[order]
    positive = (labels[order] == 1).astype(np.int64)
    negative = 1 - positive

    # A tie is a run of one score in one group.
    group_starts = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1])[: len(grouped)])
    is_tie_start = np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)]
    is_tie_start[group_starts] = True
    tie_starts = np.flatnonzero(is_tie_start)
    if len(tie_starts) == 0:
        return GroupedValues(*(np.empty(0, np.int64),) * 2, np.empty(0))
    positives, negatives = (np.add.reduceat(part, tie_starts) for part in (positive, negative))

    first_ties = np.searchsorted(tie_starts, group_starts)
    negatives_before = np.cumsum(negatives) - negatives
    before_group = np.repeat(
        negatives_before[first_ties], np.diff(np.append(first_ties, len(tie_starts)))
    )
    # Twice the pairs won, so that a tie counts one: whole numbers throughout.
    won = positives * (2 * (negatives_before - before_group) + negatives)
    rows = np.diff(np.append(group_starts, len(grouped)))
    n_positive = np.add.reduceat(positive, group_starts)
    pairs = n_positive * (rows - n_positive)
    with np.errstate(invalid="ignore"):
        values = np.add.reduceat(won, first_ties) / (2 * pairs)
    # NaN are sorted to the end of their group.
    values[np.isnan(ranked[group_starts + rows - 1])] = np.nan
    return GroupedValues(grouped[group_starts].astype(np.int64), rows, values)
