"""Files that appear under their names when they are complete, and not before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recbole_midpg.common.errors import UsageError


@contextmanager
def written_whole(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give files to write to, which take the names of ``paths`` when all of them are written.

    What stood under those names is unchanged until then, and stays where writing fails.

    Args:
        paths: the names, in one folder, which is made where it does not exist.

    Yields:
        A path for each, beside it.

    Raises:
        UsageError: the folder cannot be made, a name is a folder's, or a file cannot be written.
    """
    for path in paths:
        if path.name in {"", ".."} or path.is_dir():
            raise UsageError(f"output {str(path)!r}: it is a folder, expected a file's name.")
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        try:
            yield parts
            for part, path in zip(parts, paths, strict=True):
                part.replace(path)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"output {str(paths[0])!r}: it cannot be written ({error.strerror or error})."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; raises as :func:`written_whole`."""
    with written_whole([path]) as (part,):
        part.write_text(text, encoding="utf-8")


Reads = Sequence[tuple[str, "str | Path | None"]]
"""What a command reads: by what names the user gave each file, and the file, if there is one."""


def require_free_name(path: str | Path, force: bool, reads: Reads, place: str = "output") -> None:
    """Refuse a name under which there is something already, before any work is done for it.

    Args:
        path: the name of a file to write.
        force: whether the user wants what is there replaced.
        reads: the files that the command reads, which nobody wants replaced.
        place: what gave the name, for the error.

    Raises:
        UsageError: there is something that is read, or is not to be replaced.
    """
    for what, read in reads:
        if read is not None and _is_same(path, read):
            raise UsageError(f"{place} {os.fspath(path)!r}: it is {what}, expected another file.")
    if not force and os.path.lexists(path):
        raise UsageError(
            f"{place} {os.fspath(path)!r}: it exists already, expected another name, or --force to "
            "replace it."
        )


def _is_same(one: str | Path, other: str | Path) -> bool:
    """Whether two names are of one file, by links or another spelling too."""
    try:
        return Path(one).samefile(other)
    except OSError:  # one of them is not there
        return os.path.realpath(one) == os.path.realpath(other)


def require_ending(path: str | Path, endings: Iterable[str]) -> None:
    """Refuse a name for an output by whose ending another kind of file would be expected.

    Args:
        path: the name.
        endings: those that are allowed, as ``.csv``.

    Raises:
        UsageError: it has another one.
    """
    allowed, suffix = list(endings), Path(path).suffix
    if suffix not in allowed:
        expected = f"one of {', '.join(allowed)}" if len(allowed) > 1 else allowed[0]
        raise UsageError(
            f"output {os.fspath(path)!r}: its ending is {suffix!r}, expected {expected}."
        )


def require_folder_name(path: str | Path, place: str = "--output") -> None:
    """Refuse a name for a folder of outputs that cannot be one, before any work is done for it.

    Args:
        path: the name; the folder need not be there.
        place: what gave the name, for the error.

    Raises:
        UsageError: it is a file's, or within one.
    """
    folder = Path(path)
    for there in (folder, *folder.parents):
        if there.exists():
            if not there.is_dir():
                raise UsageError(f"{place}: {str(there)!r} is a file, expected a folder.")
            return
