"""The metrics of labels and scores in both their forms: of numpy arrays, and of tensors anywhere.

What is given decides which form computes: arrays are measured by numpy, a group after the other;
tensors by torch where they are, all groups at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recbole_midpg.evaluation import binary_metrics, device_metrics
from recbole_midpg.evaluation.device_metrics import Runs
from recbole_midpg.evaluation.grouped_metrics import (
    Array,
    GroupedValues,
    grouped_auc,
    rows_by_group,
)

Column: TypeAlias = "Array | Tensor"


@dataclass(frozen=True)
class Measure:
    """A metric.

    Attributes:
        of_arrays: from labels and scores ``(B,)`` to a number; NaN where it is not defined.
        of_runs: the same of each run of rows, ``(G,)``.
    """

    of_arrays: Callable[[Array, Array], float]
    of_runs: Callable[[Runs], Tensor]

    def __call__(self, labels: Column, scores: Column) -> float:
        """Measure all rows.

        Args:
            labels: ``(B,)``.
            scores: ``(B,)``; arrays both, or tensors.

        Returns:
            The metric; NaN where it is not defined, as of no rows.
        """
        values = all_rows(labels, scores).values(self)
        return float(values[0]) if len(values) else float("nan")

    def by_group(self, labels: Column, scores: Column, groups: Column) -> GroupedValues:
        """Measure the rows of each group.

        Args:
            labels: ``(B,)``.
            scores: ``(B,)``.
            groups: the id of each row's group, at least 0, ``(B,)``; arrays all, or tensors.

        Returns:
            The metric of each group that has rows.
        """
        grouped = rows_of_groups(labels, scores, groups)
        return GroupedValues(grouped.ids, grouped.rows, grouped.values(self))


POSITIVES = Measure(lambda labels, _: float((labels == 1).sum()), device_metrics.count_positives)
AUC = Measure(binary_metrics.auc, device_metrics.auc)
LOG_LOSS = Measure(binary_metrics.log_loss, device_metrics.log_loss)
AVERAGE_PRECISION = Measure(binary_metrics.average_precision, device_metrics.average_precision)
PREDICTED_OVER_OBSERVED = Measure(
    binary_metrics.predicted_over_observed, device_metrics.predicted_over_observed
)


def calibration_error(bins: int) -> Measure:
    """ECE over bins of equal width.

    Args:
        bins: their number.
    """
    return Measure(
        functools.partial(binary_metrics.expected_calibration_error, bins=bins),
        functools.partial(device_metrics.expected_calibration_error, bins=bins),
    )


def auc_of_many_groups(labels: Column, scores: Column, groups: Column) -> GroupedValues:
    """As ``AUC.by_group``, with one sort for all groups in both forms: for groups as users."""
    if isinstance(scores, Tensor):
        return AUC.by_group(labels, scores, groups)
    return grouped_auc(labels, scores, groups)


class RowGroups(Protocol):
    """Rows that are grouped once, to be measured by several metrics."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """The groups that have rows, ascending, ``(G,)``."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """How many rows each has, ``(G,)``."""

    def values(self, measure: Measure) -> NDArray[np.float64]:
        """A metric of each group, ``(G,)``; NaN where it is not defined."""


def all_rows(labels: Column, scores: Column) -> RowGroups:
    """Take all rows as one group, 0; without rows there is no group.

    Raises:
        UsageError: the columns differ in shape or are no vectors.
    """
    if isinstance(scores, Tensor):
        return _TensorGroups(Runs.whole(labels, scores))
    binary_metrics.require_vectors(labels.shape, scores.shape)
    count = len(labels)
    return _ArrayGroups(np.zeros(min(count, 1), np.int64), [(labels, scores)] if count else [])


def rows_of_groups(labels: Column, scores: Column, groups: Column) -> RowGroups:
    """Group rows by an id of each.

    Raises:
        UsageError: labels and scores differ in shape or are no vectors.
    """
    if isinstance(scores, Tensor):
        return _TensorGroups(Runs.by_group(labels, scores, groups))
    binary_metrics.require_vectors(labels.shape, scores.shape)
    ids, parts = rows_by_group(groups)
    return _ArrayGroups(ids.astype(np.int64), [(labels[rows], scores[rows]) for rows in parts])


@dataclass(frozen=True)
class _ArrayGroups:
    ids: NDArray[np.int64]
    parts: Sequence[tuple[Array, Array]]

    @property
    def rows(self) -> NDArray[np.int64]:
        return np.array([len(labels) for labels, _ in self.parts], dtype=np.int64)

    def values(self, measure: Measure) -> NDArray[np.float64]:
        return np.array([measure.of_arrays(*part) for part in self.parts], dtype=np.float64)


@dataclass(frozen=True)
class _TensorGroups:
    runs: Runs

    @property
    def ids(self) -> NDArray[np.int64]:
        return self.runs.groups.cpu().numpy().astype(np.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        return self.runs.lengths.cpu().numpy()

    def values(self, measure: Measure) -> NDArray[np.float64]:
        return measure.of_runs(self.runs).cpu().numpy().astype(np.float64)
