"""From a raw file to a folder of atomic files: all of them or none, and only where needed.

Memory is bounded whatever the file's size: a block of 256 KiB of lines and what is made of it,
16,384 remembered values a column, and at most 1,500,000 users, items and the like each (about
300 MB a table). Larger tables, and the keys of a file that has one, go to temporary files in the
output folder, some 15 and 32 bytes a row. Only rows whose key repeats cost memory, 17 bytes each.

A raw file is read once where every attribute is a function of its user or item; where one turns out
not to be, or rows are to be left out for a repeated key, it is read a second time. Side tables are
held in memory, each id's line as the text that is written of it.
"""

from __future__ import annotations

import errno
import gc
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_midpg.common.errors import UsageError, did_you_mean

from .conversion_pass import (
    DUPLICATES,
    PARTS,
    ConversionPass,
    Layout,
)
from .converter import Converter
from .dataset_files import DatasetFiles, held, temporary_folder
from .progress_bar import ProgressBar
from .raw_file import sha256
from .raw_files import RawFiles
from .report import ConversionReport

FORMAT_VERSION = 1
"""To be raised when all converters write something else than before."""

ON_ERROR = ("stop", "skip")


@dataclass(frozen=True)
class _Job:
    """What is to be converted, where to, and how."""

    converter: Converter
    raw: RawFiles
    folder: Path
    on_error: str
    duplicates: str
    sample: float

    @property
    def files(self) -> DatasetFiles:
        """The files that a conversion may write."""
        inter = ["inter", *(f"{part}.inter" for part in PARTS)]
        return DatasetFiles(
            self.folder, self.converter.name, (*inter, "user", "item", "rejected.tsv")
        )


def convert(
    converter: Converter,
    raw: str | Path,
    output: str | Path = "dataset",
    *,
    force: bool = False,
    on_error: str = "stop",
    duplicates: str = "keep",
    sample: float = 1.0,
    show_progress: bool | None = None,
) -> ConversionReport:
    """Convert a raw file into the atomic files of ``output/NAME/``.

    Files are written to a temporary folder inside ``output/NAME/`` and renamed when all are
    complete, the manifest ``NAME.manifest.json`` last; an error or an interrupt leaves what was
    there before. Where the process is killed, the next call ends the renames that it had begun, or
    removes what it had written. A second call with the same file and options changes nothing; one
    that is made at the same time waits.

    Args:
        converter: the dataset.
        raw: its raw file, plain, gzip or zip; or the folder or zip archive that holds all of them.
        output: the folder of all datasets, RecBole's ``data_path``.
        force: whether to convert again although nothing changed, and over files that something
            else wrote.
        on_error: ``stop`` raises at the first bad line; ``skip`` leaves bad lines out and lists
            them, with their numbers and reasons, in ``NAME.rejected.tsv``.
        duplicates: what becomes of rows that repeat an earlier row's key, in ``keep``,
            ``drop-copies``, ``drop-repeats`` and ``stop``. Rows left out are listed as rejected.
        sample: the share of the users, in (0, 1], whose rows are kept, the same ones in each call.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Returns:
        The counts; of the earlier conversion, with ``changed`` False, where nothing was done.

    Raises:
        UsageError: the file cannot be converted, or the folder not be written.
    """
    for option, value, allowed in (
        ("on_error", on_error, ON_ERROR),
        ("duplicates", duplicates, tuple(DUPLICATES)),
    ):
        if value not in allowed:
            hint = did_you_mean(str(value), allowed) or "."
            raise UsageError(
                f"{option}: {value!r} is not allowed, expected one of {', '.join(allowed)}{hint}"
            )
    if not 0.0 < sample <= 1.0:
        raise UsageError(
            f"sample: {sample} is not allowed, expected a number above 0, at most 1 for all rows."
        )
    folder = Path(output) / converter.name
    with told_in_a_sentence(folder), _without_cycle_collection():
        source = RawFiles(Path(raw), converter)
        job = _Job(source.converter, source, folder, on_error, duplicates, sample)
        with held(folder) as alone:
            if alone:
                job.files.settle()
            origin = _origin(job)
            if not force and (report := _up_to_date(job, origin)) is not None:
                return report
            return _convert(job, origin, show_progress)


def _convert(job: _Job, origin: dict[str, Any], show_progress: bool | None) -> ConversionReport:
    start = time.monotonic()
    with temporary_folder(job.folder) as temporary:
        files, report = _write_files(job, temporary, show_progress)
        job.raw.check_unchanged()
        report.seconds = round(time.monotonic() - start, 3)
        content = {
            **origin,
            "files": {
                name: {"bytes": (files / name).stat().st_size, "sha256": sha256(files / name)}
                for name in report.files
            },
            "report": report.to_json(),
        }
        job.files.put_in_place(temporary, files, content)
    return report


def _write_files(
    job: _Job, temporary: Path, show_progress: bool | None
) -> tuple[Path, ConversionReport]:
    """Read the raw file until the files are right: once where all goes as hoped, or twice."""
    parts = job.converter.parts
    layout = Layout(in_inter={}, parts=None if parts is None else dict(parts))
    reading = 1
    while True:
        folder = temporary / f"reading-{reading}"
        folder.mkdir()
        report = ConversionReport(
            name=job.converter.name,
            folder=str(job.folder),
            scenario=job.converter.scenario,
            published=dict(job.converter.published) if job.sample == 1.0 else {},
            key=job.converter.key,
        )
        progress = ProgressBar(f"{job.converter.name}, reading {reading}", show_progress)
        try:
            right = ConversionPass(
                job.raw,
                folder,
                layout,
                skip_bad_lines=job.on_error == "skip",
                duplicates=job.duplicates,
                sample=job.sample,
                report=report,
                progress=progress.update,
            ).run()
        finally:
            progress.close()
        if right == layout:
            report.in_inter = dict(layout.in_inter)
            report.files = [
                name for name in job.files.possible_files() if (folder / name).is_file()
            ]
            return folder, report
        shutil.rmtree(folder)
        layout = right
        reading += 1


def _origin(job: _Job) -> dict[str, Any]:
    """What the atomic files are made of; the same origin makes the same files."""
    return {
        "name": job.converter.name,
        "version": converter_version(job.converter),
        "raw": {
            "name": job.raw.path.name,
            "bytes": job.raw.size,
            "sha256": job.raw.sha256(),
        },
        "options": {
            "on_error": job.on_error,
            "duplicates": job.duplicates,
            # Not named where it is all, so that files made before there were samples stay valid.
            **({} if job.sample == 1.0 else {"sample": job.sample}),
        },
    }


def _up_to_date(job: _Job, origin: dict[str, Any]) -> ConversionReport | None:
    """The report of the earlier conversion where its files lie there, made of the same origin.

    Raises:
        UsageError: there are files that something else wrote or changed.
    """
    manifest = read_manifest(job.files.manifest)
    written = {} if manifest is None else manifest["files"]
    for name in job.files.possible_files():
        path = job.folder / name
        if not path.exists():
            continue
        if name not in written:
            raise UsageError(
                f"{path}: exists and was not written by a finished conversion, "
                "--force writes over it."
            )
        if path.stat().st_size != written[name]["bytes"] or sha256(path) != written[name]["sha256"]:
            raise UsageError(f"{path}: was changed after its conversion, --force writes over it.")
    if manifest is None or any(manifest.get(key) != value for key, value in origin.items()):
        return None
    if not all((job.folder / name).exists() for name in written):
        return None
    report = ConversionReport.from_json(manifest["report"])
    report.changed = False
    report.folder = str(job.folder)
    return report


def converter_version(converter: Converter) -> str:
    """What changes whenever a converter makes other atomic files of the same raw file."""
    return f"{FORMAT_VERSION}.{converter.version}"


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read what a conversion left beside its files.

    Args:
        path: ``NAME.manifest.json``.

    Returns:
        ``name``, ``version``, ``raw``, ``options``, ``files`` and ``report`` (see
        :class:`ConversionReport`); ``None`` where there is no such file.

    Raises:
        UsageError: the file is not a manifest.
    """
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        complete = {"name", "version", "raw", "options", "files", "report"} <= manifest.keys()
    except (ValueError, AttributeError):
        complete = False
    if not complete:
        raise UsageError(f"{path}: is not a manifest of a conversion, --force writes over it.")
    return dict(manifest)


@contextmanager
def told_in_a_sentence(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the file."""
    try:
        yield
    except OSError as error:
        path = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UsageError(
                f"{path}: no space is left; the unfinished files were removed, "
                "what was there before is unchanged."
            ) from error
        raise UsageError(f"{path}: {error.strerror or error}.") from error


@contextmanager
def _without_cycle_collection() -> Iterator[None]:
    """Suspend the search for reference cycles.

    A conversion makes none, and millions of short-lived lists would set off searches that take
    more time than everything else.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
