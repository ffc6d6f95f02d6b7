"""What a generated dataset declares: its raw format, its sizes and how its rows are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts import Converter
from recbole_midpg.common.errors import UsageError

CHUNK_ROWS = 1 << 16
"""Rows that are turned into text at a time."""


class TruthModel(Protocol):
    """What a model of true probabilities says of the scenarios."""

    scenario_field: str

    @property
    def similarity(self) -> NDArray[Any]:
        """How alike the scenarios are, ``(S, S)``, 1 for the same."""


@dataclass(frozen=True)
class Chunk:
    """Some rows, in the order of the raw file.

    Attributes:
        lines: the raw lines, without line feeds.
        probability: the true probability of each row's label, ``(rows,)``.
        label: the label of each row, ``(rows,)``, 0 or 1.
    """

    lines: list[str]
    probability: NDArray[Any]
    label: NDArray[Any]


@dataclass(frozen=True)
class GeneratedRows:
    """All rows of a set of some size, and the model of their labels.

    Attributes:
        scenarios: the scenarios' names, in the order of the model's similarity matrix.
        model: the model of the true probabilities.
        chunks: the rows; can be run through once.
    """

    scenarios: tuple[str, ...]
    model: TruthModel
    chunks: Iterator[Chunk]


@dataclass(frozen=True)
class GeneratedSet:
    """A dataset that can be generated.

    Attributes:
        converter: from its raw file to atomic files: that of the real set under another name.
        smallest: the fewest rows that can be made.
        largest: the most, ``None`` for as many as memory holds.
        make: from a number of rows and a seed to the rows.
    """

    converter: Converter
    smallest: int
    largest: int | None
    make: Callable[[int, int], GeneratedRows]

    @property
    def published_rows(self) -> int:
        """The rows of the real set, and of the generated one by default."""
        return self.converter.published["rows"]

    def check_rows(self, rows: int | None) -> int:
        """The rows to be made, of what a user asks for; ``None`` stands for the published size.

        Raises:
            UsageError: so many cannot be made.
        """
        rows = self.published_rows if rows is None else rows
        largest = float("inf") if self.largest is None else self.largest
        if not self.smallest <= rows <= largest:
            limit = "" if self.largest is None else f" and at most {self.largest:,}"
            raise UsageError(
                f"rows: {rows:,} is not allowed for {self.converter.name}, "
                f"expected at least {self.smallest:,}{limit}."
            )
        return rows
