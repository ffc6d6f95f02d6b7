"""The rows of a split where a model computes, so that a batch is gathered without the host.

A batch that the host gathers has to be copied to a GPU, which takes longer than a small model's
step on it. The rows of a click log are small, 17 bytes each where tokens are kept in the bytes that
they need: here they all stay on the device, and a batch is a gather of their row numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


def widen(column: Tensor) -> Tensor:
    """Convert a narrow column to the type that RecBole expects: integers to int64."""
    if column.is_floating_point() or column.dtype == torch.bool:
        return column
    return column.long()


class Features(NamedTuple):
    """The features of all users or of all items, or what else is looked up by a column of a row.

    Attributes:
        key: the column of a row that names its user or item.
        columns: the features by name, each by id, ``(ids, ...)``.
    """

    key: str
    columns: Mapping[str, Tensor]


@dataclass(frozen=True)
class RowTables:
    """A split's rows as they are kept, and the features that are joined to them.

    Attributes:
        rows: the columns by name, each ``(N, ...)``, at least one; integers in any type.
        features: of users and of items, whose ids count from 0; none by default.
    """

    rows: Mapping[str, Tensor]
    features: Sequence[Features] = ()

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    @property
    def n_bytes(self) -> int:
        """The bytes of all columns."""
        tables = (self.rows, *(features.columns for features in self.features))
        return sum(column.nbytes for table in tables for column in table.values())

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Gather rows and join the features of their users and items.

        Args:
            rows: row numbers, ``(R,)``, int32 or int64.

        Returns:
            Columns ``(R, ...)`` by name, in the types in which they are kept.
        """
        taken = {name: column.index_select(0, rows) for name, column in self.rows.items()}
        for key, columns in self.features:
            ids = taken[key].long()
            taken.update({name: column.index_select(0, ids) for name, column in columns.items()})
        return taken


class DeviceRows:
    """A copy of a split's rows on a device.

    :meth:`take` has shapes that follow from the number of rows alone and waits for nothing on the
    host, so that a CUDA graph can hold it.

    Args:
        tables: the rows and features.
        device: where the copy is made.

    Attributes:
        device: where the rows are.
        n_bytes: the bytes that they take there.
    """

    def __init__(self, tables: RowTables, device: torch.device) -> None:
        self.device, self.n_bytes = device, tables.n_bytes
        self._length = len(tables)
        self._rows = _Table(tables.rows, device)
        self._features = [(key, _Table(columns, device)) for key, columns in tables.features]

    def __len__(self) -> int:
        return self._length

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Gather rows and join the features of their users and items.

        Args:
            rows: row numbers, ``(R,)``, int32 or int64, on the device.

        Returns:
            Columns ``(R, ...)`` by name, int64 and float32, of memory of their own, in the order of
            :meth:`RowTables.take`.
        """
        taken = self._rows.take(rows)
        for key, table in self._features:
            taken.update(table.take(taken[key]))
        return taken


class _Table:
    """Columns on a device, those of one type as the rows of a matrix.

    So a batch takes two kernels for each type, a gather and a conversion, instead of two for each
    column: a small model's step lasts no longer than some tens of kernels.
    """

    def __init__(self, columns: Mapping[str, Tensor], device: torch.device) -> None:
        self.names = list(columns)
        alike: dict[torch.dtype, list[str]] = {}
        self.others: dict[str, Tensor] = {}
        for name, column in columns.items():
            if column.dim() == 1:
                alike.setdefault(column.dtype, []).append(name)
            else:
                self.others[name] = column.to(device, copy=True)
        self.matrices = [
            (names, _stack([columns[name] for name in names], device)) for names in alike.values()
        ]

    def take(self, index: Tensor) -> dict[str, Tensor]:
        taken = {name: widen(column.index_select(0, index)) for name, column in self.others.items()}
        for names, matrix in self.matrices:
            taken.update(zip(names, widen(matrix.index_select(1, index)).unbind(), strict=True))
        return {name: taken[name] for name in self.names}


def _stack(columns: Sequence[Tensor], device: torch.device) -> Tensor:
    """Copy columns ``(N,)`` of one type into the rows of a matrix, one at a time."""
    matrix = torch.empty((len(columns), len(columns[0])), dtype=columns[0].dtype, device=device)
    for row, column in zip(matrix, columns, strict=True):
        row.copy_(column)
    return matrix
