"""Labelled rows of a file: for a model to learn from, or to be measured on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar
from recbole_midpg.common.errors import NoRowsError, UsageError
from recbole_midpg.integration.dataset.compact_interaction import narrow
from recbole_midpg.integration.run.continuing import EncodedRows, read_sequences
from recbole_midpg.integration.scoring.scoring import ScoringModel
from recbole_midpg.loading.column_encoding import BadValueError, TokenEncoder
from recbole_midpg.loading.growing_tokens import GrowingTokens
from recbole_midpg.prediction.labels import LabelColumn, find_label, missing_column
from recbole_midpg.prediction.rows import RowBlock, RowSource, first_line
from recbole_midpg.prediction.scorer import Scorer
from recbole_midpg.prediction.sources import fields_of_clicks, open_source, rows_of_training
from recbole_midpg.prediction.unused import on_unused_of_rows

_BLOCK_ROWS = 1 << 15
# By which rows of several users and items can hold one token in two fields.
_SHARED_TOKENS = ("alias_of_user_id", "alias_of_item_id", "alias_of_entity_id")


@dataclass(frozen=True)
class TimeSpan:
    """The earliest and the latest time of rows, ``None`` where they have none."""

    first: float | None = None
    last: float | None = None

    def with_times(self, times: Sequence[float]) -> TimeSpan:
        """The span of these times as well."""
        known = [*times, *(time for time in (self.first, self.last) if time is not None)]
        return TimeSpan(min(known), max(known)) if known else self


@dataclass(frozen=True)
class NewRows:
    """A file of labelled rows, encoded for a model that knows all of their tokens.

    Attributes:
        rows: the rows.
        times: their span.
        added: how many new tokens each field got, of those that got some.
        rejected: how many bad lines were left out.
        first_rejected: what is wrong with the first of them.
        on_unused: a sentence on the columns that are not used, where there are some.
    """

    rows: EncodedRows
    times: TimeSpan
    added: dict[str, int]
    rejected: int
    first_rejected: str
    on_unused: str | None

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.rows.labels.values())))


def read_new_rows(
    scoring: ScoringModel,
    path: str | os.PathLike[str],
    show_progress: bool | None,
    on_error: str | None = None,
) -> NewRows:
    """Read a file of labelled rows, whose tokens a model need not know.

    All rows are in memory at once, in as few bytes as their ids take.

    Args:
        scoring: the model and its fields, which stay as they are.
        path: a file as ``predict`` takes it, with the label.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.
        on_error: what is done at a bad line of a log, ``stop`` or ``skip``; ``None`` for ``stop``.

    Raises:
        UsageError: the file cannot be read or has no row, or a line, column, label or value is not
            allowed.
    """
    _require_own_tokens(scoring.config)
    scored = scoring.fields.scored
    growing = {
        name: GrowingTokens(encoder)
        for name in scored
        if isinstance(encoder := scored[name].encoder, TokenEncoder)
    }
    encoders = {name: growing.get(name, scored[name].encoder) for name in scored}
    with _labelled(scoring, path, on_error) as (source, outcomes):
        unused = on_unused_of_rows(Scorer(scoring), source, outcomes)
        given = [name for name in scored if name in source.names]
        parts: dict[str, list[Tensor]] = {name: [] for name in given}
        of_rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in outcomes}
        times = TimeSpan()
        for block in _blocks(source, f"reading {source.path}", show_progress):
            for name, outcome in outcomes.items():
                of_rows[name].append(outcome.read(block, source).astype(np.float32))
            times = times.with_times(_times(scoring.config, block))
            for name in given:
                with _naming_the_line(block, source):
                    encoded = encoders[name].encode(block.columns[name])
                parts[name].append(narrow(torch.from_numpy(encoded)))
    labels = {name: np.concatenate(of) for name, of in of_rows.items() if of}
    if not labels:
        raise UsageError(f"{os.fspath(path)}: it has no row, expected rows to learn from.")
    grown = {
        name: replace(
            scored[name],
            encoder=tokens.grown(),
            size=scored[name].size + tokens.added,
        )
        for name, tokens in growing.items()
    }
    columns = {
        name: read_sequences(torch.cat(of_column), grown.get(name, scored[name]).encoder)
        for name, of_column in parts.items()
    }
    fields = replace(scoring.fields, scored={**scored, **grown})
    tensors = {name: torch.from_numpy(values) for name, values in labels.items()}
    rows = EncodedRows(fields, columns, tensors)
    added = {name: tokens.added for name, tokens in growing.items() if tokens.added}
    return NewRows(rows, times, added, source.rejected, source.first_rejected, unused)


def _require_own_tokens(config: Any) -> None:
    for key in _SHARED_TOKENS:
        if config[key]:
            raise UsageError(
                f"{key}: {config[key]} share their tokens, to which none can be added, expected "
                "fields of their own tokens."
            )


@contextmanager
def _labelled(
    scoring: ScoringModel, path: str | os.PathLike[str], on_error: str | None
) -> Iterator[tuple[RowSource, dict[str, LabelColumn]]]:
    """Open a file of labelled rows, whose columns are those that the model reads.

    Yields:
        The rows that training would have had, and the outcomes that the model learns, by the name
        that the model has for each: the label, and the click of a model of both.
    """
    scorer, config = Scorer(scoring), scoring.config
    clicks = fields_of_clicks(scorer)
    besides = [name for name in (config["TIME_FIELD"], *clicks) if name is not None]
    file = os.fspath(path)
    with open_source(scorer, file, None, on_error, besides=besides, labelled=True) as source:
        for name in clicks:
            if name not in source.names:
                raise missing_column(source, name, "the clicks to learn from")
        outcomes = {config["LABEL_FIELD"]: find_label(config, source)}
        outcomes |= {name: LabelColumn(name) for name in clicks}
        try:
            scorer.check(source.names)
        except UsageError as error:
            raise UsageError(f"{first_line(source)}: {error}") from error
        yield rows_of_training(scorer, source), outcomes


def _blocks(source: RowSource, title: str, show_progress: bool | None) -> Iterator[RowBlock]:
    progress, rows = ProgressBar(title, show_progress), 0
    try:
        for block in source.blocks(_BLOCK_ROWS):
            yield block
            rows += len(next(iter(block.columns.values())))
            progress.update(source.share_read, rows)
    except NoRowsError:  # a day on which nothing happened
        return
    finally:
        progress.close()


@contextmanager
def _naming_the_line(block: RowBlock, source: RowSource) -> Iterator[None]:
    try:
        yield
    except BadValueError as error:
        where = f"{source.path}, {source.place} {block.line_of(error.row)}"
        raise UsageError(f"{where}, {error.problem}") from error


def _times(config: Any, block: RowBlock) -> list[float]:
    """The least and the greatest time of some rows, where they have the time field."""
    texts = block.columns.get(config["TIME_FIELD"])
    if texts is None:
        return []
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64)
    finite = numbers[np.isfinite(numbers)]
    return [float(finite.min()), float(finite.max())] if len(finite) else []


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for labelled rows.

    Attributes:
        labels: ``(N,)``, 0 or 1.
        scores: probabilities, ``(N,)``.
        scenarios: the number of each row's scenario, ``(N,)``; all 0 for a model without.
        names: the scenarios' names by number, as the rows have them; empty for a model without.
    """

    labels: NDArray[np.float32]
    scores: NDArray[np.float32]
    scenarios: NDArray[np.int64]
    names: list[str]


def predict_rows(
    scoring: ScoringModel,
    path: str | os.PathLike[str],
    show_progress: bool | None,
    on_error: str | None = None,
) -> Predictions:
    """Score the labelled rows of a file, whose tokens a model need not know.

    Args:
        scoring: the model and its fields.
        path: see :func:`read_new_rows`.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.
        on_error: see :func:`read_new_rows`.

    Raises:
        UsageError: see :func:`read_new_rows`; a file without a row is none.
    """
    scorer = Scorer(scoring)
    field = scoring.config["scenario_id_field"]
    numbers: dict[str, int] = {}
    labels, scores, scenarios = ([np.zeros(0, dtype)] for dtype in (np.float32, np.float32, int))
    with _labelled(scoring, path, on_error) as (source, outcomes):
        label = outcomes[scoring.config["LABEL_FIELD"]]
        for block in _blocks(source, f"scoring {source.path}", show_progress):
            labels.append(label.read(block, source).astype(np.float32))
            with _naming_the_line(block, source):
                encoded = scorer.encode(block.columns)
            scores.append(scorer.probabilities(encoded))
            names = _scenario_names(scoring, field, block.columns, encoded)
            of_rows = [numbers.setdefault(name, len(numbers)) for name in names]
            scenarios.append(np.array(of_rows, int) if names else np.zeros(len(labels[-1]), int))
    return Predictions(
        np.concatenate(labels), np.concatenate(scores), np.concatenate(scenarios), list(numbers)
    )


def _scenario_names(
    scoring: ScoringModel,
    field: str | None,
    columns: Mapping[str, Sequence[Any] | NDArray[np.object_]],
    encoded: Mapping[str, Tensor],
) -> list[str]:
    """The scenario of each row as it is written, or as training had it for a user's or an item's.

    Returns:
        A name a row; none where the model has no scenarios.
    """
    if field is None or field not in scoring.fields.scored:
        return []
    if field in columns:
        return [text or "(missing)" for text in columns[field]]
    encoder: Any = scoring.fields.scored[field].encoder
    texts = encoder.tokens.texts()
    return [texts[token] if token else "(unknown)" for token in encoded[field].tolist()]
