"""Rows of a dataset's raw file, with the fields that its converter makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_midpg.atomic_data_scripts import Converter
from recbole_midpg.atomic_data_scripts.columns import Column, as_read
from recbole_midpg.atomic_data_scripts.raw_file import BadValueError, RawFile, Splitter
from recbole_midpg.atomic_data_scripts.row_reader import RowReader, Rows, bad_line, texts_of_field
from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction.rows import field_name


@dataclass(frozen=True)
class RawBlock:
    """A :class:`~recbole_midpg.prediction.rows.RowBlock` of a raw file.

    Attributes:
        columns: the converter's fields.
        written: these, and the raw columns, which win over fields of the same name.
        numbers: the line of each row.
    """

    columns: Mapping[str, Sequence[str]]
    written: Mapping[str, Sequence[str]]
    numbers: Sequence[int]

    def line_of(self, row: int) -> int:
        """The line of a row, from 1."""
        return self.numbers[row]


class RawRowFile:
    """A :class:`~recbole_midpg.prediction.rows.RowSource`: a raw file, with a label or without.

    Each row has all fields of its line, those of the user and the item included, made and checked
    as ``recbole-midpg prepare`` does.

    Args:
        converter: the dataset's.
        path: the raw file, plain, gzip or zip.
        types: the types that fields must have, by name.
        skip_bad_lines: whether bad lines are left out, instead of raising.
        labelled: whether each row has to have a label, which is a field of it; otherwise none is
            looked at.

    Attributes:
        path: the file's name.
        names: the fields of each row.
        rejected: how many bad lines were left out so far.
        first_rejected: the sentence on the first of them.

    Raises:
        UsageError: there is no such file, a field has another type than ``types``, or the dataset
            is made of several raw files.
    """

    place = "line"
    strange_columns: list[str] = []  # noqa: RUF012 - nobody changes it

    def __init__(
        self,
        converter: Converter,
        path: str | os.PathLike[str],
        types: Mapping[str, str],
        *,
        skip_bad_lines: bool,
        labelled: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        if not converter.has_one_file:
            raise UsageError(
                f"--raw: {converter.name} is not always made of one raw file with a row a line, as "
                "is expected; rows with its fields, as an .inter file, are scored without --raw."
            )
        self.rejected = 0
        self.first_rejected = ""
        self.share_read = 0.0
        self._skip_bad_lines = skip_bad_lines
        self._raw = RawFile(Path(path), converter.raw_name)
        self._columns = converter.columns if labelled else _columns_to_score(converter, self._raw)
        self._splitter = converter.splitter(self._columns)
        self._reader = RowReader((self._raw,), self._columns, self._splitter, self._reject)
        self._fields = [
            [field_name(self.path, declared, types) for declared in column.fields]
            for column in self._columns
        ]
        self.names = self.fields_in_file = [name for names in self._fields for name in names]

    @property
    def written_names(self) -> list[str]:
        """The raw columns, and the fields made of them."""
        return list(dict.fromkeys([*self._splitter.columns, *self.names]))

    def blocks(self, rows: int) -> Iterator[RawBlock]:
        """Read the rows, so many at a time.

        Raises:
            UsageError: the header or a line is bad, no row is left, or the file changed meanwhile.
        """
        waiting = _WaitingRows(self._columns, self._fields, self._splitter)
        for read in self._reader.read(self._set_share):
            if read.lines:
                waiting.append(read)
            while len(waiting) >= rows:
                yield waiting.take(rows)
        if len(waiting):
            yield waiting.take(len(waiting))
        if self.rejected == self._reader.rows_in:
            raise UsageError(self._reader.no_rows())
        self._raw.check_unchanged()

    def _set_share(self, share: float) -> None:
        self.share_read = share

    def _reject(self, number: int, _: bytes, error: BadValueError) -> None:
        sentence = bad_line(self._raw.path, number, error)
        if not self._skip_bad_lines:
            raise UsageError(sentence)
        self.rejected += 1
        self.first_rejected = self.first_rejected or sentence


class _WaitingRows:
    """Rows that were read and not handed on.

    Args:
        columns: the raw columns.
        fields: the names of the fields that are made of each.
        splitter: takes lines apart into the raw columns.
    """

    def __init__(
        self, columns: Sequence[Column], fields: Sequence[Sequence[str]], splitter: Splitter
    ) -> None:
        self._columns = columns
        self._names = fields
        self._splitter = splitter
        self._fields: dict[str, list[str]] = {name: [] for names in fields for name in names}
        self._raw: dict[str, list[str]] = {name: [] for name in splitter.columns}
        self._numbers: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def append(self, read: Rows) -> None:
        """Append rows, at least one, with their fields as readers of an atomic file read them."""
        self._numbers.extend(read.numbers)
        _, raw = self._splitter.block("\n".join(read.lines).encode())
        for values, waiting in zip(raw, self._raw.values(), strict=True):
            waiting.extend(values)
        for column, names, texts in zip(self._columns, self._names, read.columns, strict=True):
            for place, name in enumerate(names):
                self._fields[name].extend(map(as_read, texts_of_field(column, texts, place)))

    def take(self, rows: int) -> RawBlock:
        """Take the first rows off."""
        fields, raw = (
            {name: texts[:rows] for name, texts in columns.items()}
            for columns in (self._fields, self._raw)
        )
        numbers = self._numbers[:rows]
        del self._numbers[:rows]
        for texts in (*self._fields.values(), *self._raw.values()):
            del texts[:rows]
        return RawBlock(fields, {**fields, **raw}, numbers)


def _columns_to_score(converter: Converter, raw: RawFile) -> tuple[Column, ...]:
    """The columns of a raw file with or without a label, of which nothing is made."""
    if converter.splitter(converter.columns_without_label).is_header(raw.header()):
        return converter.columns_without_label
    return tuple(
        Column(column.name, (), str) if column.name == converter.label else column
        for column in converter.columns
    )
