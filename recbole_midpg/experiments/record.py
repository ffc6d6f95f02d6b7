"""Records of finished work: a line of JSON each, in a file that a killed command leaves whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout  # one of torch's own requirements

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.report_files import as_json

_Entry = TypeVar("_Entry")


class Record:
    """The finished parts of a piece of work, for one command at a time.

    The first line says which work it is; a last line that was cut off is dropped. A second command
    is refused until the first is at its end, however that comes: both would do the same parts, and
    each would stand in the file twice.

    Args:
        path: the file; made where it does not exist.
        work: what the work is.
        name: what it is called in errors, as "a search".
        option: the command's option that names another file.
        kept_later: those parts of ``work``, in words, that a file of an earlier version may lack:
            they are then not compared, which is told.

    Attributes:
        entries: the entries of the file, in their order.

    Raises:
        UsageError: the file is of another work, or is no record, or another command has it.
    """

    def __init__(
        self,
        path: Path,
        work: dict[str, Any],
        name: str,
        option: str,
        kept_later: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._kept_later = dict(kept_later or {})
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"record {str(path)!r}: another command is at work on it, expected one at a time, "
                f"or another {option}."
            ) from error
        except NotImplementedError:
            getLogger().warning(
                f"record {str(path)!r}: its file system has no locks, so that a second command "
                "that works on it at the same time would not be refused."
            )
        try:
            self._read(work, name, option)
        except BaseException:
            self._lock.release()
            raise

    def _read(self, work: dict[str, Any], name: str, option: str) -> None:
        if not self.path.exists() or not self.path.read_bytes():
            self._append(as_json(work))
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            first, *self.entries = [json.loads(line) for line in whole.splitlines()]
        except (ValueError, RecursionError) as error:
            raise UsageError(f"record {str(self.path)!r}: is no record of {name}.") from error
        if not all(isinstance(line, dict) for line in (first, *self.entries)):
            raise UsageError(f"record {str(self.path)!r}: is no record of {name}.")
        now = as_json(work)
        unknown = [key for key in self._kept_later if key in now and key not in first]
        changed = sorted(
            key for key in {*first, *now} if first.get(key) != now.get(key) and key not in unknown
        )
        if changed:
            raise UsageError(
                f"record {str(self.path)!r}: is of another {name.rsplit(maxsplit=1)[-1]} "
                f"(other {', '.join(changed)}), expected the same one, or another {option}."
            )
        if unknown:
            words = ", ".join(self._kept_later[key] for key in unknown)
            getLogger().warning(
                f"record {str(self.path)!r}: it goes on, but does not say what it began with, so "
                f"that whether this is the same now is not compared: {words}."
            )
        if whole != content:
            self.path.write_bytes(whole)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def entries_as(self, entry_class: type[_Entry]) -> list[_Entry]:
        """The entries as objects of a data class.

        Raises:
            UsageError: an entry has other attributes.
        """
        try:
            return [entry_class(**entry) for entry in self.entries]
        except TypeError as error:
            raise UsageError(
                f"record {str(self.path)!r}: an entry is no {entry_class.__name__} ({error})."
            ) from error

    def add(self, entry: dict[str, Any]) -> None:
        """Keep an entry."""
        self._append(entry)
        self.entries.append(entry)

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
