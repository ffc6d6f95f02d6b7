"""Side tables in memory: a row's key becomes the attributes that stand beside it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .columns import MISSING, Column, ParseValue
from .converter import SideTable, splitter_of
from .raw_file import BadValueError, RawFile
from .row_reader import RowReader

RejectSideLine = Callable[[RawFile, int, bytes, BadValueError], None]
"""Called with a file, a bad line's number, the line and what is wrong with it; may raise."""


class Lookup:
    """A side table, whose lines are all held in memory.

    Args:
        table: the side table.
        files: its raw files.
        reject: what becomes of a bad line, which is left out where this returns.

    Attributes:
        table: the same.
        repeats: how many lines have the key of an earlier one and say something else; the first
            one counts.
    """

    def __init__(self, table: SideTable, files: Sequence[RawFile], reject: RejectSideLine) -> None:
        self.table = table
        self.repeats = 0
        self._texts: dict[str, str] = {}
        self._name = files[0].name if len(files) == 1 else table.raw_name
        splitter = splitter_of(table.form, table.columns)
        key = table.columns.index(table.key_column)

        def reject_line(number: int, data: bytes, error: BadValueError) -> None:
            file, line = reader.place(number)
            reject(file, line, data, error)

        reader = RowReader(files, table.columns, splitter, reject_line)
        for rows in reader.read():
            if rows.lines:
                fields = zip(*(rows.columns[place] for place in table.kept), strict=True)
                self._add(rows.columns[key], map("\t".join, fields))

    def _add(self, keys: Sequence[str], texts: Iterable[str]) -> None:
        for key, text in zip(keys, texts, strict=True):
            self.repeats += self._texts.setdefault(key, text) != text

    def column(self, keys: Column) -> Column:
        """The column of the rows that takes their attributes from here.

        Args:
            keys: the rows' column of the keys.
        """
        return Column(
            self.table.raw_name,
            self.table.fields,
            self._parser(keys.parse),
            self.table.describes,
            keys.made_of or (keys.name,),
        )

    def _parser(self, parse_key: ParseValue) -> ParseValue:
        texts = self._texts
        missing = "\t".join(
            "" if declared.endswith(":float") else MISSING for declared in self.table.fields
        )

        def parse(value: str) -> str:
            text = texts.get(parse_key(value))
            if text is None and self.table.complete:
                raise ValueError(f"{self._name} has no line of it")
            return missing if text is None else text

        return parse
