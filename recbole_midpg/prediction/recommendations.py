"""The best items for the users of a list or a file, written into another file."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.loading.column_encoding import BadValueError
from recbole_midpg.prediction.encoding import count_columns, read_columns
from recbole_midpg.prediction.files import score_texts
from recbole_midpg.prediction.ranking import SCORE, ItemRanking
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.rows import FileBlock, RowBlock, open_rows

# Lines of a file of items or pairs that are read at a time.
_BLOCK_ROWS = 1 << 15


class Requests(Protocol):
    """Where requests come from: :class:`ListedUsers`, or a file's ``RowFile``."""

    @property
    def path(self) -> str:
        """Their place, for errors."""

    @property
    def place(self) -> str:
        """What a request's number counts, as ``line``."""

    @property
    def names(self) -> Sequence[str]:
        """The names of their columns."""

    @property
    def share_read(self) -> float:
        """The share of them that has been read, in [0, 1]."""

    def blocks(self, rows: int) -> Iterator[RowBlock]:
        """Read them, so many at a time."""


class ListedUsers:
    """Requests that are users alone.

    Args:
        field: the name of the users' column.
        users: their tokens.
    """

    path, place = "users", "user"

    def __init__(self, field: str, users: Sequence[str]) -> None:
        self._field, self._users, self._n_read = field, users, 0
        self.names = [field]

    @property
    def share_read(self) -> float:
        """The share of the users that has been read, in [0, 1]."""
        return self._n_read / len(self._users)

    def blocks(self, rows: int) -> Iterator[RowBlock]:
        """Read the users, so many at a time."""
        for start in range(0, len(self._users), rows):
            block = self._users[start : start + rows]
            self._n_read = start + len(block)
            yield FileBlock({self._field: block}, start)


@dataclass(frozen=True)
class RankedFile:
    """What requests held and what was written for them.

    Attributes:
        requests: how many requests there were.
        rows: how many lines were written.
        counts: which values of each column of the requests training has seen.
    """

    requests: int
    rows: int
    counts: dict[str, ValueCounts]


def rank_for_requests(
    ranking: ItemRanking,
    requests: Requests,
    target: str | os.PathLike[str],
    show_progress: bool | None = None,
) -> RankedFile:
    """Write the best items of each request, in the order of the requests, however many there are.

    Args:
        ranking: ranks the items.
        requests: the users, and what else the model reads of a request.
        target: the CSV file to write, whole or not at all, with the columns of
            :meth:`~recbole_midpg.prediction.scorer.Scorer.top_k`.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Raises:
        UsageError: a file cannot be read or written, or a line, column or value is not allowed.
    """
    try:
        ranking.check(list(requests.names))
    except UsageError as error:
        raise UsageError(f"{requests.path}: {error}") from error
    counts = {name: ValueCounts() for name in read_columns(ranking.scoring, requests.names)}
    n_requests = n_rows = 0
    progress = ProgressBar("ranking", show_progress)
    try:
        with (
            written_whole([Path(target)]) as (part,),
            part.open("w", encoding="utf-8", newline="") as output,
        ):
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow(ranking.columns(requests.names))
            for block in requests.blocks(ranking.requests_at_once):
                encoded = _encoded(ranking, block, requests)
                for name, of_block in count_columns(
                    ranking.scoring, block.columns, encoded
                ).items():
                    counts[name] += of_block
                table = ranking.table(block.columns, encoded)
                table[SCORE] = score_texts(table[SCORE].to_numpy())
                writer.writerows(zip(*(table[name] for name in table), strict=True))
                n_requests += len(next(iter(block.columns.values())))
                n_rows += len(table)
                progress.update(requests.share_read, n_requests)
    finally:
        progress.close()
    return RankedFile(n_requests, n_rows, counts)


def _encoded(ranking: ItemRanking, block: RowBlock, requests: Requests) -> Mapping[str, Any]:
    try:
        return ranking.encode(block.columns)
    except BadValueError as error:
        where = f"{requests.path}, {requests.place} {block.line_of(error.row)}"
        raise UsageError(f"{where}, {error.problem}") from error


@dataclass(frozen=True)
class WholeFile:
    """A file of rows that has been read at once.

    Attributes:
        path: the file.
        place: what a row's number counts, ``line`` or ``row``.
        columns: all columns by name, a value a row.
        blocks: the rows as they were read, which know their lines, and how many each has.
    """

    path: str
    place: str
    columns: dict[str, list[Any]]
    blocks: list[tuple[RowBlock, int]]

    @contextmanager
    def naming_the_line(self) -> Iterator[None]:
        """Say of a value that its column cannot hold where in the file it stands."""
        try:
            yield
        except BadValueError as error:
            where = f"{self.path}, {self.place} {self._line_of(error.row)}"
            raise UsageError(f"{where}, {error.problem}") from error

    def _line_of(self, row: int) -> int:
        for block, n_rows in self.blocks:
            if row < n_rows:
                return block.line_of(row)
            row -= n_rows
        raise IndexError(row)


def read_whole_file(path: str | os.PathLike[str]) -> WholeFile:
    """Read all columns of a file.

    Raises:
        UsageError: it cannot be read, or see :func:`~recbole_midpg.prediction.rows.open_rows`.
    """
    with open_rows(path, {}, "\t") as file:
        columns: dict[str, list[Any]] = {name: [] for name in file.names}
        blocks: list[tuple[RowBlock, int]] = []
        for block in file.blocks(_BLOCK_ROWS):
            for name, texts in block.columns.items():
                columns[name] += texts
            blocks.append((block, len(next(iter(block.columns.values())))))
        return WholeFile(file.path, file.place, columns, blocks)
