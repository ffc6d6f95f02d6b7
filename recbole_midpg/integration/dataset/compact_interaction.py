"""RecBole's table of records, kept in as few bytes a value as its tokens need.

RecBole keeps every token as int64. Most fields of a click log have less than 128 or 32,768 tokens:
the same columns in int8, int16 and int32 are a quarter of the size, and as many times faster to
gather batches from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.training.device_rows import widen

_INTEGERS = (torch.int8, torch.int16, torch.int32)


def narrow(column: Tensor) -> Tensor:
    """Convert a column to the smallest type that holds it.

    Args:
        column: of any shape.

    Returns:
        Integers as the smallest of int8, int16, int32 and int64 that holds the least and the
        greatest of them; float64 as float32, as RecBole does; other types as they are. The column
        itself where its type stays.
    """
    if column.dtype == torch.float64:
        return column.float()
    if column.is_floating_point() or column.dtype == torch.bool:
        return column
    if column.numel() == 0:
        return column.to(torch.int8)
    least, greatest = (int(bound) for bound in torch.aminmax(column))
    for dtype in _INTEGERS:
        bounds = torch.iinfo(dtype)
        if bounds.min <= least and greatest <= bounds.max:
            return column.to(dtype)
    return column.long()


def kept_columns(table: Interaction) -> Mapping[str, Tensor]:
    """The columns of a table as they are kept: narrow where it is a :class:`CompactInteraction`."""
    return table.narrow_columns if isinstance(table, CompactInteraction) else table.interaction


class _Columns(MutableMapping[str, Tensor]):
    """Columns by name, narrow where they are kept and wide where they are read."""

    def __init__(self, kept: dict[str, Tensor]) -> None:
        self.kept = kept

    def __getitem__(self, name: str) -> Tensor:
        return widen(self.kept[name])

    def __setitem__(self, name: str, column: Tensor) -> None:
        if not isinstance(column, Tensor):
            raise ValueError(f"column {name!r} is a {type(column).__name__}, expected a tensor.")
        self.kept[name] = narrow(column)

    def __delitem__(self, name: str) -> None:
        del self.kept[name]

    def __contains__(self, name: object) -> bool:
        return name in self.kept

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


class CompactInteraction(Interaction):
    """An ``Interaction`` that keeps each column in the smallest type that holds it.

    Everything that reads a column gets what RecBole's gives: int64 and float32. Whatever makes a
    table of rows of this one gives a ``CompactInteraction`` and never widens a column; the rest
    widens one column at a time. There are three differences from RecBole's:

    * an integer column that is read is a copy, so a write into it is lost; assign the column
      instead. ``repeat`` and ``repeat_interleave``, whose result RecBole writes into (the sampled
      items of negative sampling), therefore give a plain ``Interaction``;
    * int32 and float64 columns come back as int64 and float32;
    * descending order works.

    Args:
        columns: tensors by name, all of one length, ``(N,)`` or ``(N, ...)``.

    Raises:
        ValueError: a column is not a tensor.
    """

    interaction: _Columns
    length: int

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        table = _Columns({})
        table.update(columns)
        self._keep(table.kept)

    def _keep(self, kept: dict[str, Tensor]) -> None:
        self.interaction = _Columns(kept)
        lengths = (column.shape[0] if column.dim() else 1 for column in kept.values())
        self.length = max(lengths, default=-1)

    @classmethod
    def _of_narrow(cls, kept: dict[str, Tensor]) -> CompactInteraction:
        """Make a table of columns that are narrow already, without looking at their values."""
        table = cls.__new__(cls)
        table._keep(kept)
        return table

    @property
    def narrow_columns(self) -> dict[str, Tensor]:
        """The columns by name as they are kept; not a copy."""
        return self.interaction.kept

    def widen(self) -> Interaction:
        """Make a plain ``Interaction`` of int64 and float32 columns."""
        return Interaction(dict(self.interaction))

    def __getitem__(self, index: Any) -> Any:
        """Read a column by its name, or make a table of some rows.

        Args:
            index: a name; or rows: an integer, a slice, a range, a list, an array or a tensor of
                positions, or of one bool a row. A slice or a range of step 1 copies nothing.
        """
        if isinstance(index, str):
            return self.interaction[index]
        rows = _row_index(index, self.length)
        return self._of_narrow({name: column[rows] for name, column in self._items()})

    def update(self, new_inter: Interaction) -> None:
        """Take over the columns of another table, as ``dict.update`` does."""
        if isinstance(new_inter, CompactInteraction):
            self.narrow_columns.update(new_inter.narrow_columns)
        else:
            self.interaction.update(new_inter.interaction)

    def to(
        self, device: torch.device | str, selected_field: str | Iterable[str] | None = None
    ) -> CompactInteraction:
        """Copy to a device; the columns that are there already are not copied.

        Args:
            device: where to.
            selected_field: the columns that are moved, the others stay; all by default.
        """
        if isinstance(selected_field, str):
            selected_field = [selected_field]
        moved = set(self.interaction if selected_field is None else selected_field)
        return self._of_narrow(
            {name: column.to(device) if name in moved else column for name, column in self._items()}
        )

    def cpu(self) -> CompactInteraction:
        """Copy to the CPU."""
        return self.to("cpu")

    def repeat(self, sizes: int) -> Interaction:
        """Repeat all rows; gives a plain ``Interaction``."""
        return self.widen().repeat(sizes)

    def repeat_interleave(self, repeats: int | Tensor, dim: int = 0) -> Interaction:
        """Repeat each row; gives a plain ``Interaction``."""
        return self.widen().repeat_interleave(repeats, dim=dim)

    def sort(self, by: str | Sequence[str], ascending: bool | Sequence[bool] = True) -> None:
        """Sort the rows in place: by the last key first, each time stably.

        A descending key turns the ascending order around, rows of equal keys too. RecBole means
        the same, but torch refuses its reversed array.

        Args:
            by: names of columns, the first decides most; of a sequence its first value counts.
            ascending: for all keys, or for each.

        Raises:
            ValueError: there is no such column, or the numbers of keys and directions differ.
            TypeError: the keys are not names, or the directions not bools.
        """
        keys = [by] if isinstance(by, str) else by
        directions = [ascending] if isinstance(ascending, bool) else ascending
        if not isinstance(keys, (list, tuple)):
            raise TypeError(f"Wrong type of by [{by}].")
        if not isinstance(directions, (list, tuple)) or {type(up) for up in directions} - {bool}:
            raise TypeError(f"Wrong type of ascending [{ascending}].")
        for key in keys:
            if key not in self:
                raise ValueError(f"[{key}] is not exist in interaction [{self}].")
        if len(directions) == 1:
            directions = [*directions] * len(keys)
        if len(keys) != len(directions):
            raise ValueError(f"by [{by}] and ascending [{ascending}] should have same length.")
        for key, up in zip(keys[::-1], directions[::-1], strict=True):
            column = self.narrow_columns[key]
            values = column if column.dim() == 1 else column[..., 0]
            order = np.argsort(values.numpy(), kind="stable")
            self._reindex(order if up else order[::-1])

    def add_prefix(self, prefix: str) -> None:
        """Put a prefix before the name of each column."""
        self.interaction = _Columns({prefix + name: column for name, column in self._items()})

    def _reindex(self, index: Any) -> None:
        rows = _row_index(index, self.length)
        for name, column in self._items():
            self.narrow_columns[name] = column[rows]

    def _items(self) -> list[tuple[str, Tensor]]:
        return list(self.narrow_columns.items())


def _row_index(index: Any, length: int) -> Any:
    """Make of an index of rows the one that costs torch least.

    RecBole makes a Python list of every index, 32 bytes a row.
    """
    if isinstance(index, range):
        within = 0 <= index.start <= index.stop <= length
        if index.step == 1 and within:
            return slice(index.start, index.stop)
        return torch.arange(index.start, index.stop, index.step) if len(index) else slice(0, 0)
    if isinstance(index, (list, np.ndarray)):
        # torch takes neither the negative strides of a reversed array nor one that is read-only.
        array = np.array(index, order="C")
        index = torch.from_numpy(array) if array.size else slice(0, 0)
    if isinstance(index, Tensor) and not index.is_floating_point() and index.dtype != torch.bool:
        return index.long()
    return index
