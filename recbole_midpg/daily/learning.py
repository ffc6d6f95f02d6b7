"""From a model and a file of new rows to the model that has learned from them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_midpg.common.errors import UsageError
from recbole_midpg.daily.learning_state import (
    LearningState,
    SeenFile,
    digest_of,
)
from recbole_midpg.daily.new_rows import read_new_rows
from recbole_midpg.integration.run.continuing import learn_rows


@dataclass(frozen=True)
class Learned:
    """What a file was for a model.

    Attributes:
        state: the model that has learned from it.
        added: how many new tokens each field got, of those that got some.
        rejected: how many bad lines were left out.
        first_rejected: what is wrong with the first of them.
        on_unused: a sentence on the file's columns that are not used, where there are some.
    """

    state: LearningState
    added: dict[str, int]
    rejected: int
    first_rejected: str
    on_unused: str | None = None

    def text(self) -> str:
        """What was learned, and what was left out, a line each."""
        file = self.state.seen[-1]
        tokens = ", ".join(f"{count:,} of {name}" for name, count in self.added.items())
        lines = [f"{file.name}: {file.rows:,} rows learned, new tokens: {tokens or 'none'}."]
        if self.on_unused is not None:
            lines.insert(0, self.on_unused)
        if self.rejected:
            lines.append(
                f"warning: {self.rejected:,} lines of {file.name} are bad and were left out, the "
                f"first one: {self.first_rejected}"
            )
        return "\n".join(lines)


def learn_file(
    state: LearningState,
    path: str,
    scores: list[dict[str, Any]] | None = None,
    show_progress: bool | None = None,
    on_error: str | None = None,
) -> Learned:
    """Train a model once on the rows of a file, in their order.

    Args:
        state: the model so far; it stays as it is.
        path: a file as ``predict`` takes it, with the label.
        scores: what the state keeps of how well the rows were predicted; nothing by default.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.
        on_error: see :func:`~recbole_midpg.daily.new_rows.read_new_rows`.

    Raises:
        UsageError: the file cannot be learned from, or was already; see
            :func:`~recbole_midpg.daily.new_rows.read_new_rows`.
    """
    digest = digest_of(path)
    require_unseen(state, path, digest)
    new = read_new_rows(state.scoring, path, show_progress, on_error)
    require_later(state, path, new.times.first)
    if digest_of(path) != digest:
        raise UsageError(f"{path}: it has changed while it was read, expected a file at rest.")
    bar = sys.stderr.isatty() if show_progress is None else show_progress
    number = 1 + len(state.seen)
    scoring, optimizer = learn_rows(state.scoring, state.optimizer, new.rows, number, bar)
    file = SeenFile(
        Path(path).name,
        digest,
        new.n_rows,
        new.times.first,
        new.times.last,
        scores or [],
    )
    seen = (*state.seen, file)
    after = replace(state, scoring=scoring, optimizer=optimizer, seen=seen)
    # Without the rows: they need not stay in memory beside those of the next file.
    return Learned(after, new.added, new.rejected, new.first_rejected, new.on_unused)


def require_unseen(state: LearningState, path: str, digest: str) -> None:
    """Check that a file's bytes were not learned from already.

    Raises:
        UsageError: they were.
    """
    for file in state.seen:
        if file.sha256 == digest and file.rows:
            raise UsageError(
                f"{path}: its {file.rows:,} rows were learned already, as {file.name}, expected a "
                "file that the checkpoint has not seen."
            )


def require_later(state: LearningState, path: str, first: float | None) -> None:
    """Check that a file's rows do not begin before those that were learned last.

    Raises:
        UsageError: they do.
    """
    before = next((file for file in reversed(state.seen) if file.first is not None), None)
    if first is not None and before is not None and first < (before.first or 0.0):
        raise UsageError(
            f"{path}: its rows begin at {first:.0f}, before those of {before.name}, which was "
            f"learned already and begins at {before.first:.0f}, expected files in the order of "
            "time."
        )
