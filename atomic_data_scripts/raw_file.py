"""Reading a raw file, plain, packed or a matrix, in blocks of whole lines; nothing is let pass."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, TypeAlias

from recbole_midpg.common.errors import UsageError

from .matlab_file import MAGIC as MATLAB_MAGIC
from .matlab_file import matrix_as_text

BLOCK_BYTES = 1 << 18
"""Bytes that are read at once."""

LONGEST_LINE = 131_072
"""Bytes of the longest line that is taken for one: Python's csv reader, and so RecBole, allows
values of at most so many characters."""

LONGEST_SHOWN = 80
"""Characters of a value that a message shows."""

_MOST_NAMED = 5
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # with members, without
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)


class BadValueError(ValueError):
    """A line, or one value of it, that cannot be converted.

    Attributes:
        column: the column's name, ``None`` where the whole line is bad.
        value: the raw value, or the line.
        reason: what is wrong, as words that follow "is not allowed, ".
    """

    def __init__(self, column: str | None, value: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.value = value
        self.reason = reason


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Read so many bytes, fewer only at the end."""


Through: TypeAlias = Callable[[Readable], Readable]
"""From a file to what is read instead of it."""


def as_it_is(file: Readable) -> Readable:
    """The file itself."""
    return file


@dataclass(frozen=True)
class Block:
    """Some whole lines of a raw file.

    Attributes:
        first_line: the number of the first line, from 1.
        data: the lines, without the last one's line feed.
        ended: whether the last line ends in a line feed.
    """

    first_line: int
    data: bytes
    ended: bool


class RawFile:
    """A raw data file, plain or compressed; which it is, is read from its first bytes.

    Args:
        path: the file.
        member: the name of the file that a zip archive with several members must hold, or its path
            there.
        name: what the file is called among others, its own name by default.

    Raises:
        UsageError: there is no such file, it is a folder, or it is empty.
    """

    def __init__(self, path: Path, member: str, name: str | None = None) -> None:
        self.path = path
        self.member = member
        self.name = path.name if name is None else name
        if path.is_dir():
            raise UsageError(f"{path}: is a folder, expected the raw file, as {path / member}.")
        if not path.exists():
            raise UsageError(f"{path}: there is no such file.")
        if not path.is_file():
            raise UsageError(f"{path}: is not a regular file, which the raw file has to be.")
        self.size, self._changed = self._state()
        if self.size == 0:
            raise UsageError(f"{path}: the file is empty.")

    def sha256(self) -> str:
        """The hash of the file's bytes, as they lie on the disk."""
        return sha256(self.path)

    def check_unchanged(self) -> None:
        """Raise a :class:`UsageError` where the file changed since this object was made."""
        if self._state() != (self.size, self._changed):
            raise UsageError(f"{self.path}: the file changed while it was read, try again.")

    def _state(self) -> tuple[int, int]:
        state = self.path.stat()
        return state.st_size, state.st_mtime_ns

    def header(self) -> bytes:
        """Read the first line, without its line feed; raises as :meth:`blocks`."""
        with closing(self.blocks()) as blocks:
            first = next(blocks, None)
        return b"" if first is None else first.data.partition(b"\n")[0]

    def blocks(
        self, report: Callable[[float], None] | None = None, through: Through = as_it_is
    ) -> Generator[Block, None, None]:
        """Read the file in blocks of whole lines.

        A byte order mark is dropped. The memory in use is a few :data:`BLOCK_BYTES`: of a line
        longer than :data:`LONGEST_LINE` only the beginning is kept, still longer than allowed.

        Args:
            report: called with the share of the file that is read, in [0, 1], after each block.
            through: what changes the unpacked bytes.

        Raises:
            UsageError: a compressed file is cut off, damaged, or holds no such file.
        """
        try:
            with self._open() as (file, share):
                for block in _whole_lines(through(file)):
                    yield block
                    if report is not None:
                        report(share())
        except _DAMAGE as error:
            raise UsageError(
                f"{self.path}: the compressed file is cut off or damaged ({error})."
            ) from error

    @contextmanager
    def _open(self) -> Iterator[tuple[Readable, Callable[[], float]]]:
        """Open the file, unpacked, with a function that returns the share that is read."""
        with self.path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic in _ZIP_MAGICS:
                with zipfile.ZipFile(file) as archive, self._open_member(archive) as member:
                    total = archive.getinfo(member.name).file_size
                    yield member, lambda: member.tell() / total
                return
            if magic == MATLAB_MAGIC:
                matrix = self._matrix(file)
                yield matrix, lambda: matrix.tell() / matrix.getbuffer().nbytes
                return
            with ExitStack() as stack:
                packed = magic.startswith(_GZIP_MAGIC)
                unpacked = stack.enter_context(gzip.open(file)) if packed else file
                yield unpacked, lambda: file.tell() / self.size

    def _matrix(self, file: IO[bytes]) -> io.BytesIO:
        try:
            return io.BytesIO(matrix_as_text(file.read()))
        except ValueError as error:
            raise UsageError(f"{self.path}: {error}.") from error

    def _open_member(self, archive: zipfile.ZipFile) -> IO[bytes]:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        for info in archive.infolist():
            check_member(self.path, info)
        named = [name for name in names if self.member in (name, PurePosixPath(name).name)]
        data = names if len(names) == 1 else named
        if len(data) != 1:
            raise UsageError(
                f"{self.path}: holds {_some_of(names) or 'no file'}, "
                f"expected exactly one file, or one named {self.member}."
            )
        info = archive.getinfo(data[0])
        if info.file_size == 0:
            raise UsageError(f"{self.path}: member {info.filename} is empty.")
        try:
            return archive.open(info)
        except (RuntimeError, NotImplementedError) as error:
            raise UsageError(f"{self.path}: cannot be unpacked, {error}.") from error


def _some_of(names: Sequence[str]) -> str:
    """The first of some names, and how many others there are."""
    others = len(names) - _MOST_NAMED
    named = ", ".join(names[:_MOST_NAMED])
    return f"{named} and {others:,} others" if others > 1 else ", ".join(names)


def check_member(archive: Path, info: zipfile.ZipInfo) -> None:
    """Check that a member of a zip archive is a file or folder inside the archive's own folder.

    Args:
        archive: the archive, for the error.
        info: the member.

    Raises:
        UsageError: its path leads elsewhere, or it is a link.
    """
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        raise UsageError(f"{archive}: member {info.filename!r} leaves the folder, refused.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UsageError(f"{archive}: member {info.filename!r} is a link, refused.")


def _whole_lines(file: Readable) -> Iterator[Block]:
    first_line, rest = 1, b""
    while data := file.read(BLOCK_BYTES):
        if first_line == 1 and not rest:
            data = data.removeprefix(b"\xef\xbb\xbf")
        cut = data.rfind(b"\n")
        if cut < 0:
            # Keeps one byte more than allowed of a line without end, so that it is found bad.
            rest = (rest + data)[: LONGEST_LINE + 1]
            continue
        whole, rest = rest + data[:cut], data[cut + 1 :]
        yield Block(first_line, whole, ended=True)
        first_line += whole.count(b"\n") + 1
    if rest:
        yield Block(first_line, rest, ended=False)


@dataclass(frozen=True)
class Delimited:
    """How the lines of a raw file are written: values with a separator between them.

    Attributes:
        separator: what stands between two values.
        quoted: whether a value may stand in double quotes, with ``""`` for a quote inside.
        header: whether the first line names the columns.
        typed: whether these names have a type behind a colon, as in an atomic file.
        encoding: of the text.
    """

    separator: str
    quoted: bool = False
    header: bool = True
    typed: bool = False
    encoding: str = "utf-8"

    def splitter(self, columns: tuple[str, ...]) -> LineSplitter:
        """What takes lines of some columns apart."""
        return LineSplitter(columns, self)


class Splitter(Protocol):
    """From lines to the raw values of their columns; see :class:`LineSplitter`.

    Attributes:
        columns: the columns' names.
        header: whether the first line names them.
    """

    columns: tuple[str, ...]
    header: bool

    @property
    def through(self) -> Through:
        """From a file to what is split of it."""

    def block(self, data: bytes) -> tuple[list[str], list[tuple[str, ...]]]:
        """Split many lines at once."""

    def line(self, data: bytes, ended: bool = True) -> tuple[str, list[str]]:
        """Split one line, and say what is wrong with it."""

    def is_header(self, data: bytes) -> bool:
        """Whether a line is a header with exactly the columns."""

    def check_header(self, path: Path, data: bytes) -> None:
        """Check the first line of a file."""

    def header_line(self) -> str:
        """The first line of a file of these columns."""


class Form(Protocol):
    """How the lines of a raw file are written."""

    def splitter(self, columns: tuple[str, ...]) -> Splitter:
        """What takes lines of some columns apart."""


class LineSplitter:
    """From a line to the raw values of its columns, and nothing but what the format allows.

    Args:
        columns: the columns' names.
        form: how the lines are written.
    """

    def __init__(self, columns: tuple[str, ...], form: Delimited) -> None:
        self.columns = columns
        self.separator = form.separator
        self.quoted = form.quoted
        self.header = form.header
        self.through = as_it_is
        self._typed = form.typed
        self._encoding = form.encoding

    def block(self, data: bytes) -> tuple[list[str], list[tuple[str, ...]]]:
        """Split many lines at once.

        Args:
            data: lines, each but the last with its line feed.

        Returns:
            The lines, and for each column its raw values.

        Raises:
            ValueError: a line is bad; :meth:`line` says which and why.
        """
        text = data.decode(self._encoding)
        if "\r" in text:
            text = (text + "\n").replace("\r\n", "\n")[:-1]
        tab_inside = "\t" in text and self.separator != "\t"
        if "\r" in text or "\0" in text or tab_inside:
            raise ValueError("a character that an atomic file cannot hold")
        lines = text.split("\n")
        if max(map(len, data.split(b"\n"))) > LONGEST_LINE:
            raise ValueError("a line that is too long")
        separator = self.separator
        if self.quoted and '"' in text:
            rows = [
                self._split_quoted(line) if '"' in line else line.split(separator) for line in lines
            ]
        else:
            rows = [line.split(separator) for line in lines]
        if self.quoted and self.separator == "\t" and any("\t" in "".join(row) for row in rows):
            raise ValueError("a tab inside a value")
        columns = list(zip(*rows, strict=True))
        if len(columns) != len(self.columns):
            raise ValueError("a wrong number of columns")
        return lines, columns

    def line(self, data: bytes, ended: bool = True) -> tuple[str, list[str]]:
        """Split one line.

        Args:
            data: the line without its line feed.
            ended: whether it had one; the last line of a file that was cut off has none.

        Returns:
            The line, and its raw values.

        Raises:
            BadValueError: it is bad.
        """
        if len(data) > LONGEST_LINE:
            start = data[:40].decode(errors="backslashreplace")
            raise BadValueError(None, start, f"the line is longer than {LONGEST_LINE:,} bytes")
        try:
            line = data.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise self._not_utf8(data, error) from error
        line = line.removesuffix("\r")
        values = self._split_quoted(line) if self.quoted and '"' in line else None
        if values is None:
            values = line.split(self.separator)
        if len(values) != len(self.columns):
            raise BadValueError(None, line, self._wrong_count(line, len(values), ended))
        for column, value in zip(self.columns, values, strict=True):
            for character, name in FORBIDDEN.items():
                if character in value:
                    raise BadValueError(
                        column, value, f"an atomic file cannot hold {name} inside a value"
                    )
        return line, values

    def header_line(self) -> str:
        """The first line of a file of these columns, with its line feed."""
        return self.separator.join(self.columns) + "\n"

    def is_header(self, data: bytes) -> bool:
        """Whether a line is a header with exactly the columns, in their order."""
        return self.header and self._names(data.decode(errors="replace")) == list(self.columns)

    def _names(self, header: str) -> list[str]:
        names = header.removesuffix("\r").split(self.separator)
        if self.quoted:
            names = [name[1:-1] if name[:1] == name[-1:] == '"' else name for name in names]
        return [name.partition(":")[0] for name in names] if self._typed else names

    def check_header(self, path: Path, data: bytes) -> None:
        """Check the first line of a file.

        Raises:
            UsageError: it does not hold exactly the columns, in their order.
        """
        if self.is_header(data):
            return
        expected = self.separator.join(self.columns)
        start = f"{path}, line 1:"
        try:
            header = data.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise UsageError(f"{start} the header is not UTF-8 text, as {data[:40]!r}.") from error
        names = self._names(header)
        for separator, word in _SEPARATORS.items():
            if separator != self.separator and len(header.split(separator)) > len(names):
                raise UsageError(
                    f"{start} the columns are separated by {word}, "
                    f"expected {_SEPARATORS[self.separator]}, as {expected!r}."
                )
        missing = [name for name in self.columns if name not in names]
        extra = [name for name in names if name not in self.columns]
        wrong = []
        if missing:
            wrong.append(f"lacks column {', '.join(missing)}")
        if extra:
            wrong.append(f"has the extra column {', '.join(map(shown, extra))}")
        what = " and ".join(wrong) or "has the columns in another order or twice"
        raise UsageError(f"{start} the header {what}, expected {expected!r}.")

    def _split_quoted(self, line: str) -> list[str]:
        """Split a line of which some values stand in quotes."""
        values: list[str] = []
        rest = line
        while True:
            column = self.columns[min(len(values), len(self.columns) - 1)]
            if rest.startswith('"'):
                value, rest = _take_quoted(column, rest)
                if rest and not rest.startswith(self.separator):
                    raise BadValueError(column, rest, "a quoted value must end with its quote")
                more = bool(rest)
                rest = rest[len(self.separator) :]
            else:
                value, separator, rest = rest.partition(self.separator)
                more = bool(separator)
                if '"' in value:
                    raise BadValueError(column, value, "a value with a quote must stand in quotes")
            values.append(value)
            if not more:
                return values

    def _not_utf8(self, data: bytes, error: UnicodeDecodeError) -> BadValueError:
        """Name the column of the byte that is not UTF-8, as far as separators show it."""
        position = data[: error.start].count(self.separator.encode())
        column = self.columns[position] if position < len(self.columns) else None
        values = data.split(self.separator.encode())
        value = values[min(position, len(values) - 1)].decode(errors="backslashreplace")
        return BadValueError(column, value, f"byte 0x{data[error.start]:02x} is not UTF-8 text")

    def _wrong_count(self, line: str, count: int, ended: bool) -> str:
        if line == "":
            return "the line is empty"
        wrong = f"expected {len(self.columns)} columns, found {count}"
        return wrong if ended else f"{wrong}: the file ends in the middle of this line"


def _take_quoted(column: str, text: str) -> tuple[str, str]:
    """Take a quoted value off the beginning of a text: the value and what follows it."""
    end = 1
    while (end := text.find('"', end)) >= 0:
        if not text.startswith('""', end):
            return text[1:end].replace('""', '"'), text[end + 1 :]
        end += 2
    raise BadValueError(
        column, text, "the quoted value does not end on its line; a value cannot hold a line feed"
    )


FORBIDDEN = {"\t": "a tab", "\r": "a carriage return", "\n": "a line feed", "\0": "a zero byte"}
"""What no value may hold, and its name."""

_SEPARATORS = {",": "commas", " ": "spaces", "\t": "tabs", ";": "semicolons", "|": "bars"}


def shown(value: str) -> str:
    """A value as a message shows it: escaped, in quotes, cut where it is long."""
    return repr(value) if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]!r}..."


def sha256(path: Path) -> str:
    """The hash of a file's bytes, as hexadecimal digits; reads a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(BLOCK_BYTES):
            digest.update(data)
    return digest.hexdigest()
