"""A column as its distinct values and which of them each row has: most work is done once a value.

Columns come from CSV files as texts, from Parquet files and frames as whatever they hold. Whatever
it is, there is one text for it, the one that a CSV file of the same table has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.loading.atomic_reader import Integers, Tokens, distinct_texts
from recbole_midpg.loading.column_encoding import distinct_values


@dataclass(frozen=True)
class Distinct:
    """A column.

    Attributes:
        codes: the place of each row's value in ``values``, -1 where there is none, ``(rows,)``.
        values: texts and other values, sequences as tuples, or points in time as a
            ``DatetimeIndex``; each at most once.
    """

    codes: Integers
    values: NDArray[Any] | pd.DatetimeIndex

    @classmethod
    def of(cls, column: Any) -> Distinct:
        """Take a column apart: an array, a pandas Series or a sequence; or one that is."""
        if isinstance(column, Distinct):
            return column
        if isinstance(column, np.ndarray) and column.dtype.kind == "M":
            column = pd.Series(column)
        if isinstance(column, pd.Series) and isinstance(column.dtype, pd.CategoricalDtype):
            column = column.cat
            values = column.categories
            codes = column.codes.to_numpy()
            return cls(codes, values if _are_times(values) else values.to_numpy())
        if _are_times(column):
            codes, times = pd.factorize(column)
            return cls(codes, pd.DatetimeIndex(times))
        return cls(*distinct_values(column))

    @classmethod
    def of_bytes(
        cls, buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> Distinct:
        """Take a column of texts in a buffer apart, see ``atomic_reader.number_texts``."""
        codes, tokens = distinct_texts(buffer, starts, lengths)
        return cls(codes, _as_objects(tokens))

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Any) -> Distinct:
        """Some of the rows, by a slice, a mask or their places."""
        return Distinct(self.codes[rows], self.values)

    def texts(self) -> NDArray[np.object_]:
        """The text of each distinct value, as a CSV file would hold it; not of sequences."""
        return texts_of(self.values)

    def row_texts(self) -> NDArray[np.object_]:
        """The text of each row, empty where there is no value; elements joined by spaces."""
        return spread(
            np.array(
                [
                    " ".join(map(str, value)) if isinstance(value, tuple) else text_of(value)
                    for value in self.values
                ],
                dtype=object,
            ),
            self.codes,
        )

    def first_row(self, place: int) -> int:
        """The first row of a value."""
        return int(np.argmax(self.codes == place))


def spread(texts: NDArray[np.object_], codes: Integers) -> NDArray[np.object_]:
    """The texts of rows from the texts of distinct values; empty for code -1."""
    with_missing = np.empty(len(texts) + 1, dtype=object)
    with_missing[:-1] = texts
    with_missing[-1] = ""
    return with_missing[codes]


def texts_of(values: NDArray[Any] | pd.DatetimeIndex) -> NDArray[np.object_]:
    """The texts of some values, see :func:`text_of`."""
    if not isinstance(values, pd.DatetimeIndex) and values.dtype.kind in "biuf":
        # Of float32 numpy writes as few digits as distinguish it, as CSV files have them.
        return values.astype(str).astype(object)
    if (
        isinstance(values, np.ndarray)
        and pd.api.types.infer_dtype(values, skipna=False) == "string"
    ):
        return values
    texts = np.empty(len(values), dtype=object)
    texts[:] = [value if type(value) is str else text_of(value) for value in values]
    return texts


def text_of(value: Any) -> str:
    """The text that a CSV file has for a value."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _are_times(column: Any) -> bool:
    dtype = getattr(column, "dtype", None)
    return dtype is not None and pd.api.types.is_datetime64_any_dtype(dtype)


def _as_objects(tokens: Tokens) -> NDArray[np.object_]:
    texts = np.empty(len(tokens), dtype=object)
    texts[:] = tokens.texts()
    return texts
