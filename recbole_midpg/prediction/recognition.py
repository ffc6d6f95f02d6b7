"""How many values of new rows training has seen, and how those that it has not may be misspelt.

A token that training has not seen is scored as ``[PAD]``, or as ``[UNK]`` where its field has one.
One that is new and one that is only written otherwise (``7.0`` for ``7``, ``APP`` for ``app``) look
alike to a model; by the tokens that it knows they can be distinguished.
"""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.loading.atomic_reader import MISSING
from recbole_midpg.loading.column_encoding import (
    Encoder,
    NumberSequenceEncoder,
    TokenEncoder,
    TokenSequenceEncoder,
    distinct_values,
    elements_of,
)
from recbole_midpg.loading.rare_tokens import UNKNOWN

MAX_EXAMPLES = 100
"""How many distinct unknown values of a column are kept: the first ones."""

_MISSING = frozenset(MISSING)
# A column is mostly unknown above this share of its values, and a spelling is the likely cause
# where it explains more than this share of the examples.
_MOST = 0.5


@dataclass(frozen=True)
class ValueCounts:
    """How many values of a column training has seen; counts of several parts of it add up.

    Of a column of sequences ``known`` and ``unknown`` count elements, as many as the model reads of
    a row, and ``missing`` counts rows without any. Every number is known.

    Attributes:
        known: values that training has seen.
        unknown: values that it has not.
        missing: rows without a value.
        examples: the first distinct unknown values, at most :data:`MAX_EXAMPLES`.
    """

    known: int = 0
    unknown: int = 0
    missing: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: ValueCounts) -> ValueCounts:
        return ValueCounts(
            self.known + other.known,
            self.unknown + other.unknown,
            self.missing + other.missing,
            _first_distinct([*self.examples, *other.examples]),
        )

    @property
    def unknown_share(self) -> float:
        """The share of unknown values among those that are not missing; 0 where all are."""
        return self.unknown / max(self.known + self.unknown, 1)

    def __str__(self) -> str:
        example = f" ({reprlib.repr(self.examples[0])})" if self.examples else ""
        return f"{self.known:,} known, {self.unknown:,} unknown{example}, {self.missing:,} missing"


def _first_distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(values), MAX_EXAMPLES))


# --------------------------------------------------------------------------------------------------
# Counting


def count_values(encoder: Encoder, column: Any, encoded: NDArray[Any]) -> ValueCounts:
    """Count what training has seen of a column.

    Args:
        encoder: of its field.
        column: its values, see :class:`~recbole_midpg.loading.column_encoding.Encoder`.
        encoded: what ``encoder`` makes of it, ``(rows, ...)``.
    """
    if isinstance(encoder, (TokenSequenceEncoder, NumberSequenceEncoder)):
        return _count_elements(encoder, column)
    if isinstance(encoder, TokenEncoder):
        return _count_tokens(encoder, column, encoded)
    missing = int(_are_missing(_as_array(column)).sum())
    return ValueCounts(len(encoded) - missing, 0, missing)


def _count_tokens(encoder: TokenEncoder, column: Any, ids: NDArray[np.int64]) -> ValueCounts:
    if encoder.rare is None and ids.all():
        return ValueCounts(len(ids))
    doubtful = _as_array(column)[(ids == 0) | (ids == encoder.unknown)]
    present = doubtful[~_are_missing(doubtful)]
    if encoder.rare is not None:  # training has seen the rare tokens
        codes, distinct = distinct_values(present)
        known = np.array([encoder.id_of(value) != encoder.unknown for value in distinct], bool)
        present = present[~known[codes]]
    missing = int(_are_missing(doubtful).sum())
    return ValueCounts(
        len(ids) - missing - len(present),
        len(present),
        missing,
        _first_distinct(map(str, present)),
    )


def _count_elements(
    encoder: TokenSequenceEncoder | NumberSequenceEncoder, column: Any
) -> ValueCounts:
    unknown: Counter[str] = Counter()
    total, missing = 0, len(column)
    for value, rows in _rows_by_value(column):
        elements = elements_of(value, encoder.separator)[: encoder.width]
        total += len(elements) * rows
        missing -= rows if elements else 0
        if isinstance(encoder, TokenEncoder):
            for element in map(str, elements):
                if not encoder.ids.get(element):
                    unknown[element] += rows
    return ValueCounts(total - unknown.total(), unknown.total(), missing, _first_distinct(unknown))


def _rows_by_value(column: Any) -> Iterator[tuple[Any, int]]:
    """The distinct values of a column that are not missing, and how many rows have each."""
    codes, distinct = distinct_values(column)
    return zip(distinct, np.bincount(codes[codes >= 0], minlength=1).tolist(), strict=False)


def _as_array(column: Any) -> NDArray[Any]:
    if isinstance(column, pd.Series):
        column = column.to_numpy()
    if isinstance(column, np.ndarray) and column.dtype.kind in "biufO":
        return column
    return np.fromiter(column, dtype=object, count=len(column))


def _are_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are missing, ``(values,)``; see ``Encoder`` for what counts as missing."""
    texts = (isinstance(value, str) and value in _MISSING for value in values)
    return np.asarray(pd.isna(values) | np.fromiter(texts, np.bool_, len(values)))


# --------------------------------------------------------------------------------------------------
# Likely causes


_FRACTION = re.compile(r"(?<=\d)\.0+$")
_MAX_LEADING_ZEROS = 12
_AROUND = "[](){}'\", "
# Neither letters nor digits, and no point: that stands in numbers.
_SEPARATORS = " ,;|/:+&^~#>_-\t\x01\x02"


def _with_and_without_zeros(text: str) -> Iterator[str]:
    if text.isdecimal():
        yield text.lstrip("0")
        yield from ("0" * count + text for count in range(1, _MAX_LEADING_ZEROS + 1))


_RESPELLINGS: dict[str, Callable[[str], Iterable[str]]] = {
    "white space around it": lambda text: (text.strip(), f" {text}", f"{text} "),
    "decimals .0, as pandas writes ids of a column with gaps": lambda text: (
        _FRACTION.sub("", text),
        f"{text}.0",
    ),
    "leading zeros": _with_and_without_zeros,
    "capitals": lambda text: (text.lower(), text.upper(), text.capitalize(), text.title()),
    "brackets, quotation marks or commas around it": lambda text: (text.strip(_AROUND),),
}


def warning(encoder: Encoder, counts: ValueCounts) -> str | None:
    """A sentence on a column of which much is unknown.

    There is one where more than half of the values are unknown, and where another spelling of more
    than half of the examples is known, however many they are.

    Args:
        encoder: of the column's field.
        counts: what training has seen of it.

    Returns:
        The column, the share, an example and its likely cause; ``None`` where nothing is wrong.
    """
    if not counts.unknown or not isinstance(encoder, TokenEncoder):
        return None
    causes = [(example, _cause(encoder, example)) for example in counts.examples]
    frequent = Counter(cause.name for _, cause in causes if cause).most_common(1)
    explained = frequent[0][1] if frequent else 0
    if counts.unknown_share <= _MOST and explained <= _MOST * len(causes):
        return None
    unknown = (
        f"{encoder.field}: {counts.unknown:,} of {counts.known + counts.unknown:,} values "
        f"({counts.unknown_share:.1%}) are unknown to training and scored as "
        f"{'[PAD]' if encoder.rare is None else UNKNOWN}"
    )
    for example, cause in causes:
        if cause and cause.name == frequent[0][0]:
            known = " and ".join(map(reprlib.repr, cause.known))
            return (
                f"{unknown}, as {reprlib.repr(example)}, where {known} would be known; likely "
                f"cause: {cause.name} (in {explained} of {len(causes)} distinct ones looked at)."
            )
    return (
        f"{unknown}, as {reprlib.repr(counts.examples[0])}; no other spelling is known of the "
        f"{len(causes)} distinct ones looked at."
    )


@dataclass(frozen=True)
class _Cause:
    """Why a token may be unknown, and the known tokens that it may stand for."""

    name: str
    known: tuple[str, ...]


def _cause(encoder: TokenEncoder, text: str) -> _Cause | None:
    if isinstance(encoder, TokenSequenceEncoder):
        return _other_separator(encoder, text) or _other_spelling(encoder, text)
    return _other_spelling(encoder, text)


def _other_separator(encoder: TokenSequenceEncoder, text: str) -> _Cause | None:
    for separator in _SEPARATORS:
        if separator in text and separator != encoder.separator:
            parts = tuple(filter(None, (part.strip(_AROUND) for part in text.split(separator))))
            if parts and all(map(encoder.ids.get, parts)):
                name = f"{separator!r} between tokens, expected {encoder.separator!r}"
                return _Cause(name, parts)
    return None


def _other_spelling(encoder: TokenEncoder, text: str) -> _Cause | None:
    """The cause for which one change of the spelling, or else two, give a known token."""
    once = list(_respellings(text))
    for name, spelling in once:
        if encoder.ids.get(spelling):
            return _Cause(name, (spelling,))
    for first, between in once:
        for second, spelling in _respellings(between):
            if first != second and encoder.ids.get(spelling):
                return _Cause(f"{first}, and {second}", (spelling,))
    return None


def _respellings(text: str) -> Iterator[tuple[str, str]]:
    """Other spellings of a text, each with its name."""
    for name, respell in _RESPELLINGS.items():
        for spelling in respell(text):
            if spelling != text:
                yield name, spelling
