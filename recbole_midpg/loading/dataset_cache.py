"""Arrays and plain values on disk, found by what they were made of, and checked when read.

An entry is one file: a line that names the format, the size and the SHA-256 of a description in
JSON, the description, then the arrays' bytes. The description gives each array's type, shape,
place and SHA-256, so that a file that was cut off or changed in any bit is noticed. Nothing is
unpickled. An entry is written under another name, made durable and renamed, so that a reader finds
it whole or not at all.

The cache can only save time: where its folder cannot be written or an entry is damaged, that is
logged in one line and the caller makes the data anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
KEPT_ENTRIES = 4

_MAGIC = b"recbole-midpg dataset cache\n"
_ALIGNMENT = 64
_BLOCK_BYTES = 1 << 22
# File systems may give two changes the same time unless they lie so far from each other.
_CLOCK_SECONDS = 2.0
_ABANDONED_SECONDS = 24 * 3600.0
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


def default_folder() -> Path:
    """``recbole_midpg`` in the user's folder of caches; without a home, one where they are."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "recbole_midpg"
    try:
        return Path.home() / ".cache" / "recbole_midpg"
    except RuntimeError:
        return Path("recbole_midpg_cache")


def key_of(values: Any) -> str:
    """The name of what is made of some values: the SHA-256 of them in JSON.

    Args:
        values: anything that JSON can express, once ``str`` has replaced what it cannot.

    Returns:
        64 hexadecimal digits, the same whatever order dictionaries have.
    """
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class DatasetCache:
    """The entries of one folder.

    Args:
        folder: made when first needed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def content_key(self, path: str | os.PathLike[str]) -> str:
        """The SHA-256 of a file, remembered for as long as its size, time and inode stay.

        Args:
            path: an existing file.

        Raises:
            OSError: it cannot be read.
        """
        path = Path(path).absolute()
        identity = file_identity(path)
        note = self.folder / "files" / f"{key_of(str(path))[:32]}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads(note.read_text(encoding="utf-8"))
            if noted["identity"] == identity:
                return str(noted["sha256"])
        with path.open("rb") as file:
            digest = sha256_of(file)
        # A file that changed just before this reading may change again without a new time.
        settled = time.time() - path.stat().st_mtime > _CLOCK_SECONDS
        if settled and file_identity(path) == identity:
            text = json.dumps({"identity": identity, "sha256": digest}).encode()
            self._write(note, lambda file: file.write(text))
        return digest

    def load(self, dataset: str, key: str) -> Entry | None:
        """Read an entry.

        Args:
            dataset: the dataset's name.
            key: what :func:`key_of` gave.

        Returns:
            The entry, ``None`` where there is none or it is damaged.
        """
        path = self._path(dataset, key)
        try:
            entry = read_entry(path)
            with contextlib.suppress(OSError):
                os.utime(path)  # the newest entries are kept
        except FileNotFoundError:
            return None
        except (OSError, Damaged) as error:
            getLogger().warning(f"Dataset cache: {path} is made anew, {error}.")
            return None
        return entry

    def store(self, dataset: str, key: str, entry: Entry) -> None:
        """Write an entry, and delete all but the newest few of the dataset."""
        path = self._path(dataset, key)
        if self._write(path, lambda file: write_entry(file, entry)):
            self._prune(dataset)

    def _path(self, dataset: str, key: str) -> Path:
        # The names of datasets come from outside: what cannot be in a file's name is left out.
        readable = "".join(letter for letter in dataset if letter.isalnum() or letter in "-_")
        return self.folder / f"{readable}.{key_of(dataset)[:8]}.{key[:32]}.arrays"

    def _write(self, path: Path, write: Callable[[BinaryIO], object]) -> bool:
        """Write a file whole or not at all; a failure is logged and costs nothing but the file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=path.name, suffix=".part", delete=False
            ) as file:
                try:
                    write(file)  # type: ignore[arg-type]
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(path)
                finally:
                    Path(file.name).unlink(missing_ok=True)
        except OSError as error:
            getLogger().warning(f"Dataset cache: {path} is not written ({error.strerror}).")
            return False
        return True

    def _prune(self, dataset: str) -> None:
        with contextlib.suppress(OSError):
            entries = list(self.folder.glob(self._path(dataset, "*").name))
            entries.sort(key=_modified, reverse=True)
            oldest_in_work = time.time() - _ABANDONED_SECONDS
            parts = [*self.folder.glob("*.arrays*.part"), *self.folder.glob("files/*.json*.part")]
            abandoned = [path for path in parts if _modified(path) < oldest_in_work]
            for path in entries[KEPT_ENTRIES:] + abandoned:
                path.unlink(missing_ok=True)


def file_identity(path: Path) -> list[int]:
    """What changes when a file is written or replaced: size, time in nanoseconds, inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


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


def sha256_of(file: BinaryIO) -> str:
    """The SHA-256 of what is left to read of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _modified(path: Path) -> float:
    """When a file was last written or used; long ago where another process has deleted it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
