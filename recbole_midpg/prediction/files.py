"""Scores of a file's rows, written into another file."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.common.whole_files import require_free_name, written_whole
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.rows import RowSource, open_rows
from recbole_midpg.prediction.scorer import Scorer
from recbole_midpg.prediction.scoring_pass import ScoringPass

SCORE = "score"


@dataclass(frozen=True)
class ScoredFile:
    """What a file of rows held.

    Attributes:
        rows: how many there were.
        counts: which values of each column training has seen, see :meth:`Scorer.counts`.
    """

    rows: int
    counts: dict[str, ValueCounts]


def score_file(
    scorer: Scorer,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    keep: Sequence[str] = (),
    show_progress: bool | None = None,
) -> ScoredFile:
    """Score the rows of a file, in its order, whatever its length.

    Args:
        scorer: gives the scores.
        source: a ``.csv`` or ``.inter`` file.
        target: the CSV file to write, whole or not at all: a line a row of ``source``.
        keep: columns of ``source`` that are copied before the column ``score``.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Returns:
        What the file held; nothing is logged of it.

    Raises:
        UsageError: a file cannot be read or written, or a line, column or value is not allowed.
    """
    separator = scorer.scoring.config["field_separator"]
    with open_rows(source, scorer.fields, separator) as file:
        return score_rows(scorer, file, target, keep, show_progress)


def score_rows(
    scorer: Scorer,
    source: RowSource,
    target: str | os.PathLike[str],
    keep: Sequence[str] = (),
    show_progress: bool | None = None,
) -> ScoredFile:
    """Score the rows of an open file; see :func:`score_file`.

    Args:
        scorer: gives the scores.
        source: the file.
        target: the CSV file to write.
        keep: columns of ``source`` that are copied before the column ``score``.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.
    """
    require_free_name(Path(target), True, [("the input", source.path)])
    scoring = ScoringPass(scorer, source, show_progress)
    _check_kept(source, keep)
    with (
        written_whole([Path(target)]) as (part,),
        part.open("w", encoding="utf-8", newline="") as output,
        closing(scoring.blocks()) as blocks,
    ):
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow([*keep, SCORE])
        for block in blocks:
            kept = [block.rows.written[name] for name in keep]
            writer.writerows(zip(*kept, score_texts(block.scores), strict=True))
    return ScoredFile(scoring.rows, scoring.counts)


def _check_kept(file: RowSource, keep: Sequence[str]) -> None:
    for place, name in enumerate(keep):
        if name in keep[:place]:
            raise UsageError(f"--keep: {name!r} is there twice, expected each column once.")
        if name not in file.written_names:
            hint = did_you_mean(name, file.written_names)
            raise UsageError(
                f"--keep: {name!r} is not a column of {file.path}"
                f"{hint or ', expected some of ' + ', '.join(file.written_names) + '.'}"
            )
        if name == SCORE:
            raise UsageError(f"--keep: {name!r} is not allowed, it is the column of the scores.")


def score_texts(scores: NDArray[np.float32]) -> list[str]:
    """Scores as the shortest texts that are read back as the same float32."""
    return scores.astype("U").tolist()
