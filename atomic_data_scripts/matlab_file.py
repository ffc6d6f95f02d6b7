"""A matrix of whole numbers in a MATLAB file of level 5 (as ``save`` writes by default)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MAGIC = b"MATL"
"""The first bytes of such a file, whose header begins ``MATLAB 5.0 MAT-file``."""

_HEADER_BYTES = 128
_COMPRESSED, _MATRIX = 15, 14
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}
"""The types of stored numbers, by their codes in the file."""


def matrix_as_text(data: bytes) -> bytes:
    """The only matrix of a file as lines of text, its numbers separated by commas.

    The layout is that of the MathWorks' "MAT-File Format" (level 5): elements of a type, a length
    and their content, filled up to eight bytes unless compressed; a matrix is an element that
    holds four: flags, dimensions, name and numbers, column by column.

    Args:
        data: the whole file.

    Raises:
        ValueError: it is no such file, holds no matrix or several, or numbers that are not whole.
    """
    matrices = [matrix for matrix in _matrices(data) if matrix is not None]
    if len(matrices) != 1:
        raise ValueError(f"holds {len(matrices)} matrices of numbers, expected one")
    (matrix,) = matrices
    if not np.array_equal(matrix, np.floor(matrix)):
        raise ValueError("holds numbers that are not whole")
    text = io.BytesIO()
    np.savetxt(text, matrix, fmt="%d", delimiter=",")
    return text.getvalue()


def _matrices(data: bytes) -> Iterator[NDArray[np.generic] | None]:
    """Each matrix of a file, ``None`` for an array that is none."""
    mark = data[_HEADER_BYTES - 2 : _HEADER_BYTES]
    if mark not in (b"IM", b"MI"):
        raise ValueError("is no MATLAB file of level 5")
    order = "<" if mark == b"IM" else ">"
    for kind, content in _elements(data[_HEADER_BYTES:], order):
        if kind == _COMPRESSED:
            inner = _elements(zlib.decompress(content), order)
            yield from (_matrix(part, order) for kind, part in inner if kind == _MATRIX)
        elif kind == _MATRIX:
            yield _matrix(content, order)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The types and contents of elements that follow each other."""
    place = 0
    while place < len(data):
        try:
            kind, length = struct.unpack_from(f"{order}II", data, place)
        except struct.error as error:
            raise ValueError("is cut off") from error
        start = place + 8
        if kind >> 16:  # a short element: its length stands beside its type, four bytes follow
            kind, length, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            place = start + length + (0 if kind == _COMPRESSED else -length % 8)
        if start + length > len(data):
            raise ValueError("is cut off")
        yield kind, data[start : start + length]


def _matrix(content: bytes, order: str) -> NDArray[np.generic] | None:
    """The numbers of an array with two dimensions, ``None`` of any other."""
    try:
        _, (_, dimensions), _, (kind, stored) = _elements(content, order)
        rows, columns = struct.unpack(f"{order}ii", dimensions)
        numbers = np.frombuffer(stored, dtype=f"{order}{_NUMBERS[kind]}")
        return numbers.reshape((rows, columns), order="F")
    except (ValueError, KeyError, struct.error):  # more parts, dimensions or no numbers
        return None
