"""One pass over a file's rows that scores them, and counts what they hold."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar
from recbole_midpg.common.errors import UsageError
from recbole_midpg.loading.column_encoding import BadValueError
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.rows import RowBlock, RowSource, first_line
from recbole_midpg.prediction.scorer import Scorer

# Rows in memory at a time, rounded to whole batches.
_BLOCK_ROWS = 1 << 15


@dataclass(frozen=True)
class ScoredBlock:
    """Some rows, scored.

    Attributes:
        rows: the rows.
        encoded: what the model read of them, see :meth:`Scorer.encode`.
        scores: the probability of each row's label being 1, ``(rows,)``.
    """

    rows: RowBlock
    encoded: dict[str, Tensor]
    scores: NDArray[np.float32]


class ScoringPass:
    """Scores the rows of an open file in its order, whatever its length.

    Args:
        scorer: gives the scores.
        source: the file.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Attributes:
        rows: how many rows there were so far.
        counts: which values of each column training has seen, see :meth:`Scorer.counts`.

    Raises:
        UsageError: the model reads a column that the file does not have.
    """

    def __init__(
        self, scorer: Scorer, source: RowSource, show_progress: bool | None = None
    ) -> None:
        try:
            scorer.check(source.names)
        except UsageError as error:
            raise UsageError(f"{first_line(source)}: {error}") from error
        self.rows = 0
        self.counts = {name: ValueCounts() for name in scorer.fields if name in source.names}
        self._scorer, self._source, self._show_progress = scorer, source, show_progress

    def blocks(self) -> Generator[ScoredBlock, None, None]:
        """Read and score all rows, a block of whole batches at a time.

        Raises:
            UsageError: a line or a value is not allowed, or the GPU fails.
        """
        size = self._scorer.batch_size
        progress = ProgressBar("scoring", self._show_progress)
        try:
            for block in self._source.blocks(max(1, _BLOCK_ROWS // size) * size):
                encoded = self._encoded(block)
                for name, of_block in self._scorer.counts(block.columns, encoded).items():
                    self.counts[name] += of_block
                scores = self._scorer.probabilities(encoded)
                self.rows += len(scores)
                yield ScoredBlock(block, encoded, scores)
                progress.update(self._source.share_read, self.rows)
        finally:
            progress.close()

    def _encoded(self, block: RowBlock) -> dict[str, Tensor]:
        try:
            return self._scorer.encode(block.columns)
        except BadValueError as error:
            where = f"{self._source.path}, {self._source.place} {block.line_of(error.row)}"
            raise UsageError(f"{where}, {error.problem}") from error
