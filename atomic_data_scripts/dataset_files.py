"""The files of a dataset: they take their names together, also where the process is killed then."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # on Windows, where two conversions into one folder do not see each other
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = ".converting-"
_COMPLETE = "complete"


@dataclass(frozen=True)
class DatasetFiles:
    """The files that a conversion may write.

    Attributes:
        folder: the dataset's.
        name: the dataset's.
        endings: of the files, each after the name and a dot.
    """

    folder: Path
    name: str
    endings: tuple[str, ...]

    @property
    def manifest(self) -> Path:
        """What is left beside the files, the last to get its name."""
        return self.folder / f"{self.name}.manifest.json"

    def possible_files(self) -> list[str]:
        """Their names, but for the manifest."""
        return [f"{self.name}.{ending}" for ending in self.endings]

    def put_in_place(self, temporary: Path, files: Path, content: Mapping[str, Any]) -> None:
        """Give complete files their names; from here on :meth:`settle` ends what a kill cut off.

        Args:
            temporary: of :func:`temporary_folder`.
            files: the folder in it with the complete files.
            content: the manifest; ``files`` in it has the name of each.
        """
        files.rename(temporary / _COMPLETE)
        manifest = temporary / "manifest.part"
        manifest.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        manifest.replace(temporary / self.manifest.name)
        self._rename(temporary)

    def _rename(self, temporary: Path) -> None:
        """Rename complete files, the manifest last, also where a killed process has begun to."""
        manifest = temporary / self.manifest.name
        written = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        self.manifest.unlink(missing_ok=True)
        for name in self.possible_files():
            complete = temporary / _COMPLETE / name
            if complete.exists():
                complete.replace(self.folder / name)
            elif name not in written:
                (self.folder / name).unlink(missing_ok=True)
        manifest.replace(self.manifest)

    def settle(self) -> None:
        """End the renames that a killed process had begun, and remove all it left."""
        for leftover in self.folder.glob(f"{_TEMPORARY}*"):
            if (leftover / self.manifest.name).is_file():
                self._rename(leftover)
            shutil.rmtree(leftover)


def was_cut_off(folder: Path) -> bool:
    """Whether a conversion was killed while its files took their names: some are missing."""
    return any(folder.glob(f"{_TEMPORARY}*/*.manifest.json"))


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Make a folder and wait until no other process works in it; remove it where it is empty.

    Yields:
        Whether this process is alone in it, which not every file system can say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    alone = False
    with ExitStack() as stack:
        if fcntl is not None:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # the system lets go when a process ends
                alone = True
        try:
            yield alone
        finally:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A folder inside ``folder`` that is removed at the end."""
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)
