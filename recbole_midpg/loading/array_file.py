"""Arrays and plain values in one file, of which every bit is checked when it is read.

A line names the format, the size and the SHA-256 of a description in JSON; then come the
description and the arrays' bytes. The description gives each array's type, shape, place and
SHA-256, so that a file that was cut off or changed in any bit is noticed. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

FORMAT = 1

_MAGIC = b"recbole-midpg dataset cache\n"
_ALIGNMENT = 64
# What numpy reads as numbers. It would take the bytes of other types for addresses in memory.
_NUMBERS = frozenset("biuf")

Arrays = Mapping[str, NDArray[Any]]


class Damaged(ValueError):  # noqa: N818 - it names the entry's state
    """An entry is not what was written; the message says how."""


@dataclass(frozen=True)
class Entry:
    """What one entry holds.

    Attributes:
        values: anything that JSON can express.
        arrays: arrays by name; those of a stored entry are mapped from the file and may be
            written to, which does not change the file.
    """

    values: Any
    arrays: Arrays = field(default_factory=dict)


def write_entry(file: BinaryIO, entry: Entry) -> None:
    """Write an entry to an open file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in entry.arrays.items()}
    described, place = [], 0
    for (name, array), digest in zip(arrays.items(), _digests(arrays.values()), strict=True):
        description = {
            "name": name,
            "type": array.dtype.str,
            "shape": array.shape,
            "place": place,
            "sha256": digest,
        }
        described.append(description)
        place += _aligned(array.nbytes)
    text = json.dumps({"format": FORMAT, "values": entry.values, "arrays": described}).encode()
    head = _head(text)
    file.write(head + text + bytes(_aligned(len(head) + len(text)) - len(head) - len(text)))
    for array in arrays.values():
        file.write(array.reshape(-1).view(np.uint8).data)
        file.write(bytes(_aligned(array.nbytes) - array.nbytes))


def read_entry(path: Path) -> Entry:
    """Read an entry and check every bit of it.

    Raises:
        Damaged: the file is not as it was written.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(len(_head(b"")))
        size = int.from_bytes(head[len(_MAGIC) : len(_MAGIC) + 8], "little")
        text = file.read(min(size, path.stat().st_size))
    if head != _head(text):
        raise Damaged("its description is damaged")
    try:
        return _described(path, text)
    except Damaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"it describes no arrays ({error!r})") from error


def _described(path: Path, text: bytes) -> Entry:
    description = json.loads(text)
    if description["format"] != FORMAT:
        raise Damaged(f"it is of format {description['format']}, expected {FORMAT}")
    size = path.stat().st_size
    begin = _aligned(len(_head(text)) + len(text))
    arrays = {}
    for array in description["arrays"]:
        dtype, start = np.dtype(array["type"]), begin + array["place"]
        shape = tuple(array["shape"])
        if dtype.kind not in _NUMBERS or array["place"] < 0 or min(shape, default=0) < 0:
            raise Damaged("an array of it cannot be one")
        bytes_of_array = dtype.itemsize * math.prod(shape)
        if start + bytes_of_array > size:
            raise Damaged("it is cut off")
        # A map for each array, which goes when that array goes; an empty one cannot be mapped. Copy
        # on write: who changes an array changes neither the file nor another reader's.
        arrays[array["name"]] = (
            np.asarray(np.memmap(path, dtype, mode="c", offset=start, shape=shape))
            if bytes_of_array
            else np.empty(shape, dtype)
        )
    digests = [array["sha256"] for array in description["arrays"]]
    if digests != _digests(arrays.values()):
        raise Damaged("its arrays are damaged")
    return Entry(description["values"], arrays)


def _head(text: bytes) -> bytes:
    return _MAGIC + len(text).to_bytes(8, "little") + hashlib.sha256(text).digest()


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _digests(arrays: Iterable[NDArray[Any]]) -> list[str]:
    with ThreadPoolExecutor(max_workers=2) as threads:
        return list(threads.map(_sha256_of_array, arrays))


def _sha256_of_array(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
