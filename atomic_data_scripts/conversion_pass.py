"""One reading of a raw file: check every value, count, and write atomic files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from recbole_midpg.common.errors import UsageError

from .columns import Column
from .converter import Converter, Entity
from .entity_table import EntityTable
from .lookup import Lookup
from .raw_file import BadValueError, RawFile, shown
from .raw_files import RawFiles
from .repeated_keys import RepeatedKeys, Repeats
from .report import ConversionReport
from .row_reader import RowReader, Rows, bad_line, texts_of_field

TALLY_CAPACITY = 65_536
"""Values of a tallied field, by label, that are counted at most."""

PARTS = ("train", "valid", "test")

DUPLICATES = {
    "keep": "keep every row, as the papers do that quote all rows of the file",
    "drop-copies": "leave out exact copies of an earlier row",
    "drop-repeats": "leave out every row but the first of a key",
    "stop": "stop at the first row that repeats a key",
}
"""What can become of rows that repeat an earlier row's key."""


@dataclass(frozen=True)
class Layout:
    """What has to be known of all rows before the first one can be written.

    Attributes:
        in_inter: attributes that are no function of their entity, and an example each.
        parts: the ``.inter`` file of each value of the converter's ``split_by``.
        repeats: the rows with a repeated key that have to be left out, ``None`` for none.
    """

    in_inter: dict[str, str]
    parts: dict[str, str] | None = None
    repeats: Repeats | None = None


class ConversionPass:
    """Reads the raw files once and writes atomic files by a layout that may prove wrong.

    Args:
        raw: the raw files, and the dataset.
        folder: where the files are written, under their final names.
        layout: what is known, or hoped, of all rows.
        skip_bad_lines: whether bad lines are left out, instead of raising.
        duplicates: what becomes of rows that repeat an earlier row's key; see :data:`DUPLICATES`.
        sample: the share of the users whose rows are kept.
        report: gets the counts.
        progress: called with the share read, in [0, 1], and the rows so far.
    """

    def __init__(
        self,
        raw: RawFiles,
        folder: Path,
        layout: Layout,
        skip_bad_lines: bool,
        duplicates: str,
        sample: float,
        report: ConversionReport,
        progress: Callable[[float, int], None],
    ) -> None:
        self.raw = raw
        self.folder = folder
        self.layout = layout
        self.skip_bad_lines = skip_bad_lines
        self.duplicates = duplicates
        self.report = report
        self.progress = progress
        self._left_out = raw.converter.left_out
        if sample < 1.0:
            self._left_out = (raw.converter.outside_of_sample(sample), *self._left_out)
        self._rejected: IO[str] | None = None
        self._stack = ExitStack()
        self._in_inter: dict[str, str] = dict(layout.in_inter)
        self._tallies: dict[str, Counter[tuple[str, str]]] = {
            name: Counter() for name in raw.converter.all_tallied
        }

    def run(self) -> Layout:
        """Read all rows.

        Returns:
            The right layout. The files are good where it equals the layout given.

        Raises:
            UsageError: a bad line, where they are not skipped; no rows.
        """
        self._require_label()
        with self._stack:
            self.converter = self._with_side_tables()
            self._splitter = self.converter.splitter(self.converter.columns)
            self._reader = RowReader(
                self.raw.rows,
                self.converter.columns,
                self._splitter,
                self._reject_bad,
                self.converter.row_for_each,
            )
            self._tables = [
                (entity, self._entity_table(entity)) for entity in self.converter.entities
            ]
            keys = self._open_keys()
            self._write_rows(keys)
            self.report.rows_in = self._reader.rows_in
            repeats = self.layout.repeats if keys is None else keys.find()
        if self.report.rows_out == 0:
            raise UsageError(self._reader.no_rows())
        for entity, table in self._tables:
            self._write_entities(entity, table)
        if repeats is not None:
            self.report.copies = int(repeats.copies.sum())
            self.report.repeats = len(repeats.lines) - self.report.copies
        self._sum_tallies()
        return Layout(self._in_inter, self._right_parts(), self._to_drop(repeats))

    # Reading and checking

    def _require_label(self) -> None:
        """Raise where all that the header lacks is the label: such rows can only be scored."""
        converter, first = self.raw.converter, self.raw.rows[0]
        if converter.splitter(converter.columns_without_label).is_header(first.header()):
            raise UsageError(
                f"{self.raw.path}, line 1: the header lacks column {converter.label}, the label, "
                "without which rows can be scored (recbole-midpg predict --raw "
                f"{converter.name} --input {self.raw.path}), not prepared."
            )

    def _with_side_tables(self) -> Converter:
        """The converter with the columns that come from side tables."""
        converter = self.raw.converter
        lookups = [
            Lookup(table, files, self._reject_side_line)
            for table, files in zip(converter.side_tables, self.raw.side_tables, strict=True)
        ]
        self.report.side_repeats = {
            lookup.table.raw_name: lookup.repeats for lookup in lookups if lookup.repeats
        }
        attributes = (
            lookup.column(converter.columns[converter.column(lookup.table.of)])
            for lookup in lookups
        )
        return replace(converter, columns=(*converter.columns, *attributes))

    def _reject_side_line(
        self, file: RawFile, number: int, data: bytes, error: BadValueError
    ) -> None:
        if not self.skip_bad_lines:
            raise UsageError(bad_line(file.path, number, error))
        self._list_rejected(f"{file.name}:{number}", error.column or "", error.reason, data)
        self.report.side_rejected += 1

    def _write_rows(self, keys: RepeatedKeys | None) -> None:
        files = self._open_inter_files()

        def report(share: float) -> None:
            self.progress(share, self._reader.rows_in)

        for read in self._reader.read(report):
            rows = self._leave_out(self._drop_repeats(read))
            if rows.lines:
                self._count(rows, keys)
                self._write(files, rows)

    def _reject_bad(self, number: int, data: bytes, error: BadValueError) -> None:
        if not self.skip_bad_lines:
            file, line = self._reader.place(number)
            raise UsageError(bad_line(file.path, line, error))
        self._reject(number, error.column or "", error.reason, data)

    def _reject(self, number: int, column: str, reason: str, data: bytes) -> None:
        file, line = self._reader.place(number)
        place = str(line) if self.converter.has_one_file else f"{file.name}:{line}"
        self._list_rejected(place, column, reason, data)
        self.report.rows_rejected += 1

    def _list_rejected(self, place: str, column: str, reason: str, data: bytes) -> None:
        if self._rejected is None:
            path = self.folder / f"{self.raw.converter.name}.rejected.tsv"
            self._rejected = self._stack.enter_context(_open_for_writing(path))
            self._rejected.write("line\tcolumn\treason\traw\n")
        self._rejected.write(f"{place}\t{column}\t{reason}\t{_escaped(data)}\n")

    def _leave_out(self, rows: Rows) -> Rows:
        """Leave out the rows of this block that the dataset does not have."""
        for rule in self._left_out:
            if not rows.lines:
                break
            out = list(map(rule.is_left_out, self._texts(rows, rule.column)))
            if any(out):
                counts = self.report.left_out
                counts[rule.reason] = counts.get(rule.reason, 0) + sum(out)
                rows = rows.where([not left for left in out])
        return rows

    def _drop_repeats(self, rows: Rows) -> Rows:
        """Leave out the rows of this block that the options say not to keep."""
        repeats = self.layout.repeats
        if repeats is None or not rows.lines:
            return rows
        places = repeats.within(rows.numbers[0], rows.numbers[-1])
        dropped = {
            int(repeats.lines[place]): place
            for place in places
            if self.duplicates == "drop-repeats" or repeats.copies[place]
        }
        if not dropped:
            return rows
        key = self.converter.key or ""
        for number, line in zip(rows.numbers, rows.lines, strict=True):
            if number in dropped:
                place = dropped[number]
                what = "is an exact copy" if repeats.copies[place] else f"repeats the {key}"
                first = self._line_text(int(repeats.first_lines[place]))
                self._reject(number, key, f"{what} of {first}", line.encode())
        return rows.where([number not in dropped for number in rows.numbers])

    def _line_text(self, number: int) -> str:
        """What a line is called beside another one."""
        file, line = self._reader.place(number)
        return f"line {line}" + ("" if self.converter.has_one_file else f" of {file.name}")

    # Counting

    def _count(self, rows: Rows, keys: RepeatedKeys | None) -> None:
        converter = self.converter
        self.report.rows_out += len(rows.lines)
        for entity, table in self._tables:
            ids = rows.columns[converter.column(entity.column)]
            attributes = [rows.columns[place] for place, _ in self._attributes(entity)]
            table.add(ids, _joined(attributes, len(ids)))
        if keys is not None:
            values = rows.columns[converter.column(str(converter.key))]
            keys.add(values, rows.lines, rows.numbers)
        labels = rows.columns[converter.column(converter.label)]
        for name, tally in self._tallies.items():
            counted = Counter(zip(self._field(rows, name), labels, strict=True))
            if len(tally) + len(counted) > TALLY_CAPACITY:
                raise UsageError(
                    f"{self.raw.path}: column {name} has more than {TALLY_CAPACITY:,} values, "
                    "where a few are expected."
                )
            tally.update(counted)

    def _field(self, rows: Rows, name: str) -> Sequence[str]:
        """The texts of one field, where a column may hold several."""
        position, place = self.converter.field(name)
        return texts_of_field(self.converter.columns[position], rows.columns[position], place)

    def _texts(self, rows: Rows, name: str) -> Sequence[str]:
        """The texts of a column, or of a field of a column of another name."""
        names = [column.name for column in self.converter.columns]
        return rows.columns[names.index(name)] if name in names else self._field(rows, name)

    def _sum_tallies(self) -> None:
        is_positive = self.converter.is_positive
        for name, tally in self._tallies.items():
            sums: dict[str, list[int]] = {}
            for (value, label), rows in tally.items():
                entry = sums.setdefault(value, [0, 0])
                entry[0] += rows
                entry[1] += rows if is_positive(label) else 0
            self.report.tallies[name] = sums
        self.report.positives = sum(
            positives for _, positives in self.report.tallies[self.converter.scenario].values()
        )

    # Users and items

    def _attributes(self, entity: Entity) -> list[tuple[int, Column]]:
        """The columns, with their positions, that go into the entity's file by the layout."""
        return [
            (position, column)
            for position, column in enumerate(self.converter.columns)
            if column.fields
            and column.describes == entity.name
            and column.name not in self.layout.in_inter
        ]

    def _entity_table(self, entity: Entity) -> EntityTable:
        names = [
            column.name for _, column in self._attributes(entity) for _ in range(len(column.fields))
        ]

        def differ(key: str, old: str, new: str) -> None:
            for name, before, after in zip(names, old.split("\t"), new.split("\t"), strict=True):
                if before != after:
                    self._in_inter.setdefault(name, f"{entity.name} {key}")

        return EntityTable(self._table_folder(entity.name), differ)

    def _write_entities(self, entity: Entity, table: EntityTable) -> None:
        attributes = [column for _, column in self._attributes(entity)]
        count = 0
        with ExitStack() as stack:
            file = None
            if entity.has_file and attributes:
                path = self.folder / f"{self.converter.name}.{entity.name}"
                file = stack.enter_context(_open_for_writing(path))
                ids = self.converter.columns[self.converter.column(entity.column)]
                file.write(_header([ids, *attributes]))
            for key, text in table.finish():
                count += 1
                if file is not None:
                    file.write(f"{key}\t{text}\n")
        self.report.entities[entity.name] = count

    # Repeated keys

    def _open_keys(self) -> RepeatedKeys | None:
        """What finds repeated keys, where there is a key and they are not known yet."""
        if self.converter.key is None or self.layout.repeats is not None:
            return None
        file = (self._table_folder("key") / "rows").open("w+b")
        return RepeatedKeys(self._stack.enter_context(file))

    def _to_drop(self, repeats: Repeats | None) -> Repeats | None:
        """The repeated rows that the options leave out of the files, if there are any."""
        if repeats is None or len(repeats.lines) == 0 or self.duplicates == "keep":
            return None
        if self.duplicates == "stop":
            number, first = int(repeats.lines[0]), int(repeats.first_lines[0])
            file, line = self._reader.place(number)
            raise UsageError(
                f"{file.path}, line {line}, column {self.converter.key}: "
                f"{shown(self._key_in(file, line))} stands in {self._line_text(first)} already."
            )
        any_dropped = self.duplicates == "drop-repeats" or repeats.copies.any()
        return repeats if any_dropped else None

    def _key_in(self, file: RawFile, line: int) -> str:
        """Read the key of one line again."""
        key = self.converter.columns[self.converter.column(str(self.converter.key))]
        for block in file.blocks(through=self._splitter.through):
            lines = block.data.split(b"\n")
            if line < block.first_line + len(lines):
                _, values = self._splitter.line(lines[line - block.first_line])
                named = dict(zip(self._splitter.columns, values, strict=True))
                return " ".join(named.get(name, "") for name in key.made_of or (key.name,))
        raise AssertionError(f"line {line} was read before")

    # Writing

    def _inter_columns(self) -> list[tuple[int, Column]]:
        moved = {
            column.name
            for entity in self.converter.entities
            if entity.has_file
            for _, column in self._attributes(entity)
        }
        return [
            (position, column)
            for position, column in enumerate(self.converter.columns)
            if column.fields and column.name not in moved
        ]

    def _open_inter_files(self) -> dict[str, IO[str]]:
        """Open the ``.inter`` file or files, by part; none where the parts are not known yet."""
        if self.converter.split_by is None:
            parts: tuple[str, ...] = ("",)
        else:
            parts = PARTS if self.layout.parts is not None else ()
        files = {}
        header = _header([column for _, column in self._inter_columns()])
        for part in parts:
            name = f"{self.converter.name}.{part}.inter" if part else f"{self.converter.name}.inter"
            files[part] = self._stack.enter_context(_open_for_writing(self.folder / name))
            files[part].write(header)
        return files

    def _write(self, files: dict[str, IO[str]], rows: Rows) -> None:
        kept = [rows.columns[position] for position, _ in self._inter_columns()]
        lines = _joined(kept, len(rows.lines))
        if self.converter.split_by is None:
            files[""].write("\n".join(lines) + "\n")
        elif self.layout.parts is not None:
            for value, line in zip(self._field(rows, self.converter.split_by), lines, strict=True):
                files[self.layout.parts[value]].write(f"{line}\n")

    # The layout

    def _right_parts(self) -> dict[str, str] | None:
        split_by = self.converter.split_by
        if split_by is None:
            return None
        values = sorted(self.report.tallies[split_by])
        if self.converter.parts is not None:
            absent = set(PARTS) - {self.converter.parts[value] for value in values}
            if absent:
                raise UsageError(
                    f"{self.raw.path}: has no rows for {', '.join(sorted(absent))}, "
                    "expected the files of all parts."
                )
            return dict(self.converter.parts)
        if len(values) < len(PARTS):
            raise UsageError(
                f"{self.raw.path}: has rows of {len(values)} values of {split_by}, expected "
                "three or more: the last makes the test set, the last but one the validation set."
            )
        return dict.fromkeys(values[:-2], "train") | {values[-2]: "valid", values[-1]: "test"}

    def _table_folder(self, name: str) -> Path:
        folder = self.folder / "tables" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _escaped(data: bytes) -> str:
    r"""A raw line as text that no reader breaks: ``\\``, ``\t``, ``\r``, ``\0`` and ``\xff``."""
    text = data.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
    return text.replace("\t", "\\t").replace("\r", "\\r").replace("\0", "\\0")


def _joined(columns: Sequence[Sequence[str]], count: int) -> Sequence[str]:
    """The texts of some columns for each of ``count`` rows, joined by tabs."""
    if len(columns) == 1:
        return columns[0]
    return list(map("\t".join, zip(*columns, strict=True))) if columns else [""] * count


def _header(columns: Sequence[Column]) -> str:
    return "\t".join(declared for column in columns for declared in column.fields) + "\n"


def _open_for_writing(path: Path) -> IO[str]:
    return path.open("w", encoding="utf-8", newline="\n", buffering=1 << 20)
