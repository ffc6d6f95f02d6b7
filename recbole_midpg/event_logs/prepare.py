"""From a log of events to a dataset: what ``recbole-midpg prepare NAME --csv FILES`` does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar
from recbole_midpg.atomic_data_scripts.raw_file import shown
from recbole_midpg.atomic_data_scripts.report import ConversionReport
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import write_text, written_whole
from recbole_midpg.event_logs.column_kinds import (
    ColumnRoles,
    decide,
    make_schema,
    table,
    time_words,
)
from recbole_midpg.event_logs.dataset_config import config_text
from recbole_midpg.event_logs.distinct import Distinct
from recbole_midpg.event_logs.log_files import LogBlock, LogFile, open_log
from recbole_midpg.event_logs.profile import LogProfile
from recbole_midpg.event_logs.repeated_rows import CopyCounter
from recbole_midpg.event_logs.schema import LogForm, LogSchema, schema_path

FORMAT_VERSION = "log 1"
"""To be raised when the same log and options make something else than before."""


@dataclass(frozen=True)
class PreparedLog:
    """What was made of a log.

    Attributes:
        report: the counts, as those of the converters.
        schema: what the columns mean.
        columns: what became of each column, as a table.
        copies: rows that are exact copies of an earlier one, in what is kept of them.
        not_given: rows left out because the ``--given`` outcome is not 1.
        config: the dataset's config file.
        wrote_config: whether it was written; False where there was one.
    """

    report: ConversionReport
    schema: LogSchema
    columns: str
    copies: int
    not_given: int
    config: Path
    wrote_config: bool

    def summary(self) -> str:
        """All of it in lines of text."""
        schema, report = self.schema, self.report
        lines = [self.columns, ""]
        lines += [
            f"{column.name}: {time_words(column.time)}, kept as Unix seconds."
            for column in schema.columns
            if column.time is not None
        ]
        lines += [report.summary()]
        if schema.given is not None:
            lines.append(
                f"{self.not_given:,} rows are left out, in which {schema.given.name} is not 1."
            )
        if self.copies:
            lines.append(f"{self.copies:,} rows are exact copies of an earlier one; they are kept.")
        if self.wrote_config:
            lines.append(f"Config, to be edited: {self.config}")
        else:
            lines.append(f"Config: {self.config} stays as it is (--force writes over it).")
        lines.append(f"Next: run_recbole --model=MIDPG --dataset={report.name}")
        return "\n".join(lines)


def prepare_log(
    name: str,
    paths: Sequence[str],
    form: LogForm,
    roles: ColumnRoles,
    output: str | Path = "dataset",
    *,
    command: str = "recbole-midpg prepare",
    on_error: str = "stop",
    force: bool = False,
    show_progress: bool | None = None,
) -> PreparedLog:
    """Make a dataset of a log: its atomic file, its schema and its config file.

    The log is read twice, a block at a time: to find out what its columns are, and to write
    ``output/NAME/NAME.inter``. All files appear when they are complete; ``NAME.schema.json`` keeps
    what the columns mean. ``./dataset_configs/NAME.yaml`` is left alone where it is there.

    Args:
        name: the dataset.
        paths: the log's files, which have the same columns.
        form: their form.
        roles: what the columns mean.
        output: the folder of all datasets.
        command: what was typed, for the config file's first lines.
        on_error: ``stop`` at the first bad line, or ``skip`` it and list it in
            ``NAME.rejected.tsv``.
        force: whether files that are there are written over.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Returns:
        What was made.

    Raises:
        UsageError: the log cannot be read so; nothing is written then.
    """
    start = time.monotonic()
    folder = Path(output) / name
    inter, rejected = folder / f"{name}.inter", folder / f"{name}.rejected.tsv"
    if inter.exists() and not force:
        raise UsageError(f"{inter}: it is there already, --force writes over it.")
    files = [open_log(path, form) for path in paths]
    names = _same_columns(files)
    roles.check(names)
    profile = LogProfile(names, roles.label_outcome(), roles.missing)
    for block in _blocks(f"{name}, columns", files, names, show_progress):
        profile.add(block)
    if not profile.rows:
        raise UsageError(f"{files[0].path}: there are no rows below the columns' names.")
    kinds = decide(profile, roles, files[0].unusable)
    schema = make_schema(profile, roles, kinds, form)
    schema_file, manifest = schema_path(folder, name), folder / f"{name}.manifest.json"
    writer = _Writer(schema, roles, on_error == "skip")
    with written_whole([inter, rejected, schema_file, manifest]) as parts:
        writer.write(name, files, parts[0], parts[1], show_progress)
        report = writer.report(name, folder)
        report.seconds = round(time.monotonic() - start, 3)
        parts[2].write_text(json.dumps(schema.to_plain(), indent=1) + "\n", encoding="utf-8")
        parts[3].write_text(json.dumps(_manifest(report, files, parts[0]), indent=1) + "\n")
    if not writer.rejected:
        rejected.unlink()
    config = Path("dataset_configs") / f"{name}.yaml"
    writes_config = force or not config.exists()
    if writes_config:
        write_text(config, config_text(name, schema, roles, command))
    fields = {raw: field for field, raw in schema.raw_names.items()}
    return PreparedLog(
        report,
        schema,
        table(profile, kinds, fields),
        writer.copies,
        writer.not_given,
        config,
        writes_config,
    )


def _same_columns(files: Sequence[LogFile]) -> list[str]:
    """The columns of a log's files.

    Raises:
        UsageError: files have different ones.
    """
    first = files[0]
    for other in files[1:]:
        lacks = [name for name in first.names if name not in other.names]
        more = [name for name in other.names if name not in first.names]
        if lacks or more:
            what = f"lacks column {lacks[0]!r}" if lacks else f"has the further column {more[0]!r}"
            raise UsageError(f"{other.path}: it {what}, expected the columns of {first.path}.")
    return list(first.names)


def _blocks(
    title: str, files: Sequence[LogFile], wanted: Sequence[str], show_progress: bool | None
) -> Iterator[LogBlock]:
    """The blocks of all files, with progress on stderr."""
    rows, share = 0, 0.0

    def report(read: float) -> None:
        nonlocal share
        share = read

    with closing(ProgressBar(title, show_progress)) as progress:
        for place, file in enumerate(files):
            for block in file.blocks(wanted, report):
                rows += len(block)
                yield block
                progress.update((place + share) / len(files), rows)


def _manifest(report: ConversionReport, files: Sequence[LogFile], inter: Path) -> dict[str, object]:
    """What the converters leave beside their files, see ``conversion.read_manifest``."""
    return {
        "name": report.name,
        "version": FORMAT_VERSION,
        "raw": {"names": [file.path for file in files]},
        "options": {},
        "files": {report.files[0]: {"bytes": inter.stat().st_size}},
        "report": report.to_json(),
    }


@dataclass
class _Writer:
    """Writes the rows of a log as an atomic file."""

    schema: LogSchema
    roles: ColumnRoles
    skips: bool
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    not_given: int = 0
    copies: int = 0
    positives: int = 0
    tallies: dict[str, list[int]] = field(default_factory=dict)

    def write(
        self,
        name: str,
        files: Sequence[LogFile],
        inter: Path,
        rejected: Path,
        show_progress: bool | None,
    ) -> None:
        """Write all rows, and list those that are bad.

        Raises:
            UsageError: a line is bad and not skipped, or no row is left.
        """
        wanted = list(self.schema.raw_names.values())
        if self.schema.given is not None:
            wanted.append(self.schema.given.name)
        hashes = inter.with_name(f"{inter.name}.hashes")
        try:
            counter = CopyCounter(hashes)
            with (
                inter.open("w", encoding="utf-8", newline="\n") as rows,
                rejected.open("w", encoding="utf-8", newline="\n") as bad,
            ):
                types = self.schema.types
                rows.write("\t".join(f"{field}:{kind}" for field, kind in types.items()) + "\n")
                bad.write("file\tline\tproblem\n")
                for block in _blocks(f"{name}, rows", files, wanted, show_progress):
                    self._write_block(block, rows, bad, counter)
            self.copies = counter.copies()
        finally:
            hashes.unlink(missing_ok=True)
        if not self.rows_out:
            why = (
                "bad" if self.schema.given is None else f"bad or {self.schema.given.name} is not 1"
            )
            raise UsageError(f"{files[0].path}: of all {self.rows_in:,} rows each is {why}.")

    def _write_block(
        self, block: LogBlock, rows: TextIO, bad: TextIO, counter: CopyCounter
    ) -> None:
        columns, problems = self._fields(block)
        self.rows_in += len(block) + len(block.bad)
        keep = np.ones(len(block), np.bool_)
        keep[list(problems)] = False
        lines = [(line.line, line.problem) for line in block.bad]
        lines += [(int(block.lines[row]), problem) for row, problem in problems.items()]
        lines.sort()
        if lines and not self.skips:
            line, problem = lines[0]
            raise UsageError(
                f"{block.path}, {block.place} {line}: {problem} --on-error skip leaves it out."
            )
        bad.writelines(f"{block.path}\t{line}\t{problem}\n" for line, problem in lines)
        self.rejected += len(lines)
        given, _ = self.schema.is_given(block.columns)
        self.not_given += int((keep & ~given).sum())
        keep &= given
        if not keep.all():
            columns = {name: texts[keep] for name, texts in columns.items()}
        self._count(columns)
        written = np.empty(int(keep.sum()), dtype=object)
        written[:] = list(map("\t".join, zip(*(c.tolist() for c in columns.values()), strict=True)))
        if len(written):
            counter.add(written)
            rows.write("\n".join(written.tolist()) + "\n")

    def _fields(self, block: LogBlock) -> tuple[dict[str, NDArray[np.object_]], dict[int, str]]:
        """A block's fields, and by row what is wrong with it."""
        columns, bad = self.schema.read(block.columns)
        problems: dict[int, str] = {}
        for value in bad:
            problems.setdefault(value.row, value.problem)
        for value in self.schema.is_given(block.columns)[1]:
            problems.setdefault(value.row, value.problem)
        for name in self._needed():
            for row in np.flatnonzero(columns[name] == "").tolist():
                raw = self.schema.raw_names[name]
                text = Distinct.of(block.columns[raw]).take([row]).row_texts()[0]
                problems.setdefault(
                    row, f"column {raw!r}: {shown(text)} is missing, expected a value in each row."
                )
        return columns, problems

    def _needed(self) -> list[str]:
        """The fields that must not be missing."""
        raw = {self.roles.user, self.roles.item, self.roles.label, self.roles.time}
        return [name for name, column in self.schema.raw_names.items() if column in raw]

    def _count(self, columns: dict[str, NDArray[np.object_]]) -> None:
        labels = columns[self.schema.label.field] == "1"
        self.rows_out += len(labels)
        self.positives += int(labels.sum())
        scenario = self._scenario_field()
        texts = columns[scenario] if scenario else np.full(len(labels), "all", dtype=object)
        column = Distinct.of(texts)
        rows = np.bincount(column.codes, minlength=len(column.values)).tolist()
        positives = np.bincount(column.codes[labels], minlength=len(column.values)).tolist()
        for text, count, positive in zip(column.values, rows, positives, strict=True):
            tally = self.tallies.setdefault(text or "(missing)", [0, 0])
            tally[0] += count
            tally[1] += positive

    def _scenario_field(self) -> str:
        first = next(iter(self.roles.scenario), None)
        names = self.schema.raw_names
        return next((field for field, raw in names.items() if raw == first), "")

    def report(self, name: str, folder: Path) -> ConversionReport:
        """The counts as those of the converters."""
        scenario = self._scenario_field() or "scenario"
        return ConversionReport(
            name=name,
            folder=str(folder),
            scenario=scenario,
            published={},
            files=[f"{name}.inter"],
            rows_in=self.rows_in - self.not_given,
            rows_out=self.rows_out,
            rows_rejected=self.rejected,
            positives=self.positives,
            tallies={scenario: self.tallies},
        )
