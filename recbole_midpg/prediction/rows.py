"""Rows of a file, a block at a time, with the line that each one came from."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction.log_rows import ParquetRowFile

Column: TypeAlias = "Sequence[Any] | NDArray[np.object_]"
"""A value of each row."""

_SUFFIXES = (".csv", ".inter", ".parquet")
# So few that their lists are gone before Python's garbage collector looks for cycles among them,
# which takes five times as long as reading does.
_ROWS_AT_ONCE = 256
_SEPARATORS = (";", "\t", ",", "|")
_LINE_END = re.compile("\r\n|\r|\n")


def first_line(source: RowSource) -> str:
    """Where a file names its columns, as the start of a sentence."""
    return source.path if source.place == "row" else f"{source.path}, line 1"


class RowBlock(Protocol):
    """Some rows in the order of their file."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """Each field by name, ``(rows,)``: an atomic file's texts, or a Parquet file's values."""

    @property
    def written(self) -> Mapping[str, Column]:
        """The texts of each column that can be copied, ``(rows,)`` each."""

    def line_of(self, row: int) -> int:
        """The line of the file on which a row ends, or the row of a file without lines, from 1."""


class RowSource(Protocol):
    """A file of rows that is being read."""

    path: str
    names: list[str]
    """The fields of each row."""
    fields_in_file: list[str]
    """The fields that can be made of the file's columns, whether rows have them or not."""
    strange_columns: list[str]
    """Columns of which nobody has said what they mean, and of which no field can be made."""
    place: str
    """What :meth:`RowBlock.line_of` counts, ``line`` or ``row``."""

    @property
    def rejected(self) -> int:
        """How many bad lines were left out so far."""

    @property
    def first_rejected(self) -> str:
        """The sentence on the first of them."""

    @property
    def written_names(self) -> list[str]:
        """The columns that can be copied."""

    @property
    def share_read(self) -> float:
        """The share of the file that has been read, in [0, 1]."""

    def blocks(self, rows: int) -> Iterator[RowBlock]:
        """Read the rows, so many at a time; raises a ``UsageError`` where a line is bad."""


@dataclass(frozen=True)
class FileBlock:
    """A :class:`RowBlock` of a CSV or an atomic file.

    Attributes:
        columns: see :class:`RowBlock`.
        lines_before: how many lines of the file stand before them.
    """

    columns: Mapping[str, Sequence[str]]
    lines_before: int

    @property
    def written(self) -> Mapping[str, Sequence[str]]:
        """See :class:`RowBlock`."""
        return self.columns

    def line_of(self, row: int) -> int:
        """The line on which a row ends, from 1; there may be line ends in quoted values."""
        texts = chain.from_iterable(column[: row + 1] for column in self.columns.values())
        return self.lines_before + row + 1 + _line_ends(texts)


def _line_ends(texts: Iterable[str]) -> int:
    """How many line ends there are within some values."""
    return sum(len(_LINE_END.findall(text)) for text in texts)


class RowFile:
    """A :class:`RowSource`: a CSV file, or an atomic file with ``name:type`` headers.

    Empty lines at the end are no rows; an empty line before a row is an error, because it is not
    clear whether it is one.

    Args:
        path: the file's name, for errors.
        binary: its bytes.
        separator: what stands between two values.
        types: for an atomic file the types that columns must have, by name.

    Raises:
        UsageError: the first line is missing, has a name twice, or another type than ``types``.
    """

    place = "line"
    rejected, first_rejected = 0, ""
    strange_columns: list[str] = []  # noqa: RUF012 - nobody changes it

    def __init__(
        self, path: str, binary: BinaryIO, separator: str, types: Mapping[str, str] | None
    ) -> None:
        self.path, self._binary, self._separator = path, binary, separator
        self._size = max(os.fstat(binary.fileno()).st_size, 1)
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        self._reader = csv.reader(text, delimiter=separator, strict=True)
        self.names = self.fields_in_file = self._header(types)

    def _header(self, types: Mapping[str, str] | None) -> list[str]:
        header = next(iter(self._read(1)), [])
        if not header:
            raise UsageError(f"{self.path}, line 1: it is empty, expected the columns' names.")
        self._require_separator(header)
        if types is None:
            names = header
        else:
            names = [field_name(self.path, column, types) for column in header]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{self.path}, line 1: column {name!r} is there twice.")
        return names

    def _require_separator(self, header: Sequence[str]) -> None:
        """Refuse a first line that is not taken apart, as another separator stands between names.

        Raises:
            UsageError: it is one name with what separates the names of other files.
        """
        others = [mark for mark in _SEPARATORS if mark in header[0] and mark != self._separator]
        if len(header) == 1 and others:
            raise UsageError(
                f"{self.path}, line 1: one column is found, {header[0]!r}, expected the separator "
                f"{self._separator!r} between columns, and not {others[0]!r}."
            )

    @property
    def written_names(self) -> list[str]:
        """See :class:`RowSource`."""
        return self.names

    @property
    def share_read(self) -> float:
        """The share of the file that has been read, in [0, 1]."""
        return min(self._binary.tell() / self._size, 1.0)

    def blocks(self, rows: int) -> Iterator[FileBlock]:
        """Read the rows, so many at a time.

        Raises:
            UsageError: a line does not have as many values as there are names, an empty line stands
                before a row, or the file is not UTF-8 text or not well quoted.
        """
        while True:
            lines_before = self._reader.line_num
            columns: dict[str, list[str]] = {name: [] for name in self.names}
            have = 0
            while values := self._take(min(rows - have, _ROWS_AT_ONCE)):
                for column, texts in zip(columns.values(), zip(*values, strict=True), strict=True):
                    column.extend(texts)
                have += len(values)
            if not have:
                return
            yield FileBlock(columns, lines_before)

    def _take(self, rows: int) -> list[list[str]]:
        """Read the next rows, so many if there are, of as many values as there are names."""
        lines_before = self._reader.line_num
        values = self._read(rows)
        width = len(self.names)
        bad = next((row for row, texts in enumerate(values) if len(texts) != width), None)
        if bad is None:
            return values
        line = lines_before + bad + _line_ends(chain.from_iterable(values[:bad])) + 1
        self._expect_end(values[bad:], line)
        return values[:bad]

    def _expect_end(self, values: list[list[str]], line: int) -> None:
        """Refuse a line with too few or too many values, unless only empty lines follow."""
        if values[0]:
            raise UsageError(
                f"{self.path}, line {line}: {len(values[0])} values, "
                f"expected {len(self.names)} as in line 1."
            )
        while values and not any(values):
            values = self._read(len(values))
        if values:
            raise UsageError(
                f"{self.path}, line {line}: it is empty, expected {len(self.names)} values."
            )

    def _read(self, rows: int) -> list[list[str]]:
        try:
            return list(islice(self._reader, rows))
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.path}, after line {self._reader.line_num}: it is not UTF-8 text."
            ) from error
        except csv.Error as error:
            raise UsageError(f"{self.path}, line {self._reader.line_num}: {error}.") from error


def field_name(path: str, declared: str, types: Mapping[str, str]) -> str:
    """The name of a field that a file declares as ``name:type``.

    Args:
        path: the file.
        declared: what it declares.
        types: the types that fields must have, by name.

    Raises:
        UsageError: it has another type.
    """
    name, _, kind = declared.partition(":")
    if kind != types.get(name, kind) or not kind:
        expected = f"{name}:{types[name]}" if name in types else "name:type"
        raise UsageError(f"{path}, line 1: column {declared!r}, expected {expected}.")
    return name


@contextmanager
def open_rows(
    path: str | os.PathLike[str], types: Mapping[str, str], atomic_separator: str
) -> Iterator[RowSource]:
    """Open a file of rows by its name's ending.

    Args:
        path: a ``.csv`` file with a line of names, a ``.inter`` or a ``.parquet`` file.
        types: the types that columns of a ``.inter`` file must have, by name.
        atomic_separator: what stands between two values of a ``.inter`` file.

    Raises:
        UsageError: the file cannot be opened, or see :class:`RowFile` and
            :class:`~recbole_midpg.prediction.log_rows.ParquetRowFile`.
    """
    suffix = Path(path).suffix
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"input {os.fspath(path)!r}: its ending is {suffix!r}, expected one of "
            f"{', '.join(_SUFFIXES)} (or --raw NAME for a dataset's raw file)."
        )
    if suffix == ".parquet":
        yield ParquetRowFile(path, types)
        return
    with ExitStack() as stack:
        try:
            binary = stack.enter_context(Path(path).open("rb"))
        except OSError as error:
            raise UsageError(
                f"input {os.fspath(path)!r}: it cannot be read ({error.strerror})."
            ) from error
        if suffix == ".csv":
            yield RowFile(os.fspath(path), binary, ",", None)
        else:
            yield RowFile(os.fspath(path), binary, atomic_separator, types)
