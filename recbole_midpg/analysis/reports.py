"""Reading what runs and benchmarks have left: reports of single runs, and tables of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.report_files import RUN_FORMAT, TABLE_FORMAT, read_report_file


@dataclass(frozen=True)
class FinishedEpoch:
    """An epoch of a training.

    Attributes:
        epoch: its number, from 0.
        loss: the training loss by term.
        valid_auc: ``None`` where it was not evaluated, or the rows are of one class.
    """

    epoch: int
    loss: dict[str, float]
    valid_auc: float | None


@dataclass(frozen=True)
class FinishedRun:
    """What the report beside a run's checkpoint says of it.

    Attributes:
        path: the report's file.
        model: the model's name.
        dataset: the dataset's name.
        config: all config values.
        epochs: the training, epoch by epoch.
        rows_of_scenarios: how many rows of the test split each scenario has.
    """

    path: str
    model: str
    dataset: str
    config: dict[str, Any]
    epochs: list[FinishedEpoch]
    rows_of_scenarios: dict[str, int]


def read_run(path: str | Path) -> FinishedRun:
    """Read a run's report.

    Raises:
        UsageError: there is no such file, or it holds no report of a run.
    """
    content = read_report_file(path, RUN_FORMAT, "report of a run")
    try:
        return FinishedRun(
            path=str(path),
            model=str(content["model"]),
            dataset=str(content["dataset"]),
            config=dict(content["config"]),
            epochs=[_read_epoch(epoch) for epoch in content["epochs"]],
            rows_of_scenarios={
                str(scenario["name"]): int(scenario["rows"]) for scenario in content["scenarios"]
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, "report of a run", error) from error


def _read_epoch(epoch: dict[str, Any]) -> FinishedEpoch:
    area = epoch["valid"].get("auc")
    return FinishedEpoch(
        int(epoch["epoch"]),
        {name: float(value) for name, value in epoch["loss"].items()},
        float(area) if area is not None and isfinite(area) else None,
    )


@dataclass(frozen=True)
class ScenarioTrial:
    """A trial's test AUC in each scenario; scenarios whose rows are of one class are left out."""

    seed: int
    auc: dict[str, float]


@dataclass(frozen=True)
class BenchmarkTable:
    """A benchmark's table.

    Attributes:
        dataset: the dataset's name.
        scenarios: names, in the order of the first trial that has them.
        rows: how many test rows each scenario has, in each trial of each model.
        models: the trials of each model, those that failed left out.
    """

    dataset: str
    scenarios: list[str]
    rows: dict[str, list[int]]
    models: dict[str, list[ScenarioTrial]]


def read_table(path: str | Path) -> BenchmarkTable:
    """Read a benchmark's ``table.json``.

    Raises:
        UsageError: there is no such file, or it holds no table of a benchmark.
    """
    content = read_report_file(path, TABLE_FORMAT, "table of a benchmark")
    try:
        rows: dict[str, list[int]] = {}
        models: dict[str, list[ScenarioTrial]] = {}
        for model in content["models"]:
            trials = models.setdefault(str(model["model"]), [])
            for trial in model["trials"]:
                if trial["problem"]:
                    continue
                entries = trial["scenarios"]
                for entry in entries:
                    rows.setdefault(str(entry["name"]), []).append(int(entry["rows"]))
                auc = {str(entry["name"]): entry["auc"] for entry in entries}
                known = {name: float(value) for name, value in auc.items() if value is not None}
                trials.append(ScenarioTrial(int(trial["seed"]), known))
        return BenchmarkTable(str(content["dataset"]), list(rows), rows, models)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, "table of a benchmark", error) from error


def distinct_labels(paths: Sequence[str | Path]) -> list[str]:
    """Name files in a figure: by their stem, or as they were given where stems are the same."""
    stems = [Path(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _damaged(path: str | Path, kind: str, error: Exception) -> UsageError:
    return UsageError(
        f"{kind} {str(path)!r}: an entry is missing or of another type "
        f"({type(error).__name__}: {error})."
    )
