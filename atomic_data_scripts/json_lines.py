"""Raw files with a JSON object in each line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .raw_file import FORBIDDEN, LONGEST_LINE, BadValueError, as_it_is


@dataclass(frozen=True)
class JsonLines:
    """How the lines of a raw file are written: as JSON objects, whose keys are the columns."""

    def splitter(self, columns: tuple[str, ...]) -> JsonSplitter:
        """What takes some columns out of lines."""
        return JsonSplitter(columns)


class JsonSplitter:
    """From a line to the raw values of its columns; other keys of the object are not looked at.

    A key that an object lacks, and ``null``, is an empty value; ``true`` and numbers are taken as
    JSON writes them.

    Args:
        columns: the columns' names.
    """

    header = False

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.through = as_it_is

    def block(self, data: bytes) -> tuple[list[str], list[tuple[str, ...]]]:
        """Split many lines at once; see :meth:`LineSplitter.block`."""
        rows = [self.line(line) for line in data.split(b"\n")]
        return [line for line, _ in rows], list(zip(*(values for _, values in rows), strict=True))

    def line(self, data: bytes, ended: bool = True) -> tuple[str, list[str]]:
        """Split one line; see :meth:`LineSplitter.line`."""
        if len(data) > LONGEST_LINE:
            start = data[:40].decode(errors="backslashreplace")
            raise BadValueError(None, start, f"the line is longer than {LONGEST_LINE:,} bytes")
        line = data.decode(errors="backslashreplace").removesuffix("\r")
        try:
            # Without this, bytes that are no text would be taken for their escapes.
            found = json.loads(data.decode())
        except ValueError as error:
            cut = "" if ended else ": the file ends in the middle of this line"
            raise BadValueError(None, line, f"the line is no JSON ({error}){cut}") from error
        if not isinstance(found, dict):
            raise BadValueError(None, line, "the line is no JSON object")
        return line, [_text(column, found.get(column)) for column in self.columns]

    def is_header(self, data: bytes) -> bool:
        """No line names the columns."""
        return False

    def check_header(self, path: Path, data: bytes) -> None:
        """Nothing is wrong with a header that is not there."""

    def header_line(self) -> str:
        """The first line of a file of these columns: none."""
        return ""


def _text(column: str, value: Any) -> str:
    if isinstance(value, str):
        for character, name in FORBIDDEN.items():
            if character in value:
                raise BadValueError(
                    column, value, f"an atomic file cannot hold {name} inside a value"
                )
        return value
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        raise BadValueError(column, json.dumps(value), "expected a text or a number")
    return json.dumps(value)
