"""Two finished runs on the same test rows, scenario by scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.report_files import RUN_FORMAT, TABLE_FORMAT, read_json, require_format
from recbole_midpg.evaluation.paired_bootstrap import (
    GroupDifference,
    PairedDifference,
    compare_by_group,
)
from recbole_midpg.evaluation.resampling import CONFIDENCE
from recbole_midpg.evaluation.row_keys import KEYS_OF_ROWS
from recbole_midpg.integration.scoring.scored_rows import ScoredRows, TokenColumn, read_scored_rows

COMPARISON_FORMAT = "recbole-midpg comparison 1"

_METRICS = ("auc", "logloss")


@dataclass(frozen=True)
class ComparedRun:
    """A run of the two.

    Attributes:
        path: its report.
        report: what that holds.
    """

    path: str
    report: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.report["model"])

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.report["dataset"])

    def __str__(self) -> str:
        return f"{self.model}, {self.path}"


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same test rows.

    Attributes:
        first: the one.
        second: the other.
        scenario_field: the field that names a row's scenario; ``None`` without scenarios.
        cluster_field: the field whose values were drawn; ``None`` where single rows were.
        clusters: how many values of it there are.
        resamples: how often rows were drawn.
        seed: of the draws.
        whole: all rows.
        scenarios: the name of each scenario that has rows, and its rows, the largest first.
    """

    first: ComparedRun
    second: ComparedRun
    scenario_field: str | None
    cluster_field: str | None
    clusters: int | None
    resamples: int
    seed: int
    whole: GroupDifference
    scenarios: tuple[tuple[str, GroupDifference], ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values; ``None`` where a number is not defined."""
        return {
            "format": COMPARISON_FORMAT,
            "dataset": self.first.dataset,
            "a": {"report": self.first.path, "model": self.first.model},
            "b": {"report": self.second.path, "model": self.second.model},
            "scenario_field": self.scenario_field,
            "cluster": self.cluster_field,
            "clusters": self.clusters,
            "resamples": self.resamples,
            "seed": self.seed,
            "confidence": CONFIDENCE,
            "all": _plain(self.whole),
            "scenarios": [{"name": name, **_plain(scenario)} for name, scenario in self.scenarios],
        }


def compare_runs(
    first: str | Path,
    second: str | Path,
    *,
    cluster: str | None = None,
    resamples: int = 1000,
    seed: int = 2020,
) -> Comparison:
    """Compare two finished runs on their test rows.

    Both checkpoints, which stand beside the reports, score the test split anew. The differences are
    ``second - first``, with intervals by the paired bootstrap: they speak of the test rows only,
    not of what another seed of training would give.

    Args:
        first: the report of a run, the JSON file beside its checkpoint.
        second: that of another run.
        cluster: a token field, as ``user_id``, whose values are drawn with all their rows; single
            rows by default.
        resamples: how often rows are drawn.
        seed: of the draws.

    Returns:
        The comparison, by the scenarios of ``first``, or else of ``second``.

    Raises:
        UsageError: a file is no report of a run, a checkpoint or its dataset is missing, the runs
            were not tested on the same rows, or there is no such field.
    """
    if resamples < 1:
        raise UsageError(f"resamples: {resamples} is not allowed, expected at least 1.")
    runs = _read_run(first), _read_run(second)
    if runs[0].dataset != runs[1].dataset:
        raise UsageError(
            f"{first} is of the dataset {runs[0].dataset} and {second} of {runs[1].dataset}, "
            "expected two runs on the same rows."
        )
    one, other = (read_scored_rows(Path(run.path), run.report) for run in runs)
    _require_same_rows(one, other, *runs)
    groupings = [np.zeros(len(one.labels), np.int64)]
    names: list[str] = []
    with_scenarios = one if one.scenario_field is not None else other
    if with_scenarios.scenario_field is not None:
        groups, names = _groups_of(with_scenarios.column(with_scenarios.scenario_field))
        groupings.append(groups)
    drawn, clusters = (None, None) if cluster is None else _groups_of(one.column(cluster))
    (whole,), *others = compare_by_group(
        one.labels,
        one.scores,
        other.scores,
        groupings,
        clusters=drawn,
        resamples=resamples,
        seed=seed,
    )
    scenarios = list(zip(names, *others, strict=True)) if others else []
    return Comparison(
        *runs,
        scenario_field=with_scenarios.scenario_field,
        cluster_field=cluster,
        clusters=None if clusters is None else len(clusters),
        resamples=resamples,
        seed=seed,
        whole=whole,
        scenarios=tuple(sorted(scenarios, key=lambda named: (-named[1].rows, named[0]))),
    )


def _read_run(path: str | Path) -> ComparedRun:
    kind = "report of a run"
    content = read_json(path, kind)
    if isinstance(content, dict) and content.get("format") == TABLE_FORMAT:
        raise UsageError(
            f"{kind} {str(path)!r}: it is the table of a benchmark, which compares its models over "
            "seeds itself, expected the JSON file beside a checkpoint."
        )
    report = require_format(content, path, RUN_FORMAT, kind)
    wrong = [
        name
        for name, of_type in (("model", str), ("dataset", str), ("config", dict), ("test", dict))
        if not isinstance(report.get(name), of_type)
    ]
    if wrong or not _are_scenarios(report.get("scenarios")):
        name = (wrong or ["scenarios"])[0]
        raise UsageError(f"{kind} {str(path)!r}: its entry {name} is missing or of another type.")
    return ComparedRun(str(path), report)


def _are_scenarios(entries: Any) -> bool:
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("rows"), int) for entry in entries
    )


def _require_same_rows(
    one: ScoredRows, other: ScoredRows, first: ComparedRun, second: ComparedRun
) -> None:
    """Compare labels and the token fields that both runs have loaded, row by row.

    Raises:
        UsageError: they differ; names the config keys that may be the reason.
    """
    problem = _difference_of_rows(one, other)
    if problem is None:
        return
    configs = [run.report["config"] for run in (first, second)]
    values = {key: [config.get(key) for config in configs] for key in KEYS_OF_ROWS}
    reasons = "; ".join(
        f"{key} is {one!r} and {other!r}" for key, (one, other) in values.items() if one != other
    )
    raise UsageError(
        f"{first.path} and {second.path} were not tested on the same rows: {problem}"
        f"{f' ({reasons})' if reasons else ''}."
    )


def _difference_of_rows(one: ScoredRows, other: ScoredRows) -> str | None:
    if len(one.labels) != len(other.labels):
        return f"there are {len(one.labels):,} and {len(other.labels):,}"
    different = np.flatnonzero(one.labels != other.labels)
    if len(different):
        return f"the labels of row {different[0] + 1:,} differ"
    for field in one.of_rows:
        if field in other.of_rows:
            row = one.column(field).first_difference(other.column(field))
            if row is not None:
                return f"the {field} of row {row + 1:,} differs"
    return None


def _groups_of(column: TokenColumn) -> tuple[NDArray[np.int64], list[str]]:
    """Number the tokens that occur, from 0, and name them."""
    ids, groups = np.unique(column.ids, return_inverse=True)
    names = ["missing" if token == 0 else str(column.tokens[token]) for token in ids]
    return groups.reshape(-1), names


def _plain(group: GroupDifference) -> dict[str, Any]:
    return {
        "rows": group.rows,
        "positives": group.positives,
        **{metric: _plain_difference(getattr(group, metric)) for metric in _METRICS},
    }


def _plain_difference(metric: PairedDifference) -> dict[str, float | None]:
    values = {
        "a": metric.first,
        "b": metric.second,
        "difference": metric.difference,
        "low": metric.low,
        "high": metric.high,
    }
    return {name: value if isfinite(value) else None for name, value in values.items()}
