"""Raw files whose columns are found by the header's names, and whose values may hold line feeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recbole_midpg.common.errors import UsageError

from .raw_file import Delimited, LineSplitter, Readable

_BLANKS = bytes.maketrans(b"\n\r\t", b"   ")


class UnfoldedValues:
    """A file whose quoted values lie on one line: what breaks or moves on in quotes is a blank.

    Args:
        file: the file.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._quoted = False

    def read(self, size: int, /) -> bytes:
        """Read so many bytes."""
        parts = self._file.read(size).split(b'"')
        for place, part in enumerate(parts):
            self._quoted ^= place > 0
            if self._quoted:
                parts[place] = part.translate(_BLANKS)
        return b'"'.join(parts)


@dataclass(frozen=True)
class NamedColumns:
    """How a raw file is written: its header names more columns than are read, in any order.

    Any value may stand in double quotes, and hold line feeds and tabs then, which become blanks;
    lines are counted without those. A column ``a|b`` is ``a`` in some files and ``b`` in others.

    Attributes:
        separator: the character between two values.
    """

    separator: str

    def splitter(self, columns: tuple[str, ...]) -> NamedSplitter:
        """What takes some columns out of lines."""
        return NamedSplitter(columns, self)


class NamedSplitter:
    """From a line to the raw values of its columns; others are not looked at.

    Args:
        columns: the columns' names.
        form: how the file is written.
    """

    header = True

    def __init__(self, columns: tuple[str, ...], form: NamedColumns) -> None:
        self.columns = columns
        self.through = UnfoldedValues
        self._form = Delimited(form.separator, quoted=True)
        self._line = LineSplitter(columns, self._form)
        self._places: list[int] = []

    def check_header(self, path: Path, data: bytes) -> None:
        """Find the columns in the first line of a file.

        Raises:
            UsageError: one is not there.
        """
        names = [
            name.strip('"')
            for name in data.decode(errors="replace").rstrip("\r").split(self._form.separator)
        ]
        self._places = []
        for column in self.columns:
            found = [names.index(name) for name in column.split("|") if name in names]
            if len(found) != 1:
                raise UsageError(
                    f"{path}, line 1: the header lacks column {column.replace('|', ' or ')}, "
                    f"expected it beside {', '.join(names)}."
                )
            self._places += found
        self._line = LineSplitter(tuple(names), self._form)

    def block(self, data: bytes) -> tuple[list[str], list[tuple[str, ...]]]:
        """Split many lines at once; see :meth:`LineSplitter.block`."""
        lines, values = self._line.block(data)
        return lines, [values[place] for place in self._places]

    def line(self, data: bytes, ended: bool = True) -> tuple[str, list[str]]:
        """Split one line; see :meth:`LineSplitter.line`."""
        line, values = self._line.line(data, ended)
        return line, [values[place] for place in self._places]

    def is_header(self, data: bytes) -> bool:
        """No line has exactly the columns, as others are allowed."""
        return False

    def header_line(self) -> str:
        """The first line of a file of these columns, with its line feed."""
        return self._line.header_line()
