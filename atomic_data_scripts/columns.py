"""What a raw value may be and what it becomes: the columns that a converter declares."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from recbole_midpg.common.errors import did_you_mean

ParseValue = Callable[[str], str]
"""From a raw value to the texts of a column's fields, joined by tabs.

Raises ``ValueError`` with the reason, as words that follow "is not allowed, ".
"""

MISSING_WORDS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""The words that pandas, and so RecBole, reads as a missing value."""

PADDING_WORD = "[PAD]"
"""The token that RecBole keeps for itself."""

MISSING = "unk"
"""The token of a missing value, where the raw data have none of their own."""

FILE = "<file>"
"""Stands for a raw column: the name of the file that a row comes from, with its folders."""


@dataclass(frozen=True)
class Column:
    """One column of a raw file.

    Attributes:
        name: the raw header's name.
        fields: the atomic fields that are made of it, each ``name:type``; none where the column is
            only read.
        parse: from the raw value to the fields' texts; see :data:`ParseValue`.
        describes: the entity, as ``user`` or ``item``, whose attribute this may be. The fields go
            into the entity's own file where the data agree, and stay in ``.inter`` where not.
        made_of: the raw columns that the value is made of, :data:`FILE` among them, where the raw
            file has no column of this name; ``parse`` gets their values joined by tabs.
    """

    name: str
    fields: tuple[str, ...]
    parse: ParseValue
    describes: str | None = None
    made_of: tuple[str, ...] = ()


def token(name: str, parse: ParseValue, describes: str | None = None) -> Column:
    """A column that becomes one token field of its own name."""
    return Column(name, (f"{name}:token",), parse, describes)


def unused(*names: str) -> tuple[Column, ...]:
    """Columns of which nothing is made."""
    return tuple(Column(name, (), _nothing) for name in names)


def _nothing(value: str) -> str:
    return ""


def whole_number(value: str) -> str:
    """Accept decimal digits, kept as they are written."""
    if value.isdecimal() and value.isascii():
        return value
    raise ValueError(f"expected a whole number{_missing_id(value)}")


def whole_number_or_missing(value: str) -> str:
    """Accept decimal digits and -1, which stands for a missing value and stays its own token."""
    if value == "-1" or (value.isdecimal() and value.isascii()):
        return value
    raise ValueError("expected a whole number, or -1 where it is missing")


def _missing_id(value: str) -> str:
    return ", it must not be missing" if value in MISSING_WORDS else ""


_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)


def number(value: str) -> str:
    """Accept a decimal number, kept as it is written; a word for a missing one becomes nothing."""
    if _NUMBER.fullmatch(value):
        return value
    if value in MISSING_WORDS:
        return ""
    raise ValueError("expected a number, or nothing")


_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


def word(value: str) -> str:
    """Accept a name of letters, digits and ``_ . : -`` that does not read as missing."""
    if _WORD.fullmatch(value) and value not in MISSING_WORDS:
        return value
    raise ValueError("expected a word of letters, digits, '_', '.', ':' and '-'")


def one_of(allowed: tuple[str, ...], missing: str | None = None) -> ParseValue:
    """Accept a few words.

    Args:
        allowed: the words.
        missing: what an empty value becomes; ``None`` refuses it.
    """
    texts = {value: value for value in allowed}
    if missing is not None:
        texts[""] = missing
    expected = f"expected one of {', '.join(allowed)}" + (", or nothing" if missing else "")

    def parse(value: str) -> str:
        if value in texts:
            return texts[value]
        raise ValueError(expected + did_you_mean(value, allowed, cutoff=0.8).rstrip("?"))

    return parse


def free_text(missing: str) -> ParseValue:
    """Accept any text that RecBole reads back as it was written.

    Args:
        missing: what an empty value becomes, and what no value may be.
    """

    def parse(value: str) -> str:
        if value == "":
            return missing
        if value in MISSING_WORDS:
            raise ValueError("pandas and RecBole would read it as missing, leave it empty instead")
        if value in (missing, PADDING_WORD):
            raise ValueError(f"expected a text other than {missing!r} and {PADDING_WORD!r}")
        # Readers take a leading quote for the start of a quoted value; inside it is a quote.
        return '"' + value.replace('"', '""') + '"' if value[0] == '"' else value

    return parse


def listed(separator: str, element: ParseValue) -> ParseValue:
    """Accept elements with a separator between them, which become a sequence.

    Args:
        separator: stands between two elements.
        element: what an element may be and becomes; nothing is one, for a missing list.
    """

    def parse(value: str) -> str:
        return " ".join(map(element, value.split(separator)))

    return parse


_written_text = free_text(MISSING)


def text_or_missing(value: str) -> str:
    """Accept any text, as :func:`free_text`; a word for a missing one becomes ``unk``."""
    return MISSING if value in MISSING_WORDS else _written_text(value)


def identifier(value: str) -> str:
    """Accept any text but a word for a missing one, as :func:`free_text`."""
    if value in MISSING_WORDS:
        raise ValueError("it must not be missing")
    return _written_text(value)


def as_read(text: str) -> str:
    """What readers of an atomic file make of a field's text: see :func:`free_text`."""
    return text[1:-1].replace('""', '"') if text[:1] == '"' else text


def whole_number_between(low: int, high: int) -> ParseValue:
    """Accept decimal digits without leading zeros, within ``[low, high]``."""

    def parse(value: str) -> str:
        if value.isdecimal() and value.isascii() and len(value) <= len(str(high)):
            number = int(value)
            if str(number) == value and low <= number <= high:
                return value
        raise ValueError(f"expected a whole number from {low} to {high}")

    return parse
