"""The files of a log, CSV or Parquet, a block of rows at a time, with the line of each row."""

from __future__ import annotations

import codecs
import csv
import glob
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.raw_file import RawFile, shown
from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs.csv_rows import BadLine, Cells, split_rows
from recbole_midpg.event_logs.distinct import Distinct
from recbole_midpg.event_logs.schema import LogForm

BLOCK_BYTES = 1 << 23
"""Bytes of a CSV file that are taken apart at once."""
BLOCK_ROWS = 1 << 16
"""Rows of a Parquet file that are read at once."""

# Bytes after which a quote that has not been closed is a mistake.
_MOST_BYTES = 1 << 26
_SEPARATORS = {",": "','", "\t": "a tab ('\\t')", ";": "';'", "|": "'|'"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PARQUET_ENDINGS = (".parquet", ".parq", ".pq")

Report = Callable[[float], None]
"""Called with the share of a file that has been read, in [0, 1]."""


@dataclass(frozen=True)
class LogBlock:
    """Some rows of a log's file, in its order.

    Attributes:
        path: the file.
        columns: the columns that were asked for, by name.
        lines: the line on which each row begins, the header being line 1; in a Parquet file the
            row, from 1; ``(rows,)``.
        bad: the lines before or between them that are no rows.
        place: what the numbers count, ``line`` or ``row``.
    """

    path: str
    columns: Mapping[str, Distinct]
    lines: NDArray[np.int64]
    bad: Sequence[BadLine] = ()
    place: str = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """The place of a row as a sentence begins: the file, and the line or row."""
        return f"{self.path}, {self.place} {self.lines[row]}"


class LogPart(Protocol):
    """Some rows of a log's file as they lie there, which another process can take apart too."""

    @property
    def first_line(self) -> int:
        """The number of the first line or row."""

    def block(self) -> LogBlock:
        """Take the rows apart.

        Raises:
            UsageError: the file cannot be read in the form that was named.
        """


class LogFile(Protocol):
    """A file of a log."""

    path: str
    names: list[str]
    """Its columns."""
    unusable: Mapping[str, str]
    """Columns that cannot be read, and their types."""

    def parts(
        self, wanted: Collection[str] | None = None, report: Report | None = None
    ) -> Iterator[LogPart]:
        """Read the rows without looking at them.

        Args:
            wanted: the columns to read; all by default.
            report: called after each part.

        Raises:
            UsageError: the file is damaged or cannot be read.
        """

    def blocks(
        self, wanted: Collection[str] | None = None, report: Report | None = None
    ) -> Iterator[LogBlock]:
        """Read the rows; arguments and errors as of :meth:`parts`."""


class FormError(UsageError):
    """A file's first line shows that its form is another one than was named.

    Args:
        problem: a sentence without its end.
        option: what tells ``prepare`` the right form.

    Attributes:
        problem: the same, for those to whom no option is open.
    """

    def __init__(self, problem: str, option: str) -> None:
        super().__init__(f"{problem} ({option}).")
        self.problem = problem


def open_log(path: str | os.PathLike[str], form: LogForm) -> LogFile:
    """Open a file of a log.

    Args:
        path: a CSV file, plain, gzip or zip; or a Parquet file.
        form: the form of the log's files. The next file of a log may be of the other kind: one
            whose name says that it is Parquet is read so.

    Raises:
        UsageError: there is no such file, it is empty, its first line names no columns, or Parquet
            cannot be read here.
    """
    suffix = Path(path).suffix.lower()
    if suffix in _PARQUET_ENDINGS or (form.kind == "parquet" and suffix not in {".csv", ".gz"}):
        return ParquetLog(path)
    return CsvLog(path, form)


def find_files(option: str, words: Sequence[str]) -> list[str]:
    """The files that names and patterns as ``days/*.csv`` stand for, each once.

    Args:
        option: ``--csv`` or ``--parquet``, which files of such a log are named after.
        words: names and patterns.

    Raises:
        UsageError: there is none for a word, or it is a folder.
    """
    found: dict[str, None] = {}
    for word in words:
        paths = [word] if Path(word).exists() else sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - patterns of whole paths
        if not paths:
            raise UsageError(f"{option}: there is no file {word!r}.")
        for path in filter(os.path.isdir, paths):
            files = f"{path.rstrip('/')}/*.{option.removeprefix('--')}"
            raise UsageError(f"{option}: {path!r} is a folder, expected files, as {files!r}.")
        found.update(dict.fromkeys(paths))
    return list(found)


def _raw_file(path: Path, member: str) -> RawFile:
    """A file of a log; ``member`` is the file of a zip archive with several."""
    if path.is_dir():
        raise UsageError(f"{path}: it is a folder, expected a file of a log.")
    return RawFile(path, member)


# --------------------------------------------------------------------------------------------------
# CSV


def encoding_advice(path: str, line: int) -> str:
    """What to do about the first line of a file that is not UTF-8, as the end of a sentence."""
    if not _is_ascii_above(path, line):
        return (
            "though the lines above are: the file mixes encodings; write it anew in one "
            "(--encoding names another than UTF-8), or leave such lines out by --on-error skip."
        )
    return "--encoding names another one, as latin-1; --on-error skip leaves such lines out."


def _is_ascii_above(path: str, line: int) -> bool:
    for block in RawFile(Path(path), Path(path).stem).blocks():
        lines = block.data.split(b"\n")[: line - block.first_line]
        if not all(map(bytes.isascii, lines)):
            return False
        if line <= block.first_line + len(lines):
            break
    return True


class CsvLog:
    """A CSV file of a log; a :class:`LogFile`.

    A byte order mark, line feeds with or without carriage returns, and quoted values with line
    feeds are read; what is no row is listed in the blocks.

    Args:
        path: the file, plain, gzip or zip.
        form: its form.

    Raises:
        UsageError: see :func:`open_log`.
    """

    def __init__(self, path: str | os.PathLike[str], form: LogForm) -> None:
        self.path = os.fspath(path)
        self.unusable: Mapping[str, str] = {}
        self._form = form
        self._raw = _raw_file(Path(path), Path(path).stem)
        self.names = self._header()

    def _header(self) -> list[str]:
        start = f"{self.path}, line 1:"
        first = self._raw.header()
        if first.startswith(_UTF16):
            raise UsageError(f"{start} it is UTF-16 text, expected UTF-8 (save the file as that).")
        try:
            line = first.decode(self._form.encoding).rstrip("\r")
        except UnicodeDecodeError as error:
            raise FormError(
                f"{start} it is no {self._form.encoding} text",
                "--encoding names another one, as latin-1",
            ) from error
        if "\r" in line:
            raise UsageError(
                f"{start} it has carriage returns without line feeds, expected lines that end in a "
                f"line feed, in {shown(line)}."
            )
        names = [name.strip() for name in self._split_names(line)]
        if not any(names):
            raise UsageError(f"{start} it is empty, expected the columns' names.")
        if len(names) == 1:
            raise _one_column(start, line, self._form.separator)
        if "" in names:
            raise UsageError(f"{start} column {names.index('') + 1} has no name, in {shown(line)}.")
        values = [name for name in names if _is_number(name)]
        if values:
            raise UsageError(
                f"{start} it holds values, as {shown(values[0])}, expected the columns' names."
            )
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UsageError(f"{start} column {twice[0]!r} is there twice.")
        return names

    def _split_names(self, line: str) -> list[str]:
        if not self._form.quoted:
            return line.split(self._form.separator)
        try:
            return next(csv.reader([line], delimiter=self._form.separator), [])
        except csv.Error as error:
            raise UsageError(f"{self.path}, line 1: {error}.") from error

    def parts(
        self, wanted: Collection[str] | None = None, report: Report | None = None
    ) -> Iterator[CsvPart]:
        """See :class:`LogFile`."""
        places = {
            name: place for place, name in enumerate(self.names) if wanted is None or name in wanted
        }
        for first_line, data in self._whole_rows(report):
            yield CsvPart(self.path, self._form, len(self.names), places, first_line, data)
        self._raw.check_unchanged()

    def blocks(
        self, wanted: Collection[str] | None = None, report: Report | None = None
    ) -> Iterator[LogBlock]:
        """See :class:`LogFile`."""
        for part in self.parts(wanted, report):
            yield part.block()

    def _whole_rows(self, report: Report | None) -> Iterator[tuple[int, bytes]]:
        """The bytes of whole rows below the header, and the number of the first line."""
        form = self._form
        parts: list[bytes] = []
        first_line, size, quotes = 2, 0, 0
        for block in self._raw.blocks(report):
            data = block.data
            if block.first_line == 1:
                _, _, data = data.partition(b"\n")
                if not data:
                    continue
            parts.append(data)
            size += len(data)
            quotes += data.count(b'"') if form.quoted else 0
            # A line feed after an odd number of quotes stands within a value.
            if size >= (BLOCK_BYTES if quotes % 2 == 0 else _MOST_BYTES):
                yield first_line, b"\n".join([*parts, b""])
                first_line = block.first_line + block.data.count(b"\n") + 1
                parts, size, quotes = [], 0, 0
        if parts:
            yield first_line, b"\n".join([*parts, b""])


@dataclass(frozen=True)
class CsvPart:
    """Whole rows of a CSV file; a :class:`LogPart`.

    Attributes:
        path: the file.
        form: its form.
        width: how many values a row has.
        places: the place of each column that is read, by its name.
        first_line: the number of the first line.
        data: the lines, with their line feeds.
    """

    path: str
    form: LogForm
    width: int
    places: Mapping[str, int]
    first_line: int
    data: bytes

    def block(self) -> LogBlock:
        """See :class:`LogPart`."""
        form = self.form
        data = self.data
        if form.encoding != "utf-8":
            data = data.decode(form.encoding, errors="replace").encode()
        cells = split_rows(data, self.first_line, form.separator, self.width, quoted=form.quoted)
        columns = {name: _column(cells, place) for name, place in self.places.items()}
        return LogBlock(self.path, columns, cells.lines, cells.bad)


def _column(cells: Cells, place: int) -> Distinct:
    starts, ends = cells.starts[:, place], cells.ends[:, place]
    column = Distinct.of_bytes(cells.buffer, starts, ends - starts)
    if not cells.has_quotes:
        return column
    values = np.empty(len(column.values), dtype=object)
    values[:] = [text.replace('""', '"') if '"' in text else text for text in column.texts()]
    return Distinct(column.codes, values)


def _one_column(start: str, line: str, separator: str) -> UsageError:
    """The error of a first line in which one name is found."""
    counts = {mark: line.count(mark) for mark in _SEPARATORS if mark != separator}
    mark = max(counts, key=lambda mark: counts[mark])
    found = f"{start} one column is found with the separator {separator!r}, {shown(line)}"
    if not counts[mark]:
        return UsageError(f"{found}, expected the names of several.")
    other = _SEPARATORS[mark]
    return FormError(f"{found}, and {counts[mark] + 1} with {other}", f"--delimiter {other}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in {"nan", "inf", "infinity"}


# --------------------------------------------------------------------------------------------------
# Parquet


class ParquetLog:
    """A Parquet file of a log; a :class:`LogFile`.

    Args:
        path: the file.

    Raises:
        UsageError: see :func:`open_log`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._raw = _raw_file(Path(path), Path(path).name)
        with self._reading() as (pyarrow, file):
            schema = file.schema_arrow
            self.unusable: Mapping[str, str] = {
                column.name: str(column.type)
                for column in schema
                if not _is_usable(pyarrow, column.type)
            }
            self._rows = max(file.metadata.num_rows, 1)
        twice = [name for name, count in Counter(schema.names).items() if count > 1]
        if twice:
            raise UsageError(f"{self.path}: column {twice[0]!r} is there twice.")
        self.names = [name for name in schema.names if name not in self.unusable]

    def parts(
        self, wanted: Collection[str] | None = None, report: Report | None = None
    ) -> Iterator[ParquetPart]:
        """See :class:`LogFile`."""
        names = [name for name in self.names if wanted is None or name in wanted]
        first = 1
        with self._reading() as (_, file):
            for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=names):
                yield ParquetPart(self.path, first, batch)
                first += batch.num_rows
                if report is not None:
                    report((first - 1) / self._rows)
        self._raw.check_unchanged()

    def blocks(
        self, wanted: Collection[str] | None = None, report: Report | None = None
    ) -> Iterator[LogBlock]:
        """See :class:`LogFile`."""
        for part in self.parts(wanted, report):
            yield part.block()

    @contextmanager
    def _reading(self) -> Iterator[tuple[Any, Any]]:
        """The library, and the file opened by it."""
        try:
            pyarrow = import_module("pyarrow")
            parquet = import_module("pyarrow.parquet")
        except ImportError as error:
            raise UsageError(
                f"{self.path}: to read Parquet files pyarrow is needed ({error}), "
                "pip install 'recbole-midpg[parquet]'."
            ) from error
        try:
            with parquet.ParquetFile(self.path) as file:
                yield pyarrow, file
        except (pyarrow.ArrowException, OSError) as error:
            raise UsageError(f"{self.path}: it is no whole Parquet file ({error}).") from error


@dataclass(frozen=True)
class ParquetPart:
    """Some rows of a Parquet file; a :class:`LogPart`.

    Attributes:
        path: the file.
        first_line: the number of the first row, from 1.
        batch: Arrow's record batch of the columns that are read.
    """

    path: str
    first_line: int
    batch: Any

    def block(self) -> LogBlock:
        """See :class:`LogPart`."""
        pyarrow = import_module("pyarrow")
        columns = {
            name: _from_arrow(pyarrow, self.batch.column(place))
            for place, name in enumerate(self.batch.schema.names)
        }
        lines = np.arange(self.first_line, self.first_line + self.batch.num_rows)
        return LogBlock(self.path, columns, lines, place="row")


def _is_usable(pyarrow: Any, kind: Any) -> bool:
    """Whether a column's values are plain ones, or lists of such."""
    types = pyarrow.types
    if types.is_dictionary(kind) or _is_list(pyarrow, kind):
        return not types.is_nested(kind.value_type)
    return not types.is_nested(kind)


def _is_list(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _from_arrow(pyarrow: Any, column: Any) -> Distinct:
    """A column of Arrow's as what a frame would have it, its distinct values once each."""
    if _is_list(pyarrow, column.type):
        return Distinct.of(column.to_pylist())
    if pyarrow.types.is_null(column.type):
        return Distinct(np.full(len(column), -1), np.zeros(0, dtype=object))
    if not pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Distinct(codes, _values(pyarrow.types, column.dictionary))


def _values(types: Any, values: Any) -> NDArray[Any] | pd.DatetimeIndex:
    if types.is_timestamp(values.type):
        return pd.DatetimeIndex(values.to_pandas())
    if types.is_integer(values.type) or types.is_floating(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    found = np.empty(len(values), dtype=object)
    found[:] = values.to_pylist()
    return found
