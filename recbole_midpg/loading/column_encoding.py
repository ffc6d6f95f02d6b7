"""Columns of new rows as a trained model reads them: token ids, and numbers on training's scale.

An encoder holds what training learned of one field, in plain values and arrays, and gives new
values exactly the form that training gave its own. What training has not seen has one form too: an
empty token and a missing one are token 0, as is one without an id where its field has no unknown
token, and a missing number is the training rows' mean, or what training has learned of missing
ones.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.loading.atomic_reader import MISSING, Integers, Tokens
from recbole_midpg.loading.number_scalers import (
    NumberScaler,
    is_finite_float32,
    scaler_from_plain,
)
from recbole_midpg.loading.rare_tokens import RareTokens

_MISSING = frozenset(MISSING)
# How a value stands in a sentence: an integer may have thousands of digits.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxtuple = 20


class BadValueError(UsageError):
    """A value that a column cannot hold.

    Args:
        row: its row, from 0.
        field: the column's name.
        value: the value.
        allowed: what is allowed.

    Attributes:
        problem: the column, the value and what is allowed, a sentence without its place.
    """

    def __init__(self, row: int, field: str, value: object, allowed: str) -> None:
        self.row, self.field = row, field
        self.problem = f"column {field!r}: {_SHORT.repr(value)} is not {allowed}."
        super().__init__(f"row {row + 1}, {self.problem}")


# --------------------------------------------------------------------------------------------------
# Scales of numbers


@dataclass(frozen=True)
class EqualBuckets:
    """RecBole's discretization ``ED``: buckets of equal width, numbered from 1.

    Attributes:
        lower: where the first begins.
        upper: where the last ends.
        count: how many there are between the two.
        size: how many indices training has an embedding for, 0 included.
    """

    method: ClassVar[str] = "ED"
    lower: float
    upper: float
    count: int
    size: int

    def indices(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """The bucket of each number; one beyond both ends is in the bucket at that end."""
        if self.upper == self.lower:
            return np.full_like(numbers, self.count)
        # RecBole's own expression, term by term: another order would round differently.
        buckets = np.floor((numbers - self.lower) * self.count / (self.upper - self.lower) + 1)
        return np.clip(buckets, 1, self.size - 1)


@dataclass(frozen=True)
class LogarithmicBuckets:
    r"""RecBole's discretization ``LD``: :math:`\lfloor\ln(x)^2 + 1\rfloor` above 2, else ``x``.

    Attributes:
        levels: the distinct results in training, ascending; a bucket's index is its place.
    """

    method: ClassVar[str] = "LD"
    levels: NDArray[np.float64]

    @staticmethod
    def results(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transform numbers; equal results are one bucket."""
        large = numbers > 2  # noqa: PLR2004 - RecBole's bound
        logarithms = np.floor(np.log(numbers * large + 1e-9) ** 2 + 1)
        return np.where(large, logarithms, numbers)

    def indices(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """The bucket of each number; of one between two buckets the lower."""
        places = np.searchsorted(self.levels, self.results(numbers), side="right") - 1
        return np.maximum(places, 0).astype(np.float64)


_BUCKETS: dict[str, Callable[..., EqualBuckets | LogarithmicBuckets]] = {
    buckets.method: buckets for buckets in (EqualBuckets, LogarithmicBuckets)
}


@dataclass(frozen=True)
class NumberScale:
    """What training did to the numbers of a field.

    Attributes:
        missing: what stands for a missing number where no scaler knows it: the mean of all rows.
        bounds: the least and the greatest number where they were normalised to ``[0, 1]``.
        buckets: the buckets where they were discretized.
        scaler: the scaler where they were neither.
    """

    missing: float
    bounds: tuple[float, float] | None = None
    buckets: EqualBuckets | LogarithmicBuckets | None = None
    scaler: NumberScaler | None = None

    def apply(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Make RecBole's form of numbers, a value and the index of its embedding.

        Args:
            numbers: ``(numbers,)``, NaN where one is missing.

        Returns:
            ``(numbers, 2)``: the number on training's scale and 1, or 1 and its bucket.
        """
        if self.scaler is not None:
            return self.scaler.embed(numbers)
        numbers = np.where(np.isnan(numbers), self.missing, numbers)
        if self.bounds is not None:
            least, greatest = self.bounds
            same = least == greatest
            numbers = np.ones_like(numbers) if same else (numbers - least) / (greatest - least)
        ones = np.ones_like(numbers)
        if self.buckets is None:
            return np.stack([numbers, ones], axis=-1).astype(np.float32)
        return np.stack([ones, self.buckets.indices(numbers)], axis=-1).astype(np.float32)

    def to_plain(self) -> dict[str, Any]:
        """The scale as plain values and arrays."""
        buckets = None
        if self.buckets is not None:
            buckets = {"method": self.buckets.method, **asdict(self.buckets)}
        scaler = None if self.scaler is None else self.scaler.to_plain()
        return {
            "missing": self.missing,
            "bounds": self.bounds,
            "buckets": buckets,
            "scaler": scaler,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> NumberScale:
        """Undo :meth:`to_plain`; an array may be a tensor, as in a file."""
        buckets = None
        if plain["buckets"] is not None:
            values = dict(plain["buckets"])
            if "levels" in values:
                values["levels"] = np.asarray(values["levels"])
            buckets = _BUCKETS[values.pop("method")](**values)
        scaler = plain.get("scaler")  # which the first version of the file lacks
        return cls(
            plain["missing"],
            plain["bounds"],
            buckets,
            None if scaler is None else scaler_from_plain(scaler),
        )


# --------------------------------------------------------------------------------------------------
# Encoders


@dataclass(frozen=True)
class Encoder(ABC):
    """From a column of new values to what the model reads of one field.

    A column is an array, a pandas Series or a sequence. A text that pandas reads as missing
    (empty, ``NA``, ``null``, ...), ``None`` and NaN are missing values.

    Attributes:
        field: its name.
    """

    field: str

    @abstractmethod
    def encode(self, column: Any) -> NDArray[Any]:
        """Encode a column of as many rows as it has.

        Raises:
            BadValueError: a value cannot stand in this column.
        """

    def refuse(self, row: int, value: object, allowed: str) -> BadValueError:
        """The error of one value."""
        return BadValueError(row, self.field, value, allowed)


@dataclass(frozen=True)
class TokenEncoder(Encoder):
    """Tokens to their ids, ``(rows,)``; one that training has not seen to :attr:`unknown`.

    A number stands for the token that it is written as; a whole float also for the integer, as
    which pandas gives the integers of a column with missing values.

    Attributes:
        tokens: the tokens in the order of their ids: the padding token, those of training, the
            unknown one where there is one, and those of rows that were learned later.
        rare: those that the model reads as the unknown one, where there is one.
    """

    tokens: Tokens
    rare: RareTokens | None = dataclasses.field(default=None, kw_only=True)

    @property
    def unknown(self) -> int:
        """The id of a token that training has not seen: 0 where the field has no unknown token."""
        return 0 if self.rare is None else self.rare.unknown

    @property
    def names(self) -> list[str]:
        """The tokens but for the padding and the unknown one, in the order of their ids."""
        texts = self.tokens.texts()
        return (
            texts[1:] if self.rare is None else texts[1 : self.unknown] + texts[self.unknown + 1 :]
        )

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token; of equal tokens the last one's, as RecBole has it."""
        return {text: position for position, text in enumerate(self.tokens.texts())}

    def id_of(self, value: object) -> int:
        """The id of one value that is not missing."""
        if isinstance(value, str):
            return 0 if value in _MISSING else self.ids.get(value, self.unknown)
        known = self.ids.get(str(value))
        if not known and isinstance(value, (float, np.floating)) and value.is_integer():
            return self.ids.get(str(int(value)), self.unknown)
        return known or self.unknown

    def encode(self, column: Any) -> NDArray[np.int64]:
        """See :class:`Encoder`."""
        codes, distinct = distinct_values(column)
        for code, value in enumerate(distinct):
            if isinstance(value, tuple):
                raise self.refuse(_first(codes, code), list(value), "one token")
        ids = np.fromiter(self._ids_of(distinct.tolist()), np.int64, len(distinct))
        return np.append(ids, 0)[codes]

    def _ids_of(self, values: list[Any]) -> Iterable[int]:
        """The id of each of some distinct values."""
        if set(map(type, values)) == {str} and _MISSING.isdisjoint(values):
            return map(self.ids.get, values, repeat(self.unknown))
        return map(self.id_of, values)

    def read(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids as the model reads them: those of rare tokens as the unknown one's.

        A rare user's features are found by the id that :meth:`encode` gives.
        """
        return ids if self.rare is None else self.rare.read_as[ids].astype(np.int64)


@dataclass(frozen=True)
class TokenSequenceEncoder(TokenEncoder):
    """Sequences of tokens to their ids, ``(rows, width)``, filled up with 0.

    A sequence is a text with separators, as in an atomic file, or a list of tokens. Of a longer one
    than ``width`` the end is cut, as in training. A token that training has not seen counts as
    absent where the field has no unknown token.

    Attributes:
        separator: what stands between two tokens.
        width: the tokens of the longest sequence in training.
    """

    separator: str
    width: int

    def encode(self, column: Any) -> NDArray[np.int64]:
        """See :class:`Encoder`."""
        codes, distinct = distinct_values(column)
        rows = np.zeros((len(distinct) + 1, self.width), np.int64)
        for row, value in zip(rows, distinct, strict=False):
            elements = elements_of(value, self.separator)[: self.width]
            row[: len(elements)] = [
                self.ids.get(str(element), self.unknown) for element in elements
            ]
        return rows[codes]


@dataclass(frozen=True)
class NumberEncoder(Encoder):
    """Numbers to values and indices of their embeddings, ``(rows, 2)``; see :class:`NumberScale`.

    Attributes:
        scale: what training did to them.
    """

    scale: NumberScale

    def encode(self, column: Any) -> NDArray[np.float32]:
        """See :class:`Encoder`."""
        codes, distinct = distinct_values(column)
        texts = [None if value in _MISSING else value for value in distinct]
        numbers = _read_numbers(texts)
        for code in np.flatnonzero(~is_finite_float32(numbers)).tolist():
            if texts[code] is not None:
                raise self.refuse(_first(codes, code), texts[code], f"a finite number{_BELOW}")
        return self.scale.apply(np.append(numbers, np.nan))[codes]


@dataclass(frozen=True)
class NumberSequenceEncoder(NumberEncoder):
    """Sequences of numbers to values and indices, ``(rows, width, 2)``, filled up with 0.

    Attributes:
        separator: what stands between two numbers.
        width: the numbers of the longest sequence in training.
    """

    separator: str
    width: int

    def encode(self, column: Any) -> NDArray[np.float32]:
        """See :class:`Encoder`."""
        codes, distinct = distinct_values(column)
        rows = np.zeros((len(distinct) + 1, self.width, 2), np.float32)
        for code, value in enumerate(distinct):
            try:
                numbers = np.array([float(item) for item in elements_of(value, self.separator)])
            except (ValueError, TypeError, OverflowError):
                numbers = np.array([np.nan])
            if not is_finite_float32(numbers).all():
                problem = f"a sequence of finite numbers{_BELOW}"
                raise self.refuse(_first(codes, code), value, problem)
            rows[code, : len(numbers)] = self.scale.apply(numbers[: self.width])
        return rows[codes]


# What models compute with holds no larger numbers.
_BELOW = " below 3.4e38"


def _read_numbers(values: list[Any]) -> NDArray[np.float64]:
    """Texts and numbers as numbers, ``(values,)``; what is none is NaN, one too large infinite."""

    def read(values: list[Any]) -> NDArray[np.float64]:
        # pandas reads the numbers of atomic files too: the same text is the same number.
        return pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy(np.float64)

    try:
        return read(values)
    except OverflowError:
        largest = sys.float_info.max
        return read([math.inf if type(v) is int and abs(v) > largest else v for v in values])


def distinct_values(column: Any) -> tuple[Integers, NDArray[Any]]:
    """Number the distinct values of a column.

    Returns:
        The number of each row's value, ``(rows,)``, -1 where it is missing, and the values;
        sequences as tuples.
    """
    if isinstance(column, pd.Series):
        column = column.to_numpy()
    if not (isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "biuf"):
        column = np.fromiter(column, dtype=object, count=len(column))
    try:
        return pd.factorize(column)
    except TypeError:  # there are lists, which cannot be looked up
        return pd.factorize(np.fromiter(map(_hashable, column), dtype=object, count=len(column)))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, np.ndarray)) else value


def elements_of(value: Any, separator: str) -> Sequence[Any]:
    """The elements of a sequence, as RecBole reads them from a file: empty ones do not count."""
    if isinstance(value, tuple):
        return value
    if value in _MISSING:
        return ()
    return [element for element in str(value).split(separator) if element]


def _first(codes: Integers, code: int) -> int:
    """The first row of a value."""
    return int(np.argmax(codes == code))


# --------------------------------------------------------------------------------------------------
# Tokens as plain arrays


def tokens_to_plain(tokens: Tokens) -> dict[str, NDArray[Any]]:
    """Texts as two arrays, of about their own size in UTF-8."""
    lengths = tokens.lengths
    longest = int(lengths.max(initial=0))
    return {"bytes": tokens.blob, "lengths": lengths.astype(np.min_scalar_type(-longest - 1))}


def tokens_from_plain(plain: Mapping[str, Any]) -> Tokens:
    """Undo :func:`tokens_to_plain`, of arrays or of what numpy takes for some, as tensors."""
    ends = np.cumsum(np.asarray(plain["lengths"]), dtype=np.int64)
    return Tokens(np.asarray(plain["bytes"]), np.concatenate([np.zeros(1, np.int64), ends]))
