"""Why atomic files could not be loaded: the first line that is wrong, in a sentence.

Cause: RecBole and pandas report a value that is no number, or a missing column, by an
error that names neither file nor line. The files are read again here, slowly, after such an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from recbole_midpg.loading.atomic_header import BYTE_ORDER_MARK, atomic_files

_LONGEST_SHOWN = 40


def find_problem(config: Any) -> str | None:
    """Find the first thing that is wrong with a dataset's atomic files.

    Args:
        config: RecBole's ``Config``.

    Returns:
        A sentence that names the file, line, column and value; ``None`` where nothing is found.
    """
    for path, source in atomic_files(config):
        if path.is_file():
            for problem in _problems(path, source, config):
                return f"{path}, {problem}"
    return None


def find_header_problem(config: Any) -> str | None:
    """Find the first thing that is wrong with the first lines of the files that are to be loaded.

    Args:
        config: RecBole's ``Config``.

    Returns:
        A sentence that names the file; ``None`` where nothing is found, or where a file is missing.
    """
    load_col = config["load_col"]
    for path, source in atomic_files(config):
        if path.is_file() and (load_col is None or source in load_col):
            for problem in _problems(path, source, config, lines=1):
                return f"{path}, {problem}"
    return None


def find_ragged_line(config: Any, path: Path) -> str | None:
    """Find the first line of a file that has not as many values as its header.

    Pandas fills what is missing and drops what is too much. Of a line with a quote only it knows
    how many values there are.

    Args:
        config: RecBole's ``Config``.
        path: an atomic file.

    Returns:
        A sentence that names the file and the line, or ``None``.
    """
    separator = config["field_separator"]
    with path.open(encoding=config["encoding"] or "utf-8", errors="replace", newline="\n") as file:
        expected = file.readline().count(separator)
        for number, line in enumerate(file, start=2):
            if '"' in line:
                return None
            if line.count(separator) != expected and line.strip("\r\n"):
                return f"{path}, {_ragged(number, line.count(separator) + 1, expected + 1)}"
    return None


def _ragged(number: int, found: int, expected: int) -> str:
    return f"line {number}: it has {found} columns, expected {expected}."


def _problems(path: Path, source: str, config: Any, lines: int | None = None) -> Iterator[str]:
    """Look for problems in so many lines of a file, by default in all."""
    separator, encoding = config["field_separator"], config["encoding"] or "utf-8"
    columns: list[tuple[str, str]] = []
    with path.open("rb") as file:
        for number, content in enumerate(islice(file, lines), start=1):
            try:
                line = content.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as error:
                yield f"line {number}: it is not text in {encoding} ({error.reason})."
                return
            values = line.split(separator)
            if number == 1:
                columns = [_named_and_typed(value) for value in values]
                yield from _header_problems(line, columns, source, config)
                if path.stat().st_size == len(content):
                    yield "line 1: no row follows it, expected a row a line."
            elif line:
                yield from _row_problems(number, values, columns, config)


def _named_and_typed(title: str) -> tuple[str, str]:
    name, _, kind = title.rpartition(":")
    return name, kind


def _header_problems(
    line: str, columns: list[tuple[str, str]], source: str, config: Any
) -> Iterator[str]:
    if line.startswith(BYTE_ORDER_MARK):
        yield "line 1: it starts with a byte order mark, expected the first column's name."
    for name, kind in columns:
        if kind not in {"token", "token_seq", "float", "float_seq"}:
            yield (
                f"line 1: column {name!r} is of type {kind!r}, "
                "expected token, token_seq, float or float_seq."
            )
    names = [name for name, _ in columns]
    ids = {"user": ["USER_ID_FIELD"], "item": ["ITEM_ID_FIELD"]}
    for key in ids.get(source, ["USER_ID_FIELD", "ITEM_ID_FIELD"]):
        if config[key] is not None and config[key] not in names:
            yield f"line 1: there is no column {config[key]!r} ({key}), found {', '.join(names)}."
    if len(set(names)) < len(names):
        yield f"line 1: a column is there twice, found {', '.join(names)}."


def _row_problems(
    number: int, values: list[str], columns: list[tuple[str, str]], config: Any
) -> Iterator[str]:
    if len(values) != len(columns):
        yield _ragged(number, len(values), len(columns))
        return
    for (name, kind), value in zip(columns, values, strict=True):
        if kind.startswith("float"):
            parts = value.split(config["seq_separator"]) if kind == "float_seq" else [value]
            for part in parts:
                if part and not _is_number(part):
                    yield (
                        f"line {number}, column {name!r}: {part[:_LONGEST_SHOWN]!r} is not a "
                        "number."
                    )
        if '"' in value:
            yield (
                f"line {number}, column {name!r}: {value[:_LONGEST_SHOWN]!r} holds a quote, "
                "which RecBole takes for the start of a text of several columns."
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
