"""What a trained model does on the labelled rows of a file: overall, and in each scenario.

The rows are read a block at a time; of each one its label, its score and its groups are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.evaluation.bootstrap_intervals import (
    GroupEstimates,
    estimate_by_group,
)
from recbole_midpg.evaluation.doubts import doubts
from recbole_midpg.evaluation.resampling import CONFIDENCE
from recbole_midpg.loading.atomic_reader import MISSING
from recbole_midpg.loading.column_encoding import TokenEncoder
from recbole_midpg.models.entire_space import EntireSpaceModel
from recbole_midpg.prediction.labels import (
    LabelColumn,
    RowsWhere,
    find_label,
    missing_column,
)
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.rows import RowSource
from recbole_midpg.prediction.scorer import Scorer
from recbole_midpg.prediction.scoring_pass import ScoredBlock, ScoringPass
from recbole_midpg.prediction.sources import condition_of_training

EVALUATION_FORMAT = "recbole-midpg evaluation 1"
METRICS = ("auc", "logloss", "pcoc")
UNKNOWN, MISSING_NAME = "(unknown to training)", "(missing)"
"""The scenarios of rows whose scenario training has not seen, and of rows that have none."""

_MISSING_TEXTS = frozenset(MISSING)


@dataclass(frozen=True)
class Resampling:
    """How the intervals come about.

    Attributes:
        resamples: how often rows are drawn; 0 gives no intervals.
        seed: of the draws.
        cluster: the column whose values are drawn with all their rows, as ``user_id``; ``None``
            draws single rows.
    """

    resamples: int = 1000
    seed: int = 2020
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise UsageError(f"resamples: {self.resamples} is not allowed, expected at least 0.")


@dataclass(frozen=True)
class Evaluation:
    """A model on a labelled file.

    Attributes:
        path: the file.
        label: which rows are positive.
        given: the column that is 1 in the rows that were evaluated; ``None`` where all were.
        passed_over: how many rows are not 1 there.
        rejected: how many bad lines were left out.
        scenario_field: the field that names a row's scenario; ``None`` where rows have none.
        resampling: how the intervals came about.
        clusters: how many values of its column there are.
        whole: all rows.
        scenarios: the name of each scenario that has rows, and its rows, the largest first.
        counts: which values of each column training has seen.
        doubts: what of the scores cannot be right.
    """

    path: str
    label: LabelColumn
    given: str | None
    passed_over: int
    rejected: int
    scenario_field: str | None
    resampling: Resampling
    clusters: int | None
    whole: GroupEstimates
    scenarios: tuple[tuple[str, GroupEstimates], ...]
    counts: Mapping[str, ValueCounts]
    doubts: tuple[str, ...]

    @property
    def without_auc(self) -> int:
        """How many scenarios have rows of one class only."""
        return sum(not isfinite(scenario.auc.value) for _, scenario in self.scenarios)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values; ``None`` where a number is not defined."""
        return {
            "format": EVALUATION_FORMAT,
            "input": self.path,
            "label": self.label.name,
            "threshold": self.label.threshold,
            "given": self.given,
            "rows_not_given": self.passed_over,
            "rejected": self.rejected,
            "scenario_field": self.scenario_field,
            **asdict(self.resampling),
            "clusters": self.clusters,
            "confidence": CONFIDENCE,
            "all": _plain(self.whole),
            "scenarios": [{"name": name, **_plain(group)} for name, group in self.scenarios],
            "values": {
                name: {"known": of.known, "unknown": of.unknown, "missing": of.missing}
                for name, of in self.counts.items()
            },
        }


def _plain(group: GroupEstimates) -> dict[str, Any]:
    metrics = {name: asdict(getattr(group, name)) for name in METRICS}
    return {
        "rows": group.rows,
        "positives": group.positives,
        **{name: _finite(values) for name, values in metrics.items()},
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if isfinite(value) else None for name, value in values.items()}


def evaluate_rows(
    scorer: Scorer,
    source: RowSource,
    label: str | None = None,
    given: str | None = None,
    resampling: Resampling | None = None,
    show_progress: bool | None = None,
) -> Evaluation:
    """Evaluate a model on the rows of an open file.

    Args:
        scorer: the model.
        source: the file, with a label in each row.
        label: the column of labels; by default training's, see
            :func:`~recbole_midpg.prediction.labels.find_label`, and for the task CTR the clicks.
        given: a column of 0 and 1: only rows with 1 are evaluated, as the purchases of clicks; by
            default the outcome that training's rows had to have, where there was one, and for the
            task CVR the clicks.
        resampling: how intervals are made; by default 1,000 resamples of rows.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Raises:
        UsageError: a column is missing, a label or another value is not allowed, or there is no
            row.
    """
    resampling = resampling or Resampling()
    config = scorer.scoring.config
    label_of_task, given_of_task = _judged_by(scorer, source)
    column = find_label(config, source, label or label_of_task, "--label")
    given = given or given_of_task
    if given is not None and given not in source.names:
        raise missing_column(source, given, "which says what rows are evaluated", "--given")
    if resampling.cluster is not None:
        _require_cluster(scorer, source, resampling.cluster)
    chosen = RowsWhere(source, LabelColumn(given)) if given is not None else source
    scenarios, cluster = _Scenarios(scorer, source.names), resampling.cluster
    labels, scores = [], []
    of_scenarios, of_clusters = _Numbering(), _Numbering()
    scoring = ScoringPass(scorer, chosen, show_progress)
    with closing(scoring.blocks()) as blocks:
        for block in blocks:
            labels.append(column.read(block.rows, source).astype(np.float32))
            scores.append(block.scores)
            if scenarios.field is not None:
                of_scenarios.append(scenarios.of(block))
            if cluster is not None:
                of_clusters.append(block.rows.columns[cluster])
    passed_over = chosen.passed_over if isinstance(chosen, RowsWhere) else 0
    if not scoring.rows:
        which = f" in which {given} is 1" if passed_over else ""
        raise UsageError(f"{source.path}: it has no rows{which}, expected some to evaluate.")
    whole, by_scenario = _estimates(
        np.concatenate(labels),
        np.concatenate(scores),
        of_scenarios.numbers() if scenarios.field is not None else None,
        of_clusters.numbers() if cluster is not None else None,
        resampling,
        show_progress,
    )
    named = zip(of_scenarios.values, by_scenario, strict=True)
    return Evaluation(
        path=source.path,
        label=column,
        given=given,
        passed_over=passed_over,
        rejected=source.rejected,
        scenario_field=scenarios.field,
        resampling=resampling,
        clusters=len(of_clusters.values) if cluster is not None else None,
        whole=whole,
        scenarios=tuple(sorted(named, key=lambda pair: (-pair[1].rows, pair[0]))),
        counts=scoring.counts,
        doubts=tuple(doubts(np.concatenate(labels), np.concatenate(scores))),
    )


def _require_cluster(scorer: Scorer, source: RowSource, name: str) -> None:
    """Check the column whose values are drawn.

    Raises:
        UsageError: there is none, or it is one of numbers, of which nearly every row has its own.
    """
    config, schema = scorer.scoring.config, scorer.log_schema
    numbers = [config["TIME_FIELD"], config["LABEL_FIELD"], *(config["threshold"] or {})]
    if schema is not None and schema.given is not None:
        numbers.append(schema.given.field)
    types = dict.fromkeys(numbers, "float") | ({} if schema is None else schema.types)
    kind = (types | scorer.fields).get(name, "token")
    if kind != "token":
        raise UsageError(f"--cluster: {name!r} is a {kind} field, expected a token field.")
    if name not in source.names:
        no_field = " with a field in the dataset" * (name in source.written_names)
        raise UsageError(
            f"--cluster: {name!r} is not a column{no_field} of {source.path}"
            f"{expected_some_of(source.fields_in_file, name)}"
        )


def _judged_by(scorer: Scorer, source: RowSource) -> tuple[str | None, str | None]:
    """What a score is judged by where nothing is named.

    Returns:
        The label, ``None`` for that of training, and the column that is 1 in the rows that count,
        ``None`` for all.
    """
    model, condition = scorer.scoring.model, condition_of_training(scorer, source)
    if isinstance(model, EntireSpaceModel) and model.task == "CTR":
        return model.click_field, condition
    if isinstance(model, EntireSpaceModel) and model.task == "CVR":
        return None, model.click_field
    return None, condition


def _estimates(
    labels: NDArray[np.float32],
    scores: NDArray[np.float32],
    scenarios: NDArray[np.int64] | None,
    clusters: NDArray[np.int64] | None,
    resampling: Resampling,
    show_progress: bool | None,
) -> tuple[GroupEstimates, list[GroupEstimates]]:
    """Measure all rows, and those of each scenario; shows how far the draws are."""
    groupings = [np.zeros(len(labels), np.int64)]
    progress = ProgressBar("intervals, rows drawn", show_progress)
    try:
        (whole,), *others = estimate_by_group(
            labels,
            scores,
            groupings if scenarios is None else [*groupings, scenarios],
            clusters=clusters,
            resamples=resampling.resamples,
            seed=resampling.seed,
            report=lambda done: progress.update(done / resampling.resamples, done * len(labels)),
        )
    finally:
        progress.close()
    return whole, others[0] if others else []


class _Scenarios:
    """The names of rows' scenarios.

    Args:
        scorer: knows the scenarios that training has seen.
        names: the columns of the file.

    Attributes:
        field: the field that names them; ``None`` where neither the file nor the features of users
            and items have it.
    """

    def __init__(self, scorer: Scorer, names: Sequence[str]) -> None:
        field = scorer.scoring.config["scenario_id_field"]
        scored = scorer.scoring.fields.scored.get(field)
        self.field: str | None = field if scored is not None or field in names else None
        self._by_id: NDArray[np.object_] | None = None
        if scored is not None and isinstance(scored.encoder, TokenEncoder):
            self._by_id = np.array(scored.encoder.tokens.texts(), dtype=object)
            # Without a missing value [PAD] is that of an unknown user or item, as its features.
            self._by_id[[0, scored.encoder.unknown]] = UNKNOWN

    def of(self, block: ScoredBlock) -> NDArray[np.object_]:
        """The scenario of each row; those that training has not seen are one."""
        field = str(self.field)
        texts = block.rows.columns.get(field)
        if self._by_id is None:
            names = np.array(texts, dtype=object)
        else:
            names = self._by_id[block.encoded[field].numpy()]
        if texts is not None:
            names[[text in _MISSING_TEXTS for text in texts]] = MISSING_NAME
        return names


class _Numbering:
    """Numbers the distinct values of a column from 0, in the order in which they come.

    Attributes:
        values: the number of each value.
    """

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self._parts: list[NDArray[np.int64]] = []

    def append(self, column: Sequence[str] | NDArray[np.object_]) -> None:
        """Append rows."""
        codes, distinct = pd.factorize(np.asarray(column, dtype=object), use_na_sentinel=False)
        numbers = [self.values.setdefault(str(value), len(self.values)) for value in distinct]
        self._parts.append(np.array(numbers, np.int64)[codes])

    def numbers(self) -> NDArray[np.int64]:
        """The number of each row's value, ``(B,)``."""
        return np.concatenate(self._parts)
