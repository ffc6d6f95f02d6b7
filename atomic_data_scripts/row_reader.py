"""From raw files to their rows: every value checked, and made into the texts of its fields."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, compress, repeat
from pathlib import Path
from typing import TypeAlias, TypeVar

from .columns import FILE, Column, ParseValue
from .raw_file import BadValueError, Block, RawFile, Splitter, shown

MEMO_CAPACITY = 16_384
"""Values of a column whose texts are remembered."""

_T = TypeVar("_T")

Reject: TypeAlias = Callable[[int, bytes, BadValueError], None]
"""Called with a bad line's number, the line and what is wrong with it; may raise."""


@dataclass
class Rows:
    """Some rows.

    Attributes:
        numbers: the lines' numbers, from 1, counted through all files that are read.
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
    """Reads the rows of raw files, to convert them or to score them.

    A block of lines is split and checked column by column, each distinct value once. Where
    anything is wrong with it, the same block is read again line by line, by the same checks, to
    name what it is.

    Args:
        files: the files, one after the other.
        columns: their columns, in the header's order.
        splitter: takes their lines apart into these columns.
        reject: what becomes of a bad line, which is left out where this returns.
        row_for_each: a raw column of lists, separated by blanks: its line makes a row for each
            element, which is the row's value of that column.

    Attributes:
        rows_in: how many rows were read; a bad line counts as one.
    """

    def __init__(
        self,
        files: Sequence[RawFile],
        columns: Sequence[Column],
        splitter: Splitter,
        reject: Reject,
        row_for_each: str | None = None,
    ) -> None:
        self.rows_in = 0
        self._files = files
        self._columns = columns
        self._splitter = splitter
        self._reject = reject
        self._memos = [_Memo(column.parse) for column in columns]
        places = {name: place for place, name in enumerate((*splitter.columns, FILE))}
        self._made_of = [
            [places[name] for name in column.made_of or (column.name,)] for column in columns
        ]
        self._list = None if row_for_each is None else places[row_for_each]
        self._lines_before = [0]

    def read(self, report: Callable[[float], None] | None = None) -> Iterator[Rows]:
        """Read all rows, some at a time.

        Args:
            report: called with the share of the files that is read, in [0, 1].

        Raises:
            UsageError: the first line does not hold exactly the columns, a file cannot be
                unpacked, or what ``reject`` raises.
        """
        self._lines_before = [0]
        share = _Share([file.size for file in self._files], report)
        for file in self._files:
            before, last = self._lines_before[-1], 0
            for block in file.blocks(share.of_file, self._splitter.through):
                rest: Block | None = block
                if block.first_line == 1 and self._splitter.header:
                    header, separator, data = block.data.partition(b"\n")
                    self._splitter.check_header(file.path, header)
                    rest = replace(block, first_line=2, data=data) if separator else None
                if rest is not None:
                    yield self._checked(file, rest, before)
                last = block.first_line + block.data.count(b"\n")
            self._lines_before.append(before + last)
            share.end_of_file()

    def place(self, number: int) -> tuple[RawFile, int]:
        """The file of a row that was read, and its line there, from 1."""
        position = bisect_right(self._lines_before, number - 1) - 1
        return self._files[position], number - self._lines_before[position]

    def no_rows(self) -> str:
        """The sentence on files of which no row is left."""
        path = self._files[0].path
        if self.rows_in == 0:
            return f"{path}: the file has a header and no rows."
        return f"{path}: every one of its {self.rows_in:,} rows is bad."

    def _checked(self, file: RawFile, block: Block, before: int) -> Rows:
        for memo in self._memos:
            if len(memo) > MEMO_CAPACITY:
                memo.clear()
        try:
            lines, values = self._splitter.block(block.data)
            counts, raw = self._raw(values, file)
            columns = [
                list(map(memo.__getitem__, column))
                for memo, column in zip(self._memos, raw, strict=True)
            ]
        except ValueError:
            return self._checked_line_by_line(file, block, before)
        first = before + block.first_line
        numbers: Sequence[int] = range(first, first + len(lines))
        if counts is not None:
            numbers, lines = _repeated(numbers, counts), _repeated(lines, counts)
        self.rows_in += len(lines)
        return Rows(numbers, lines, columns)

    def _checked_line_by_line(self, file: RawFile, block: Block, before: int) -> Rows:
        """What :meth:`_checked` does, slower, and with a name for what is wrong."""
        numbers, lines, rows = [], [], []
        raw_lines = block.data.split(b"\n")
        for place, data in enumerate(raw_lines):
            number = before + block.first_line + place
            ended = block.ended or place < len(raw_lines) - 1
            try:
                line, values = self._splitter.line(data, ended)
                _, raw = self._raw([(value,) for value in values], file)
                texts = [
                    [_parse(column, value) for value in values]
                    for column, values in zip(self._columns, raw, strict=True)
                ]
            except BadValueError as error:
                self.rows_in += 1
                self._reject(number, data, error)
                continue
            made = list(zip(*texts, strict=True))
            numbers += [number] * len(made)
            lines += [line] * len(made)
            rows += made
        self.rows_in += len(rows)
        return Rows(numbers, lines, list(zip(*rows, strict=True)))

    def _raw(
        self, values: Sequence[Sequence[str]], file: RawFile
    ) -> tuple[list[int] | None, list[Sequence[str]]]:
        """The raw values of each column, where the splitter gives those that the file has.

        Returns:
            The rows that each line makes, ``None`` where all make one, and the values.
        """
        counts = None
        known = [*values, [file.name] * len(values[0])]
        if self._list is not None:
            lists = [value.split(" ") for value in values[self._list]]
            counts = list(map(len, lists))
            known = [_repeated(column, counts) for column in known]
            known[self._list] = list(chain.from_iterable(lists))
        return counts, [
            known[places[0]]
            if len(places) == 1
            else list(map("\t".join, zip(*(known[place] for place in places), strict=True)))
            for places in self._made_of
        ]


def _repeated(values: Sequence[_T], counts: Sequence[int]) -> list[_T]:
    """Each value as often as its count says."""
    return list(chain.from_iterable(map(repeat, values, counts)))


class _Share:
    """The share of some files that is read, of that of each."""

    def __init__(self, sizes: Sequence[int], report: Callable[[float], None] | None) -> None:
        self._ends = list(accumulate(sizes, initial=0))
        self._report = report
        self._file = 0

    def of_file(self, share: float) -> None:
        """Report the share, in [0, 1], of the file that is being read."""
        if self._report is not None:
            start, end = self._ends[self._file : self._file + 2]
            self._report((start + share * (end - start)) / self._ends[-1])

    def end_of_file(self) -> None:
        """Go on to the next file."""
        self._file += 1


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
