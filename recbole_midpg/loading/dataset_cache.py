"""Datasets on disk, found by what they were made of.

An entry is written under another name, made durable and renamed, so that a reader finds it whole
or not at all.

The cache can only save time: where its folder cannot be written or an entry is damaged, that is
logged in one line and the caller makes the data anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from logging import getLogger
from pathlib import Path
from typing import Any, BinaryIO

from recbole_midpg.loading.array_file import Damaged, Entry, read_entry, write_entry

KEPT_ENTRIES = 4

_BLOCK_BYTES = 1 << 22
# File systems may give two changes the same time unless they lie so far from each other.
_CLOCK_SECONDS = 2.0
_ABANDONED_SECONDS = 24 * 3600.0


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

    def content_keys(self, paths: Iterable[Path]) -> dict[str, str]:
        """The :meth:`content_key` of each of some files, by their names."""
        return {path.name: self.content_key(path) for path in paths}

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
