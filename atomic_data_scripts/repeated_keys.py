"""Which rows repeat the key of an earlier one, found exactly and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO

import numpy as np
from numpy.typing import NDArray

CAPACITY = 2_000_000
"""Rows whose keys are compared at once: about 200 MB."""

_ROW = np.dtype([("key", "<u8"), ("key_rest", "<u8"), ("content", "<i8"), ("line", "<i8")])


def _no_lines() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Repeats:
    """The rows that repeat an earlier row's key, in the order of their lines.

    Attributes:
        lines: their line numbers, ``(rows,)``.
        first_lines: the line number of the key's first row, ``(rows,)``.
        copies: whether the row is an exact copy of any earlier one, ``(rows,)``.
    """

    lines: NDArray[np.int64] = field(default_factory=_no_lines)
    first_lines: NDArray[np.int64] = field(default_factory=_no_lines)
    copies: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))

    def within(self, first_line: int, last_line: int) -> range:
        """The places of the rows between two lines, both included."""
        start, stop = np.searchsorted(self.lines, [first_line, last_line + 1])
        return range(int(start), int(stop))


class RepeatedKeys:
    """Collects the keys of all rows in a file, 32 bytes a row, and finds the repeated ones.

    Keys are compared by a hash of 128 bits, the rows of one key by one of 64 bits.

    Args:
        file: an open, empty binary file.
        capacity: rows that are compared at once; the file is read once for each so many.
    """

    def __init__(self, file: IO[bytes], capacity: int = CAPACITY) -> None:
        self._file = file
        self._capacity = capacity
        self._rows = 0

    def add(self, keys: Sequence[str], contents: Iterable[str], lines: Sequence[int]) -> None:
        """Add rows: their keys, whole contents and line numbers, in rising order."""
        rows = np.empty(len(keys), dtype=_ROW)
        digests = b"".join(blake2b(key.encode(), digest_size=16).digest() for key in keys)
        halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
        rows["key"], rows["key_rest"] = halves[:, 0], halves[:, 1]
        rows["content"] = np.fromiter(map(hash, contents), dtype=np.int64, count=len(keys))
        rows["line"] = lines
        self._file.write(rows.tobytes())
        self._rows += len(keys)

    def find(self) -> Repeats:
        """Find the rows with a repeated key."""
        self._file.flush()
        shares = max(1, -(-self._rows // self._capacity))
        found = [_repeats(self._read(share, shares)) for share in range(shares)]
        lines, first_lines, copies = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(lines)
        return Repeats(lines[order], first_lines[order], copies[order])

    def _read(self, share: int, shares: int) -> NDArray[np.void]:
        """The rows of one share of all keys."""
        self._file.seek(0)
        parts = [np.empty(0, dtype=_ROW)]
        while data := self._file.read(self._capacity // 4 * _ROW.itemsize or _ROW.itemsize):
            rows = np.frombuffer(data, dtype=_ROW)
            parts.append(rows[rows["key"] % np.uint64(shares) == share])
        return np.concatenate(parts)


def _repeats(
    rows: NDArray[np.void],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Lines, first lines and copies of the repeated rows; see :class:`Repeats`."""
    rows = rows[np.lexsort((rows["line"], rows["content"], rows["key_rest"], rows["key"]))]
    key, rest, content, line = (rows[name] for name in ("key", "key_rest", "content", "line"))
    new_key = np.ones(len(rows), dtype=np.bool_)
    new_key[1:] = (key[1:] != key[:-1]) | (rest[1:] != rest[:-1])
    copies = ~new_key
    copies[1:] &= content[1:] == content[:-1]
    starts = np.flatnonzero(new_key)
    sizes = np.diff(starts, append=len(rows))
    first_line = np.repeat(np.minimum.reduceat(line, starts), sizes) if len(rows) else line
    repeated = line != first_line
    return line[repeated], first_line[repeated], copies[repeated]
