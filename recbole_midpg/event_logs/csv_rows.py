"""From a block of a CSV file's bytes to where each value of it begins and ends.

Vector operations find the separators and line ends outside of quotes. Where anything is wrong with
a block, the same block is looked through line by line for what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.raw_file import LONGEST_LINE, shown

_QUOTE, _LINE_END = ord('"'), ord("\n")
# Behind a block, for texts to be compared eight bytes at a time.
_PADDING = bytes(8)
# Lines that one quoted value may go on for; beyond, its quote is taken for a mistake.
_MOST_LINES = 1_000


@dataclass(frozen=True)
class BadLine:
    """A line that is no row.

    Attributes:
        line: its number, from 1.
        text: what stands there, bytes that are no text escaped.
        reason: what is wrong, as a sentence without its place and end.
        is_text: False where its bytes are not UTF-8.
    """

    line: int
    text: str
    reason: str
    is_text: bool = True

    @property
    def problem(self) -> str:
        """A sentence without its place."""
        return f"{self.reason}, in {shown(self.text)}."


@dataclass(frozen=True)
class Cells:
    """The values of a block of rows.

    Attributes:
        buffer: the block's bytes, with eight more behind.
        starts: where each value begins, ``(rows, columns)``.
        ends: where each value ends.
        lines: the number of the line on which each row begins, ``(rows,)``.
        bad: the lines that are no rows.
        has_quotes: whether a quote in a value stands there twice.
    """

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    bad: list[BadLine] = field(default_factory=list)
    has_quotes: bool = False


def split_rows(data: bytes, first_line: int, separator: str, width: int, *, quoted: bool) -> Cells:
    """Find the values of a block of whole rows.

    An empty line is no row, and nothing is said of it.

    Args:
        data: UTF-8 text, its last line with its line feed.
        first_line: the number of its first line, from 1.
        separator: one character of ASCII.
        width: how many values a row has.
        quoted: whether values may stand in quotes.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    numbers: NDArray[np.int64] | None = None
    bad: list[BadLine] = []
    quoted = quoted and b'"' in data
    if _is_odd(data, separator, quoted):
        data, numbers, bad = _whole_lines(data, first_line, separator, quoted)
    buffer = np.frombuffer(data + _PADDING, np.uint8)
    is_end = buffer == _LINE_END
    is_mark = is_end | (buffer == ord(separator))
    if quoted:
        is_mark &= ~np.logical_xor.accumulate(buffer == _QUOTE)
    marks = np.flatnonzero(is_mark)
    ends_at = np.flatnonzero(is_end[marks])
    counts = np.diff(ends_at, prepend=-1)
    row_ends = marks[ends_at]
    row_starts = np.concatenate([[0], row_ends[:-1] + 1])[: len(row_ends)]
    if numbers is None:
        numbers = first_line + (
            np.searchsorted(np.flatnonzero(is_end), row_starts)
            if quoted
            else np.arange(len(row_ends))
        )
    fine = (counts == width) & (row_ends - row_starts <= LONGEST_LINE)
    for row in np.flatnonzero(~fine) if not fine.all() else ():
        text = data[row_starts[row] : row_ends[row]]
        if text:
            bad.append(BadLine(int(numbers[row]), _text(text), _problem(text, counts[row], width)))
    ends = marks[np.repeat(fine, counts)].reshape(-1, width)
    starts = np.empty_like(ends)
    starts[:, 0] = row_starts[fine]
    starts[:, 1:] = ends[:, :-1] + 1
    if quoted:
        in_quotes = (buffer[starts] == _QUOTE) & (ends > starts)
        starts, ends = starts + in_quotes, ends - in_quotes
    return Cells(buffer, starts, ends, numbers[fine], bad, quoted)


def _problem(text: bytes, count: int, width: int) -> str:
    if len(text) > LONGEST_LINE:
        return f"the line is longer than {LONGEST_LINE:,} bytes"
    return f"{count} values, expected {width} as in line 1"


def _is_odd(data: bytes, separator: str, quoted: bool) -> bool:
    """Whether a block has bytes that are no text, or a quote where none can be."""
    if b"\0" in data:
        return True
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return True
    return quoted and _has_stray_quote(data, separator)


def _has_stray_quote(data: bytes, separator: str) -> bool:
    """Whether a quote stands elsewhere than around a value, or twice within one that is quoted."""
    buffer = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    quotes = np.flatnonzero(buffer == _QUOTE)
    if len(quotes) % 2:
        return True
    bounds = np.array([ord(separator), _LINE_END], np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    twice = np.zeros(len(opening) + 1, np.bool_)
    twice[1:-1] = opening[1:] == closing[:-1] + 1
    begins = twice[:-1] | np.isin(buffer[opening - 1], bounds)
    stops = twice[1:] | np.isin(buffer[closing + 1], bounds)
    return not (begins.all() and stops.all())


def _whole_lines(
    data: bytes, first_line: int, separator: str, quoted: bool
) -> tuple[bytes, NDArray[np.int64], list[BadLine]]:
    """Take out of a block what is no row: the rest, each row's line, and what was taken out."""
    row = _row_pattern(separator)
    good: list[bytes] = []
    numbers: list[int] = []
    bad: list[BadLine] = []
    lines = data.split(b"\n")[:-1]
    place = 0
    while place < len(lines):
        record, number, place = lines[place], first_line + place, place + 1
        reason = _no_text(record)
        if reason is None and quoted and b'"' in record and not row.fullmatch(record):
            reason = "a value with a quote must stand in quotes, and a quote in it there twice"
            most = min(place + _MOST_LINES, len(lines))
            for end in range(place, most if record.count(b'"') % 2 else place):
                longer = b"\n".join([record, *lines[place : end + 1]])
                if lines[end].count(b'"') % 2 and _no_text(longer) is None:
                    if row.fullmatch(longer):
                        record, place, reason = longer, end + 1, None
                    break
        if reason is None:
            good.append(record)
            numbers.append(number)
        else:
            bad.append(BadLine(number, _text(record), reason, is_text=_is_utf8(record)))
    whole = b"".join(record + b"\n" for record in good)
    return whole, np.array(numbers, np.int64), bad


def _no_text(line: bytes) -> str | None:
    if b"\0" in line:
        return "it holds a zero byte"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{line[error.start]:02x} is not UTF-8 text"
    return None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=8)
def _row_pattern(separator: str) -> re.Pattern[bytes]:
    mark = re.escape(separator.encode())
    value = b'(?:"(?:[^"]|"")*"|[^"\n' + mark + b"]*)"
    return re.compile(value + b"(?:" + mark + value + b")*")


def _text(line: bytes) -> str:
    return line[: LONGEST_LINE + 1].decode(errors="backslashreplace")
