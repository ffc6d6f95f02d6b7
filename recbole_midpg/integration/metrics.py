"""RecBole's evaluation, with exact metrics and without copying what it has collected.

Cause: at every batch ``DataStruct.update_tensor`` concatenates anew all that was collected before,
which takes time that grows with the square of the number of batches; ``get_data_struct`` copies it
once more, and breaks on the counters that it holds for some metrics; metrics of values break on a
split of one row.
"""

from __future__ import annotations

import copy
from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.evaluator import base_metric, collector, metrics, register
from torch import Tensor

from recbole_midpg.evaluation.binary_metrics import auc, log_loss


def install() -> None:
    """Put our metrics and collecting in the place of RecBole's."""
    register.metrics_dict.update({"auc": AUC, "logloss": LogLoss})
    base_metric.LossMetric.used_info = scores_and_labels
    collector.DataStruct = GrowingDataStruct
    collector.Collector.get_data_struct = take_data_struct


class AUC(metrics.AUC):
    """RecBole's metric ``AUC``, exact for ties; NaN where the rows are of one class."""

    def metric_info(self, preds: np.ndarray, trues: np.ndarray) -> float:
        """Calculate the metric of scores and labels, ``(B,)``."""
        area = auc(trues, preds)
        if np.isnan(area):
            getLogger().warning(
                "AUC is not defined: the evaluated rows are of one class only, or scores are NaN."
            )
        return area


class LogLoss(metrics.LogLoss):
    """RecBole's metric ``LogLoss``."""

    def metric_info(self, preds: np.ndarray, trues: np.ndarray) -> float:
        """Calculate the metric of probabilities and labels, ``(B,)``."""
        return log_loss(trues, preds)


def scores_and_labels(self: Any, dataobject: Any) -> tuple[np.ndarray, np.ndarray]:
    """Stand in for ``LossMetric.used_info``: vectors, of one row too."""
    scores, labels = dataobject.get("rec.score"), dataobject.get("data.label")
    return scores.reshape(-1).numpy(), labels.reshape(-1).numpy()


class _Rows(list[Tensor]):
    """Tensors of rows, joined when they are read."""

    def whole(self) -> Tensor:
        if len(self) > 1:
            self[:] = [torch.cat(self)]
        return self[0]


class GrowingDataStruct(collector.DataStruct):
    """A ``DataStruct`` that joins the batches' tensors when they are read, not at every batch."""

    def update_tensor(self, name: str, value: Tensor) -> None:
        """Append rows to a tensor; a value of no dimension is one row.

        Raises:
            ValueError: what is kept by the name is not a tensor.
        """
        rows = self._data_dict.get(name, _Rows())
        if isinstance(rows, Tensor):
            rows = _Rows([rows])
        if not isinstance(rows, _Rows):
            raise ValueError(f"{name} is not a tensor.")
        rows.append(torch.atleast_1d(value.detach().clone()))
        self._data_dict[name] = rows

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return value.whole() if isinstance(value, _Rows) else value

    def take(self) -> GrowingDataStruct:
        """Hand over all values, tensors on the CPU; what was appended is forgotten here."""
        taken = GrowingDataStruct()
        for name, value in list(self._data_dict.items()):
            if isinstance(value, _Rows):
                taken[name] = value.whole().cpu()
                del self[name]
            else:
                taken[name] = copy.deepcopy(value)
        return taken


def take_data_struct(self: Any) -> GrowingDataStruct:
    """Stand in for ``Collector.get_data_struct``, which copies all that was collected."""
    return self.data_struct.take()
