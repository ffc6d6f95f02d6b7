"""From a log of events to a dataset: what ``recbole-midpg prepare NAME --csv FILES`` does."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.conversion import read_manifest, told_in_a_sentence
from recbole_midpg.atomic_data_scripts.dataset_files import DatasetFiles, held, temporary_folder
from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar
from recbole_midpg.atomic_data_scripts.raw_file import sha256, shown
from recbole_midpg.atomic_data_scripts.report import ConversionReport
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import require_free_name, write_text
from recbole_midpg.event_logs.column_kinds import (
    ColumnRoles,
    decide,
    make_schema,
    require_positives,
    table,
    time_words,
)
from recbole_midpg.event_logs.dataset_config import config_text
from recbole_midpg.event_logs.distinct import Distinct
from recbole_midpg.event_logs.log_files import LogBlock, LogFile, LogPart, encoding_advice, open_log
from recbole_midpg.event_logs.processes import (
    MOST_PROCESSES,
    Workers,
    available_processors,
    started_workers,
)
from recbole_midpg.event_logs.profile import LogProfile, summarise
from recbole_midpg.event_logs.repeated_rows import CopyCounter, hashes_of
from recbole_midpg.event_logs.schema import (
    LogForm,
    LogSchema,
    read_plain_schema,
    schema_path,
)
from recbole_midpg.event_logs.times import TimesRead

FORMAT_VERSION = "log 2"
"""To be raised when the same log and options make something else than before."""

# A smaller log is done before further processes have started.
_LARGE_BYTES = 64_000_000


@dataclass(frozen=True)
class PreparedLog:
    """What was made of a log.

    Attributes:
        report: the counts, as those of the converters.
        schema: what the columns mean.
        columns: what became of each column, as a table.
        copies: rows that are exact copies of an earlier one, in what is kept of them.
        not_given: rows left out because the ``--given`` outcome is not 1.
        times: what ``--time`` has been read as, if there is one.
        unseen_missing: the words of ``--missing`` that no column has as a whole value.
        config: the dataset's config file.
        wrote_config: whether it was written; False where there was one.
    """

    report: ConversionReport
    schema: LogSchema
    columns: str
    copies: int
    not_given: int
    times: TimesRead | None
    unseen_missing: list[str]
    config: Path
    wrote_config: bool

    def summary(self) -> str:
        """All of it in lines of text."""
        schema, report = self.schema, self.report
        lines = [self.columns, ""]
        lines += [*self._time_lines(), report.summary()]
        lines += [
            f"--missing: no column has {word!r} as a whole value." for word in self.unseen_missing
        ]
        if report.positives in {0, report.rows_out}:
            same = int(report.positives > 0)
            lines.append(
                f"The label {schema.label.name} is {same} in all rows: there is nothing to learn."
            )
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
        lines.append(f"Next: run_recbole --model=MIDPG --dataset={shlex.quote(report.name)}")
        return "\n".join(lines)

    def _time_lines(self) -> list[str]:
        """How the times are written, and what they have been read as."""
        return [
            f"{column.name}: {sentence}"
            for column in self.schema.columns
            if column.time is not None and self.times is not None
            for sentence in (
                f"{time_words(column.time)}, kept as Unix seconds.",
                *self.times.sentences(column.time.zone),
            )
        ]


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
    processes: int = 1,
) -> PreparedLog:
    """Make a dataset of a log: its atomic file, its schema and its config file.

    The log is read twice, a block at a time: to find out what its columns are, and to write
    ``output/NAME/NAME.inter``. All files take their names together, the manifest last; where the
    process is killed meanwhile, the next call ends that. A second call with the same log and
    options changes nothing. ``NAME.schema.json`` keeps what the columns mean.
    ``./dataset_configs/NAME.yaml`` is left alone where it is there.

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
        processes: how many work on blocks, beside this one where there are several; 0 for as many
            as there are processors, of a log of 64 MB or more. They import the program's main
            file, which must begin nothing then (``if __name__ == "__main__"``). The files are the
            same whatever it is.

    Returns:
        What was made.

    Raises:
        UsageError: the log cannot be read so; nothing is written then.
    """
    folder = Path(output) / name
    inter, config = folder / f"{name}.inter", Path("dataset_configs") / f"{name}.yaml"
    for path in (inter, config):
        require_free_name(path, True, [("a file of the log", read) for read in paths])
    files = [open_log(path, form) for path in paths]
    roles.check(_same_columns(files))
    outcome = DatasetFiles(folder, name, ("inter", "rejected.tsv", "schema.json"))
    log = _Log(name, files, show_progress)
    with told_in_a_sentence(folder), held(folder) as alone:
        if alone:
            outcome.settle()
        origin = _origin(log, form, roles, on_error)
        made = None if force else _made_before(outcome, origin)
        if made is None:
            if inter.exists() and not force:
                raise UsageError(
                    f"{inter}: it is there already, of another log or other options, or changed; "
                    "--force writes over it."
                )
            with started_workers(processes or _processes_for(paths)) as workers:
                made = _make(outcome, log, form, roles, origin, workers)
    schema = LogSchema.from_plain(read_plain_schema(folder, name) or {})
    writes_config = force or not config.exists()
    if writes_config:
        write_text(config, config_text(name, schema, roles, command))
    return PreparedLog(
        schema=schema,
        report=made.report,
        columns=made.columns,
        copies=made.copies,
        not_given=made.not_given,
        times=made.times,
        unseen_missing=made.unseen_missing,
        config=config,
        wrote_config=writes_config,
    )


@dataclass(frozen=True)
class _Made:
    """What is printed of a dataset, and kept in its manifest; see :class:`PreparedLog`."""

    report: ConversionReport
    columns: str
    copies: int
    not_given: int
    times: TimesRead | None
    unseen_missing: list[str]

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        times = None if self.times is None else asdict(self.times)
        return {**vars(self), "report": self.report.to_json(), "times": times}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> _Made:
        """Undo :meth:`to_plain`, of values among which others are."""
        times = plain["times"]
        return cls(
            report=ConversionReport.from_json(plain["report"]),
            columns=plain["columns"],
            copies=plain["copies"],
            not_given=plain["not_given"],
            times=None if times is None else TimesRead(**times),
            unseen_missing=plain["unseen_missing"],
        )


def _origin(log: _Log, form: LogForm, roles: ColumnRoles, on_error: str) -> dict[str, Any]:
    """What a dataset is made of; the same origin makes the same files."""
    paths = [Path(file.path) for file in log.files]
    options = {"form": asdict(form), "roles": asdict(roles), "on_error": on_error}
    origin = {
        "name": log.name,
        "version": FORMAT_VERSION,
        "raw": {
            "names": [path.name for path in paths],
            "bytes": [path.stat().st_size for path in paths],
            "sha256": [sha256(path) for path in paths],
        },
        "options": options,
    }
    return dict(json.loads(json.dumps(origin)))


def _made_before(files: DatasetFiles, origin: Mapping[str, Any]) -> _Made | None:
    """What an earlier command made of the same origin, where its files are there unchanged."""
    manifest = read_manifest(files.manifest)
    if manifest is None or any(manifest[key] != value for key, value in origin.items()):
        return None
    for name, written in manifest["files"].items():
        path = files.folder / name
        if not path.is_file() or _described(path) != written:
            return None
    made = _Made.from_plain(manifest)
    made.report.changed = False
    made.report.folder = str(files.folder)
    return made


def _described(path: Path) -> dict[str, object]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _make(
    outcome: DatasetFiles,
    log: _Log,
    form: LogForm,
    roles: ColumnRoles,
    origin: Mapping[str, Any],
    workers: Workers,
) -> _Made:
    """Read a log twice and write the dataset's files, which take their names together."""
    start = time.monotonic()
    name, files = log.name, log.files
    profile = LogProfile(list(files[0].names), roles.label_outcome(), roles.missing)
    _profiled(log, profile, workers)
    if not profile.rows:
        raise _without_rows(log)
    require_positives(profile, roles)
    kinds = decide(profile, roles, files[0].unusable)
    schema = make_schema(profile, roles, kinds, form)
    writer = _Writer(_RowMaker(schema, roles), origin["options"]["on_error"] == "skip")
    with temporary_folder(outcome.folder) as temporary:
        parts = temporary / "parts"
        parts.mkdir()
        rejected = parts / f"{name}.rejected.tsv"
        writer.write(log, workers, parts / f"{name}.inter", rejected)
        if not writer.rejected:
            rejected.unlink()
        schema_text = json.dumps(schema.to_plain(), indent=1) + "\n"
        schema_path(parts, name).write_text(schema_text, encoding="utf-8")
        report = writer.report(name, outcome.folder)
        report.seconds = round(time.monotonic() - start, 3)
        fields = {raw: field for field, raw in schema.raw_names.items()}
        columns = table(profile, kinds, fields)
        times = writer.times if roles.time is not None else None
        made = _Made(
            report, columns, writer.copies, writer.not_given, times, profile.unseen_missing
        )
        content = {
            **origin,
            "files": {path.name: _described(path) for path in sorted(parts.iterdir())},
            **made.to_plain(),
        }
        outcome.put_in_place(temporary, parts, content)
    return made


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


@dataclass
class _Log:
    """The files of a log, read with progress on stderr."""

    name: str
    files: Sequence[LogFile]
    show_progress: bool | None
    share: float = 0.0

    def progress(self, what: str) -> ProgressBar:
        """The line that shows how far a reading is."""
        return ProgressBar(f"{self.name}, {what}", self.show_progress)

    def parts(self, wanted: Sequence[str]) -> Iterator[LogPart]:
        """The parts of all files; :attr:`share` says how far they are read."""
        for place, file in enumerate(self.files):

            def report(read: float, place: int = place) -> None:
                self.share = (place + read) / len(self.files)

            yield from file.parts(wanted, report)


def _profiled(log: _Log, profile: LogProfile, workers: Workers) -> None:
    """Read all of a log for its profile."""
    work = partial(summarise, label=profile.label, missing=profile.missing_words)
    parts = ((part, profile.step) for part in log.parts(profile.names))
    with closing(log.progress("columns")) as progress:
        for block in workers.results(work, parts):
            profile.add(block)
            progress.update(log.share, profile.rows)


def _processes_for(paths: Sequence[str]) -> int:
    """How many processes are worth their start for some files."""
    size = sum(Path(path).stat().st_size for path in paths)
    return min(available_processors(), MOST_PROCESSES) if size >= _LARGE_BYTES else 1


class _Problem(NamedTuple):
    """What is wrong with a line; ``is_text`` is False where its bytes are not UTF-8."""

    line: int
    sentence: str
    is_text: bool = True


def _bad_line(path: str, place: str, problem: _Problem, advice: str) -> UsageError:
    """The error on a bad line; of one that is no text the advice is on encodings instead."""
    if not problem.is_text:
        advice = f"; {encoding_advice(path, problem.line)}"
    sentence = problem.sentence.removesuffix(".")
    return UsageError(f"{path}, {place} {problem.line}: {sentence}{advice}")


def _without_rows(log: _Log) -> UsageError:
    """The error on a log in which no line is a row, with the first bad line if there is one."""
    for part in log.parts(log.files[0].names):
        block = part.block()
        if block.bad:
            line = min(block.bad, key=lambda bad: bad.line)
            problem = _Problem(line.line, line.problem, line.is_text)
            return _bad_line(block.path, block.place, problem, "; no line of the log is a row.")
    return UsageError(f"{log.files[0].path}: there are no rows below the columns' names.")


@dataclass(frozen=True)
class _WrittenBlock:
    """A block's rows as they stand in the atomic file, and their counts.

    Attributes:
        text: the lines.
        hashes: of each line, ``(rows out,)``.
        rows_in: lines of the log.
        rows_out: lines of the atomic file.
        path: the log's file.
        problems: of its bad lines, in their order.
        place: what the numbers count, ``line`` or ``row``.
        not_given: rows left out because the ``--given`` outcome is not 1.
        tallies: rows and positives by scenario.
        times: what the rows' times have been read as.
    """

    text: bytes
    hashes: NDArray[np.uint64]
    rows_in: int
    rows_out: int
    path: str
    problems: list[_Problem]
    place: str
    not_given: int
    tallies: dict[str, tuple[int, int]]
    times: TimesRead


@dataclass(frozen=True)
class _RowMaker:
    """Makes the lines of the atomic file of some rows of a log."""

    schema: LogSchema
    roles: ColumnRoles

    def write_block(self, part: LogPart) -> _WrittenBlock:
        """Make the lines of some rows."""
        block = part.block()
        columns, problems = self._fields(block)
        keep = np.ones(len(block), np.bool_)
        keep[list(problems)] = False
        lines = [_Problem(line.line, line.problem, line.is_text) for line in block.bad]
        lines += [_Problem(int(block.lines[row]), words) for row, words in problems.items()]
        given, _ = self.schema.is_given(block.columns)
        not_given = int((keep & ~given).sum())
        keep &= given
        if not keep.all():
            columns = {name: texts[keep] for name, texts in columns.items()}
        written = np.empty(int(keep.sum()), dtype=object)
        written[:] = list(map("\t".join, zip(*(c.tolist() for c in columns.values()), strict=True)))
        return _WrittenBlock(
            text="".join(f"{line}\n" for line in written).encode(),
            hashes=hashes_of(written),
            rows_in=len(block) + len(block.bad),
            rows_out=len(written),
            path=block.path,
            problems=sorted(lines),
            place=block.place,
            not_given=not_given,
            tallies=self._tallies(columns),
            times=self._times(block, columns, keep),
        )

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

    def _times(
        self, block: LogBlock, columns: Mapping[str, NDArray[np.object_]], keep: NDArray[np.bool_]
    ) -> TimesRead:
        """What the times of a block's rows have been read as.

        Args:
            block: all of its rows.
            columns: the fields of those that are kept.
            keep: which these are.
        """
        read = TimesRead()
        if not keep.any():
            return read
        for column in self.schema.columns:
            if column.time is not None:
                seconds = columns[column.field].astype(np.float64)
                raw = Distinct.of(block.columns[column.name]).take(keep)
                counts = [
                    int(changed[raw.codes].sum())
                    for changed in column.time.clock_changes(raw.values)
                ]
                read.add(TimesRead(float(seconds.min()), float(seconds.max()), *counts))
        return read

    def _needed(self) -> list[str]:
        """The fields that must not be missing."""
        raw = {self.roles.user, self.roles.item, self.roles.label, self.roles.time}
        return [name for name, column in self.schema.raw_names.items() if column in raw]

    def _tallies(self, columns: dict[str, NDArray[np.object_]]) -> dict[str, tuple[int, int]]:
        labels = columns[self.schema.label.field] == "1"
        scenario = self.scenario_field
        texts = columns[scenario] if scenario else np.full(len(labels), "all", dtype=object)
        column = Distinct.of(texts)
        rows = np.bincount(column.codes, minlength=len(column.values)).tolist()
        positives = np.bincount(column.codes[labels], minlength=len(column.values)).tolist()
        names = [str(text) or "(missing)" for text in column.values]
        return dict(zip(names, zip(rows, positives, strict=True), strict=True))

    @property
    def scenario_field(self) -> str:
        """The first scenario field's name, empty where there is none."""
        first = next(iter(self.roles.scenario), None)
        names = self.schema.raw_names
        return next((field for field, raw in names.items() if raw == first), "")


@dataclass
class _Writer:
    """Writes the rows of a log as an atomic file."""

    maker: _RowMaker
    skips: bool
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    not_given: int = 0
    copies: int = 0
    tallies: dict[str, list[int]] = field(default_factory=dict)
    times: TimesRead = field(default_factory=TimesRead)

    def write(self, log: _Log, workers: Workers, inter: Path, rejected: Path) -> None:
        """Write all rows, and list those that are bad.

        Raises:
            UsageError: a line is bad and not skipped, or no row is left.
        """
        schema = self.maker.schema
        wanted = list(schema.raw_names.values())
        if schema.given is not None:
            wanted.append(schema.given.name)
        hashes = inter.with_name(f"{inter.name}.hashes")
        try:
            counter = CopyCounter(hashes)
            with (
                inter.open("wb") as rows,
                rejected.open("w", encoding="utf-8", newline="\n") as bad,
                closing(log.progress("rows")) as progress,
            ):
                types = schema.types
                header = "\t".join(f"{field}:{kind}" for field, kind in types.items())
                rows.write(f"{header}\n".encode())
                bad.write("file\tline\tproblem\n")
                for block in workers.results(self.maker.write_block, log.parts(wanted)):
                    rows.write(block.text)
                    counter.add(block.hashes)
                    self._list_problems(block, bad)
                    self._count(block)
                    progress.update(log.share, self.rows_in)
            self.copies = counter.copies()
        finally:
            hashes.unlink(missing_ok=True)
        if not self.rows_out:
            why = "bad" if schema.given is None else f"bad or {schema.given.name} is not 1"
            raise UsageError(f"{log.files[0].path}: of all {self.rows_in:,} rows each is {why}.")

    def _list_problems(self, block: _WrittenBlock, bad: TextIO) -> None:
        if block.problems and not self.skips:
            advice = ". --on-error skip leaves it out."
            raise _bad_line(block.path, block.place, block.problems[0], advice)
        bad.writelines(
            f"{block.path}\t{problem.line}\t{problem.sentence}\n" for problem in block.problems
        )

    def _count(self, block: _WrittenBlock) -> None:
        self.rows_in += block.rows_in
        self.rows_out += block.rows_out
        self.rejected += len(block.problems)
        self.not_given += block.not_given
        for text, (rows, positives) in block.tallies.items():
            tally = self.tallies.setdefault(text, [0, 0])
            tally[0] += rows
            tally[1] += positives
        self.times.add(block.times)

    def report(self, name: str, folder: Path) -> ConversionReport:
        """The counts as those of the converters."""
        scenario = self.maker.scenario_field or "scenario"
        return ConversionReport(
            name=name,
            folder=str(folder),
            scenario=scenario,
            published={},
            files=[f"{name}.inter"],
            rows_in=self.rows_in - self.not_given,
            rows_out=self.rows_out,
            rows_rejected=self.rejected,
            positives=sum(positives for _, positives in self.tallies.values()),
            tallies={scenario: self.tallies},
        )
