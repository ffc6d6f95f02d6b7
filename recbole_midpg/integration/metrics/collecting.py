"""What RecBole collects of an evaluation: without copies, and with the rows' scenarios and groups.

Cause: at every batch ``DataStruct.update_tensor`` concatenates anew all that was collected before,
which takes time that grows with the square of the number of batches; ``get_data_struct`` copies it
once more, and breaks on the counters that it holds for some metrics. Neither keeps anything by
which rows could be grouped.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.evaluator import collector
from recbole.utils import EvaluatorType
from torch import Tensor

from recbole_midpg.integration.dataset.batches import Batch
from recbole_midpg.integration.dataset.rare_tokens import as_loaded
from recbole_midpg.integration.run.process_group import gather_batches, is_on_gpus

SCENARIO = "data.scenario"
SCENARIO_NAMES = "data.scenario_names"

_stock_batch_collect = collector.Collector.eval_batch_collect


def group_key(field: str) -> str:
    """The name under which a field's values are collected."""
    return f"data.group.{field}"


class _Rows(list[Tensor]):
    """Tensors of rows, joined when they are read."""

    def whole(self) -> Tensor:
        if len(self) > 1:
            self[:] = [torch.cat(self)]
        return self[0]


class GrowingDataStruct(collector.DataStruct):
    """A ``DataStruct`` that joins the batches' tensors when they are read, not at every batch.

    Attributes:
        is_measured_by_torch: whether the metrics of rows are computed by torch, where the rows are.
    """

    is_measured_by_torch = False

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

    def column(self, name: str) -> Tensor | NDArray[np.generic]:
        """The rows' values, ``(B,)``, as metrics take them: a tensor, or an array of the host."""
        values = self.get(name).reshape(-1)
        return values if self.is_measured_by_torch else values.numpy()

    def take(self, device: torch.device) -> GrowingDataStruct:
        """Hand over all values; what was appended is forgotten here.

        The rows are those of all processes, in the order of their batches.

        Args:
            device: where they go.
        """
        taken = GrowingDataStruct()
        for name, value in list(self._data_dict.items()):
            if isinstance(value, _Rows):
                sizes = [len(part) for part in value]
                taken[name] = gather_batches(value.whole(), sizes).to(device)
                del self[name]
            else:
                taken[name] = copy.deepcopy(value)
        return taken


def take_data_struct(self: Any) -> GrowingDataStruct:
    """Stand in for ``Collector.get_data_struct``, which copies all that was collected.

    RecBole computes each process's metrics of its own rows, and averages them: the mean of several
    AUC is not the AUC.
    """
    by_torch = is_measured_by_torch(self.config)
    taken = self.data_struct.take(self.config["device"] if by_torch else torch.device("cpu"))
    taken.is_measured_by_torch = by_torch
    return taken


def is_measured_by_torch(config: Any) -> bool:
    """Whether metrics are computed by torch where the model is: see ``metrics_on_device``."""
    if config["eval_type"] != EvaluatorType.VALUE:
        return False
    wanted = config["metrics_on_device"]
    return is_on_gpus(config) if wanted == "auto" else wanted


@functools.wraps(_stock_batch_collect)
def collect_batch(
    self: Any, scores_tensor: Tensor, interaction: Any, positive_u: Any, positive_i: Any
) -> None:
    """Stand in for ``Collector.eval_batch_collect``: keep the rows' scenarios and groups too."""
    if isinstance(interaction, Batch) and not interaction.is_counted:
        scores_tensor, interaction = scores_tensor[:0], interaction[:0]
    _stock_batch_collect(self, scores_tensor, interaction, positive_u, positive_i)
    if self.config["eval_type"] != EvaluatorType.VALUE:
        return
    scenario_field = self.config["scenario_id_field"]
    if scenario_field is not None:
        self.data_struct.update_tensor(SCENARIO, _as_loaded(interaction, scenario_field))
    if self.register.has_metric("FieldGAUC"):
        for field in self.config["gauc_fields"]:
            self.data_struct.update_tensor(group_key(field), _as_loaded(interaction, field))


def _as_loaded(interaction: Any, field: str) -> Tensor:
    """A batch's tokens of a field, those too that the model reads as unknown."""
    name = as_loaded(field)
    return interaction[name if name in interaction else field]


def name_scenarios(data_struct: GrowingDataStruct, config: Any, dataset: Any) -> None:
    """Keep the names of a dataset's scenarios beside the rows to come."""
    field = config["scenario_id_field"]
    if config["eval_type"] == EvaluatorType.VALUE and field is not None:
        data_struct.set(SCENARIO_NAMES, names_of_scenarios(field, dataset))


def names_of_scenarios(field: str, dataset: Any) -> list[str]:
    """The names of a dataset's scenarios by the id of their token; 0 is a missing one."""
    return ["missing", *(str(token) for token in dataset.field2id_token[field][1:])]
