"""From a raw file to its rows: every value checked, and made into the texts of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TypeAlias

from .columns import Column, ParseValue
from .raw_file import BadValueError, Block, LineSplitter, RawFile, shown

MEMO_CAPACITY = 16_384
"""Values of a column whose texts are remembered."""

Reject: TypeAlias = Callable[[int, bytes, BadValueError], None]
"""Called with a bad line's number, the line and what is wrong with it; may raise."""


@dataclass
class Rows:
    """Some rows.

    Attributes:
        numbers: the lines' numbers, from 1.
        lines: the raw lines.
        columns: for each column the texts of its fields, joined by tabs.
    """

    numbers: Sequence[int]
    lines: Sequence[str]
    columns: Sequence[Sequence[str]]

    def where(self, keep: Sequence[bool]) -> Rows:
        """The rows for which ``keep`` is true."""
        return Rows(
            list(compress(self.numbers, keep)),
            list(compress(self.lines, keep)),
            [list(compress(column, keep)) for column in self.columns],
        )


class RowReader:
    """Reads the rows of a raw file, to convert them or to score them.

    A block of lines is split and checked column by column, each distinct value once. Where
    anything is wrong with it, the same block is read again line by line, by the same checks, to
    name what it is.

    Args:
        raw: the file.
        columns: its columns, in the header's order.
        splitter: takes its lines apart into these columns.
        reject: what becomes of a bad line, which is left out where this returns.

    Attributes:
        rows_in: how many lines were read after the header.
    """

    def __init__(
        self, raw: RawFile, columns: Sequence[Column], splitter: LineSplitter, reject: Reject
    ) -> None:
        self.rows_in = 0
        self._raw = raw
        self._columns = columns
        self._splitter = splitter
        self._reject = reject
        self._memos = [_Memo(column.parse) for column in columns]

    def read(self, report: Callable[[float], None] | None = None) -> Iterator[Rows]:
        """Read all rows, some at a time.

        Args:
            report: called with the share of the file that is read, in [0, 1].

        Raises:
            UsageError: the first line does not hold exactly the columns, the file cannot be
                unpacked, or what ``reject`` raises.
        """
        header_seen = False
        for block in self._raw.blocks(report):
            rest: Block | None = block
            if not header_seen:
                header_seen = True
                header, separator, data = block.data.partition(b"\n")
                self._splitter.check_header(self._raw.path, header)
                rest = replace(block, first_line=2, data=data) if separator else None
            if rest is not None:
                yield self._checked(rest)

    def no_rows(self) -> str:
        """The sentence on a file of which no row is left."""
        if self.rows_in == 0:
            return f"{self._raw.path}: the file has a header and no rows."
        return f"{self._raw.path}: every one of its {self.rows_in:,} rows is bad."

    def _checked(self, block: Block) -> Rows:
        for memo in self._memos:
            if len(memo) > MEMO_CAPACITY:
                memo.clear()
        try:
            lines, values = self._splitter.block(block.data)
            columns = [
                list(map(memo.__getitem__, column))
                for memo, column in zip(self._memos, values, strict=True)
            ]
        except ValueError:
            return self._checked_line_by_line(block)
        self.rows_in += len(lines)
        first = block.first_line
        return Rows(range(first, first + len(lines)), lines, columns)

    def _checked_line_by_line(self, block: Block) -> Rows:
        """What :meth:`_checked` does, slower, and with a name for what is wrong."""
        numbers, lines, rows = [], [], []
        raw_lines = block.data.split(b"\n")
        self.rows_in += len(raw_lines)
        for place, data in enumerate(raw_lines):
            number = block.first_line + place
            ended = block.ended or place < len(raw_lines) - 1
            try:
                line, values = self._splitter.line(data, ended)
                texts = [
                    _parse(column, value)
                    for column, value in zip(self._columns, values, strict=True)
                ]
            except BadValueError as error:
                self._reject(number, data, error)
                continue
            numbers.append(number)
            lines.append(line)
            rows.append(texts)
        return Rows(numbers, lines, list(zip(*rows, strict=True)))


class _Memo(dict[str, str]):
    """Texts of a column's values; each value is checked when it is first met."""

    def __init__(self, parse: ParseValue) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, value: str) -> str:
        text = self[value] = self._parse(value)
        return text


def _parse(column: Column, value: str) -> str:
    try:
        return column.parse(value)
    except ValueError as error:
        raise BadValueError(column.name, value, str(error)) from error


def texts_of_field(column: Column, texts: Sequence[str], place: int) -> Sequence[str]:
    """The texts of one of a column's fields.

    Args:
        column: the column.
        texts: of all its fields, joined by tabs.
        place: the field's place among them.
    """
    if len(column.fields) == 1:
        return texts
    # A list that is gone at once is none that Python's search for cycles would look at.
    return [text.split("\t")[place] for text in texts]


def bad_line(path: Path, number: int, error: BadValueError) -> str:
    """The sentence on a bad line, with its number and what is wrong with it."""
    where = f"{path}, line {number}"
    if error.column is None:
        return f"{where}: {error.reason}, in {shown(error.value)}."
    return f"{where}, column {error.column}: {shown(error.value)} is not allowed, {error.reason}."
