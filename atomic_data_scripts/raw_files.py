"""The raw files of a dataset: one file, or several below a folder or in zip archives."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from recbole_midpg.common.errors import UsageError

from .converter import Converter
from .raw_file import RawFile


class RawFiles:
    """All raw files that a conversion reads.

    Args:
        path: the file, the zip archive or the folder that a user names.
        converter: the dataset.

    Attributes:
        path: the same.
        converter: the dataset; where it has other forms, that of the files that are there.
        rows: the files of the rows.
        side_tables: the files of each of the converter's side tables.
        size: bytes of all files, as they lie on the disk.

    Raises:
        UsageError: there is no such file, a file is missing, or one is empty.
    """

    def __init__(self, path: Path, converter: Converter) -> None:
        self.path = path
        self.converter, (self.rows, *self.side_tables) = _found(path, converter)
        files = [file for files in (self.rows, *self.side_tables) for file in files]
        self._files = list({file.path: file for file in files}.values())
        self.size = sum(file.size for file in self._files)

    def sha256(self) -> str:
        """The hash of the only file, or of the hashes of all."""
        hashes = [file.sha256() for file in self._files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256(repr(hashes).encode()).hexdigest()

    def check_unchanged(self) -> None:
        """Raise a :class:`UsageError` where a file changed since this object was made."""
        for file in self._files:
            file.check_unchanged()


def are_in(folder: Path, converter: Converter) -> bool:
    """Whether a folder holds all raw files of one of a dataset's forms."""
    members = list(_members(folder)) if folder.is_dir() else []
    forms = (converter, *converter.other_forms)
    return any(all(_matching(members, name) for name in form.raw_names) for form in forms)


def _found(path: Path, converter: Converter) -> tuple[Converter, list[list[RawFile]]]:
    """The form of a dataset whose files are there, and the files of each of its raw names."""
    forms = (converter, *converter.other_forms)
    if converter.has_one_file or not path.exists():
        return converter, [[RawFile(path, converter.raw_name)]]
    members = list(_members(path))
    if path.is_file() and not zipfile.is_zipfile(path):
        named = [form for form in forms if _matching(members, form.raw_name)]
        chosen = (named or forms)[0]
        if not chosen.side_tables:
            return chosen, [[RawFile(path, chosen.raw_name, members[0][0])]]
    for form in forms:
        files = [_matching(members, name) for name in form.raw_names]
        if all(files):
            for found in files:
                _require_each_once(path, found, form.several_files)
            return form, files
    wanted = "; or ".join(", ".join(form.raw_names) for form in forms)
    raise UsageError(
        f"{path}: does not hold the raw files of {converter.name}, expected a folder or zip "
        f"archive with {wanted}."
    )


def _require_each_once(path: Path, files: Sequence[RawFile], several_folders: bool) -> None:
    """Check that no file is there twice, as unpacked beside its archive.

    Raises:
        UsageError: one is.
    """
    seen: dict[str, str] = {}
    for file in files:
        name = file.name.replace(".zip/", "/") if several_folders else PurePosixPath(file.name).name
        if name in seen:
            raise UsageError(
                f"{path}: holds {seen[name]} and {file.name}, expected one of them: the rows of "
                "both would be read."
            )
        seen[name] = file.name


def _members(path: Path) -> Iterator[tuple[str, Path, str]]:
    """Name, path and, in an archive, member of each file below a folder or in a file."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if not file.is_file():
            continue
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        yield f"{name}/{info.filename}", file, info.filename
        else:
            yield name.removesuffix(".gz"), file, ""


def _matching(members: Sequence[tuple[str, Path, str]], raw_name: str) -> list[RawFile]:
    """The files of a raw name, in the order of their own names."""
    return [
        RawFile(path, member, name)
        for name, path, member in sorted(members)
        if fnmatchcase(PurePosixPath(name).name, raw_name)
        and not PurePosixPath(name).name.startswith(".")
    ]
