"""Which rows of a file are positive: 0 and 1 in a column, or a number and training's threshold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.loading.atomic_reader import MISSING
from recbole_midpg.loading.column_encoding import distinct_values
from recbole_midpg.prediction.rows import Column, RowBlock, RowSource, first_line

_MISSING = frozenset(MISSING)


@dataclass(frozen=True)
class LabelColumn:
    """A column that says whether a row is positive.

    Attributes:
        name: the column.
        threshold: the number from which on a row is positive, as training's ``threshold`` has it;
            ``None`` where the column has 0 and 1.
    """

    name: str
    threshold: float | None = None

    def __str__(self) -> str:
        return self.name if self.threshold is None else f"{self.name} >= {self.threshold:g}"

    def read(self, block: RowBlock, source: RowSource) -> NDArray[np.bool_]:
        """Which rows are positive, ``(rows,)``.

        Args:
            block: the rows.
            source: their file.

        Raises:
            UsageError: a value is missing, or not one of those that are allowed.
        """
        codes, distinct = distinct_values(block.columns[self.name])
        texts = [None if value in _MISSING else value for value in distinct]
        # The last one stands for rows without a value, whose code is -1.
        numbers = pd.to_numeric(pd.Series([*texts, None], dtype=object), errors="coerce")
        values = numbers.to_numpy(np.float64)
        if self.threshold is None:
            wrong, positive = ~np.isin(values, (0, 1)), values == 1
        else:
            wrong, positive = np.isnan(values), values >= self.threshold
        if wrong[codes].any():
            row = int(np.argmax(wrong[codes]))
            value = block.columns[self.name][row]
            raise UsageError(
                f"{source.path}, {source.place} {block.line_of(row)}, column {self.name!r}: "
                f"{value!r} is not allowed, expected {self._allowed()}."
            )
        return np.asarray(positive[codes])

    def _allowed(self) -> str:
        if self.threshold is None:
            return "0 or 1"
        return f"a number, which makes a row positive from {self.threshold:g} on"


def find_label(
    config: Mapping[str, Any] | Any,
    source: RowSource,
    name: str | None = None,
    option: str | None = None,
) -> LabelColumn:
    """Find the column of labels in a file.

    Training's ``threshold`` applies where the column is the one that it names. Without a ``name``
    that column is looked for first, and then ``LABEL_FIELD``.

    Args:
        config: RecBole's ``Config`` of the training, or its values.
        source: the file.
        name: the column; by default training's.
        option: the option by which it can be named, for the error.

    Raises:
        UsageError: the file has no such column.
    """
    thresholds: Mapping[str, float] = config["threshold"] or {}
    wanted = [*thresholds, config["LABEL_FIELD"]] if name is None else [name]
    found = next((column for column in wanted if column in source.names), None)
    if found is None:
        raise missing_column(source, wanted[0], "the label of each row", option)
    return LabelColumn(found, thresholds.get(found))


def missing_column(
    source: RowSource, name: str, what: str, option: str | None = None
) -> UsageError:
    """The error of a column that a file does not have.

    Args:
        source: the file.
        name: the column.
        what: what it holds, as "the label of each row".
        option: the option by which another column can be named, if there is one.
    """
    found = source.fields_in_file
    hint = did_you_mean(name, found)
    if not hint:
        hint = "." if option is None else f" ({option} names another column)."
    problem = "is missing"
    if name in source.written_names:
        problem = "has no field in the dataset"
    return UsageError(
        f"{first_line(source)}: column {name!r} {problem}, {what}; found {', '.join(found)}{hint}"
    )


class RowsWhere:
    """A :class:`~recbole_midpg.prediction.rows.RowSource`: those rows of another one that are 1.

    Args:
        source: the other one.
        given: the column that says which rows.

    Attributes:
        passed_over: how many rows were not 1 so far.
    """

    def __init__(self, source: RowSource, given: LabelColumn) -> None:
        self.passed_over = 0
        self.path, self.names, self.place = source.path, source.names, source.place
        self.fields_in_file = source.fields_in_file
        self.strange_columns = source.strange_columns
        self._source, self._given = source, given

    @property
    def written_names(self) -> list[str]:
        """See :class:`~recbole_midpg.prediction.rows.RowSource`."""
        return self._source.written_names

    @property
    def share_read(self) -> float:
        """See :class:`~recbole_midpg.prediction.rows.RowSource`."""
        return self._source.share_read

    @property
    def rejected(self) -> int:
        """See :class:`~recbole_midpg.prediction.rows.RowSource`."""
        return self._source.rejected

    @property
    def first_rejected(self) -> str:
        """See :class:`~recbole_midpg.prediction.rows.RowSource`."""
        return self._source.first_rejected

    def blocks(self, rows: int) -> Iterator[RowBlock]:
        """See :class:`~recbole_midpg.prediction.rows.RowSource`; blocks have ``rows`` at most."""
        for block in self._source.blocks(rows):
            chosen = np.flatnonzero(self._given.read(block, self._source)).tolist()
            n_rows = len(block.columns[self._given.name])
            self.passed_over += n_rows - len(chosen)
            if chosen:
                yield block if len(chosen) == n_rows else _ChosenRows(block, chosen)


class _ChosenRows:
    """Some rows of a block."""

    def __init__(self, block: RowBlock, chosen: Sequence[int]) -> None:
        self._block, self._chosen = block, chosen
        self.columns = self._of(block.columns)

    def _of(self, columns: Mapping[str, Column]) -> dict[str, list[Any]]:
        return {name: [texts[row] for row in self._chosen] for name, texts in columns.items()}

    @property
    def written(self) -> Mapping[str, Column]:
        return self._of(self._block.written)

    def line_of(self, row: int) -> int:
        return self._block.line_of(self._chosen[row])
