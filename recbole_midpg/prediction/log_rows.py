"""Rows of the next file of a log, and of Parquet files: the fields that a model reads of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.common.errors import NoRowsError, UsageError
from recbole_midpg.event_logs.distinct import Distinct, text_of
from recbole_midpg.event_logs.log_files import FormError, LogBlock, LogFile, ParquetLog, open_log
from recbole_midpg.event_logs.schema import BadValue, LogForm, LogSchema
from recbole_midpg.event_logs.times import TimeForm


@dataclass(frozen=True)
class ColumnBlock:
    """A :class:`~recbole_midpg.prediction.rows.RowBlock` of arrays.

    Attributes:
        columns: see :class:`~recbole_midpg.prediction.rows.RowBlock`.
        written: see there.
        lines: the line or row of each row, ``(rows,)``.
    """

    columns: Mapping[str, NDArray[np.object_]]
    written: Mapping[str, NDArray[np.object_]]
    lines: NDArray[np.int64]

    def line_of(self, row: int) -> int:
        """The line or row of a row, from 1."""
        return int(self.lines[row])

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> ColumnBlock:
        """Some of the rows."""
        columns, written = (
            {name: column[rows] for name, column in columns.items()}
            for columns in (self.columns, self.written)
        )
        return ColumnBlock(columns, written, self.lines[rows])

    @classmethod
    def joined(cls, blocks: Sequence[ColumnBlock]) -> ColumnBlock:
        """Blocks of the same columns, at least one, one after the other."""
        columns, written = (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for parts in ([b.columns for b in blocks], [b.written for b in blocks])
        )
        return cls(columns, written, np.concatenate([block.lines for block in blocks]))


def _cut_anew(blocks: Iterator[ColumnBlock], rows: int) -> Iterator[ColumnBlock]:
    """The rows of blocks of any size in blocks of ``rows`` each, but for the last."""
    waiting: list[ColumnBlock] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= rows:
            whole = ColumnBlock.joined(waiting)
            end = len(whole) // rows * rows
            yield from (whole[start : start + rows] for start in range(0, end, rows))
            waiting = [whole[end:]]
    rest = ColumnBlock.joined(waiting) if waiting else None
    if rest is not None and len(rest):
        yield rest


class LogRowFile:
    """A :class:`~recbole_midpg.prediction.rows.RowSource`: the next file of a dataset's log.

    Each row has the fields that training had of the log's columns, made as ``recbole-midpg
    prepare`` made them. Of outcomes, which a new row may not have yet, nothing is made unless they
    are asked for; nor of columns that the model does not read.

    Args:
        schema: the log's.
        path: the file, CSV or Parquet.
        types: the fields that the model reads.
        skip_bad_lines: whether bad lines are left out, instead of raising.
        labelled: whether the label, and the outcome that training's rows had to have, are fields.
        besides: further fields to make, of columns that the file has.

    Raises:
        UsageError: there is no such file, it is of another form, or a column is missing that the
            model reads.
    """

    def __init__(
        self,
        schema: LogSchema,
        path: str | os.PathLike[str],
        types: Mapping[str, str],
        *,
        skip_bad_lines: bool,
        labelled: bool = False,
        besides: Collection[str] = (),
    ) -> None:
        self.path = os.fspath(path)
        self.rejected, self.first_rejected, self.share_read = 0, "", 0.0
        self._skip_bad_lines = skip_bad_lines
        self._log = _open_next(path, schema.form)
        self.place = "row" if isinstance(self._log, ParquetLog) else "line"
        start = self.path if self.place == "row" else f"{self.path}, line 1"
        self._outcomes = {schema.label.field} if labelled else set()
        self._schema = schema
        self._wanted = {*types, *self._outcomes, *besides}
        schema.require_columns(start, self._log.names, types)
        self.names = [
            field
            for field, raw in schema.raw_names.items()
            if field in self._wanted and raw in self._log.names
        ]
        columns = {raw: field for field, raw in schema.columns_by_field.items()}
        self.fields_in_file = [columns[raw] for raw in self._log.names if raw in columns]
        known = {*columns, *schema.left_out}
        found = [*self._log.names, *self._log.unusable]
        self.strange_columns = [name for name in found if name not in known]
        given = schema.given
        self._given = given if labelled and given and given.name in self._log.names else None
        if self._given is not None and self._given.field not in self.names:
            self.names.append(self._given.field)

    @property
    def written_names(self) -> list[str]:
        """The log's columns, and the fields made of them."""
        return list(dict.fromkeys([*self._log.names, *self.names]))

    def blocks(self, rows: int) -> Iterator[ColumnBlock]:
        """Read the rows, so many at a time.

        Raises:
            UsageError: a line is bad, no row is left, or the file is damaged or changed meanwhile.
        """
        n_rows = 0
        for block in _cut_anew(self._fields_of_blocks(), rows):
            n_rows += len(block)
            yield block
        if not n_rows:
            if self.rejected:
                raise UsageError(f"{self.path}: every one of its {self.rejected:,} rows is bad.")
            raise NoRowsError(f"{self.path}: the file has no rows.")

    def _fields_of_blocks(self) -> Iterator[ColumnBlock]:
        for block in self._log.blocks(report=self._set_share):
            fields, bad = self._schema.read(block.columns, self._wanted)
            if self._given is not None:
                is_given, of_given = self._schema.is_given(block.columns)
                fields[self._given.field] = np.where(is_given, "1", "0").astype(object)
                bad = [*bad, *of_given]
            fine = self._reject(block, bad)
            raw = {name: column.row_texts() for name, column in block.columns.items()}
            yield ColumnBlock(fields, {**fields, **raw}, block.lines)[fine]

    def _set_share(self, share: float) -> None:
        self.share_read = share

    def _reject(self, block: LogBlock, bad: Sequence[BadValue]) -> NDArray[np.bool_]:
        """Reject the lines of a block that are no rows or have a bad value; the rows that are left.

        Raises:
            UsageError: there is one, and none is to be skipped.
        """
        fine = np.ones(len(block), np.bool_)
        fine[[value.row for value in bad]] = False
        problems = {
            line.line: f"{self.path}, line {line.line}: {line.problem}" for line in block.bad
        }
        for value in bad:
            # Of a row with several, the first column's.
            line = int(block.lines[value.row])
            problems.setdefault(line, f"{block.where(value.row)}, {value.problem}")
        if problems:
            first = problems[min(problems)]
            if not self._skip_bad_lines:
                raise UsageError(first)
            self.rejected += len(problems)
            self.first_rejected = self.first_rejected or first
        return fine


def _open_next(path: str | os.PathLike[str], form: LogForm) -> LogFile:
    """Open a file of the same form as the log's first ones."""
    try:
        return open_log(path, form)
    except FormError as error:
        raise UsageError(
            f"{error.problem}, expected the form of the log that the dataset was made of: "
            f"{form.encoding} text with the separator {form.separator!r}."
        ) from error


class ParquetRowFile:
    """A :class:`~recbole_midpg.prediction.rows.RowSource`: a Parquet file of fields.

    Numbers, texts, booleans and lists of these are taken as a frame would have them; points in
    time are Unix seconds, as atomic files have them.

    Args:
        path: the file.
        types: the fields that the model reads.

    Raises:
        UsageError: it cannot be read, or a column is of a type that the model cannot read.
    """

    place = "row"
    rejected, first_rejected = 0, ""

    def __init__(self, path: str | os.PathLike[str], types: Mapping[str, str]) -> None:
        self.path = os.fspath(path)
        self.share_read = 0.0
        self._log = ParquetLog(path)
        self.names = self.fields_in_file = self._log.names
        self.strange_columns = list(self._log.unusable)
        for name, kind in self._log.unusable.items():
            if name in types:
                raise UsageError(
                    f"{self.path}: column {name!r} is of type {kind}, expected texts, numbers or "
                    "lists of these."
                )

    @property
    def written_names(self) -> list[str]:
        """See :class:`~recbole_midpg.prediction.rows.RowSource`."""
        return self.names

    def blocks(self, rows: int) -> Iterator[ColumnBlock]:
        """Read the rows, so many at a time.

        Raises:
            UsageError: the file is damaged, or changed meanwhile.
        """
        return _cut_anew(map(_as_columns, self._log.blocks(report=self._set_share)), rows)

    def _set_share(self, share: float) -> None:
        self.share_read = share


def _as_columns(block: LogBlock) -> ColumnBlock:
    return ColumnBlock(
        {name: _row_values(column) for name, column in block.columns.items()},
        {name: column.row_texts() for name, column in block.columns.items()},
        block.lines,
    )


def _row_values(column: Distinct) -> NDArray[np.object_]:
    """Each row's value; ``None`` where it is missing."""
    values = column.values
    if isinstance(values, pd.DatetimeIndex):
        values = TimeForm().seconds(values)
    found = np.empty(len(values) + 1, dtype=object)
    found[:-1] = [text_of(v) if isinstance(v, bytes) else v for v in values.tolist()]
    return found[column.codes]
