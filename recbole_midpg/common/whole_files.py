"""Files that appear under their names when they are complete, and not before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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


def require_folder(option: str, path: str | Path) -> None:
    """Check that files can go into a folder, before any work is done for them.

    Args:
        option: the command's option that names it.
        path: a folder, which need not exist.

    Raises:
        UsageError: it, or what would have to be a folder above it, is a file.
    """
    path = Path(path)
    there = next((name for name in (path, *path.parents) if os.path.lexists(name)), path.parent)
    if not there.is_dir():
        raise UsageError(
            f"{option} {str(path)!r}: there is a file {str(there)!r}, expected a folder or a new "
            "name."
        )


def refuse_existing(path: str | Path, force: bool, option: str = "output") -> None:
    """Refuse a name under which there is something already, before any work is done for it.

    Args:
        path: the name of a file to write.
        force: whether the user wants it replaced.
        option: what the user has named it by.

    Raises:
        UsageError: there is something, and it is not to be replaced.
    """
    if not force and os.path.lexists(path):
        raise UsageError(
            f"{option} {os.fspath(path)!r}: it exists already, expected another name, or --force "
            "to replace it."
        )
