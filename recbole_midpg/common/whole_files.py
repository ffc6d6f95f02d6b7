"""Files that appear under their names when they are complete, and not before."""

from __future__ import annotations

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
