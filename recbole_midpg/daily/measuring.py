"""How well a day's rows were predicted before they were learned: overall and by scenario."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.daily.learning_state import SeenFile
from recbole_midpg.daily.new_rows import Predictions
from recbole_midpg.evaluation.scenario_table import scenario_table

EVERYTHING = "(all)"
"""The name of the line of all scenarios."""
_COLUMNS = ("day", "scenario", "rows", "positives", "positive_rate", "auc", "logloss", "pcoc")


def scores_of(predictions: Predictions) -> list[dict[str, Any]]:
    """Measure predictions.

    Returns:
        A line for all rows, named :data:`EVERYTHING`, then one for each scenario, those of most
        rows first: the attributes of
        :class:`~recbole_midpg.evaluation.scenario_table.ScenarioRow` as plain values. A day without
        a row has the first line alone, in which nothing is defined.
    """
    if not len(predictions.labels):
        nothing = dict.fromkeys(("cvr", "auc", "logloss", "pcoc"))
        return [{"name": EVERYTHING, "rows": 0, "positives": 0, **nothing}]
    names = predictions.names or ["all"]
    table = scenario_table(predictions.labels, predictions.scores, predictions.scenarios, names)
    scenarios = table.by_size().scenarios if predictions.names else ()
    everything = {**asdict(table.everything), "name": EVERYTHING}
    return [everything, *(asdict(row) for row in scenarios)]


def write_days(days: Sequence[SeenFile], path: Path) -> None:
    """Write a CSV file with a line for each day and scenario, whole or not at all.

    Args:
        days: files with scores, in their order.
        path: the file.

    Raises:
        UsageError: it cannot be written.
    """
    with written_whole([path]) as (part,), part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for day in days:
            for line in day.scores:
                values = [line[key] for key in ("cvr", "auc", "logloss", "pcoc")]
                writer.writerow([day.name, line["name"], line["rows"], line["positives"], *values])


def table_of_days(days: Sequence[SeenFile]) -> str:
    """A text of a line for each day, and one for the mean of the days."""
    keys = ("auc", "logloss", "pcoc")
    lines = [
        [day.name, line["rows"], line["positives"], *(line[key] for key in keys)]
        for day in days
        for line in day.scores[:1]
    ]
    means = [_mean([line[key] for day in days for line in day.scores[:1]]) for key in keys]
    totals = [sum(line[place] for line in lines) for place in (1, 2)]
    headers = ["day", "rows", "positives", "AUC", "LogLoss", "PCOC"]
    return tabulate(
        [*lines, ["mean of days", *totals, *means]],
        headers=headers,
        floatfmt=".4f",
        intfmt=",",
        missingval="-",
    )


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def by_scenario(days: Sequence[SeenFile]) -> dict[str, list[dict[str, Any] | None]]:
    """Each scenario's line of every day, ``None`` where it has no rows; those of most rows first.

    The line of all rows comes before them.
    """
    names = dict.fromkeys(line["name"] for day in days for line in day.scores)
    lines = {
        name: [next((x for x in day.scores if x["name"] == name), None) for day in days]
        for name in names
    }
    totals = {name: sum(x["rows"] for x in of if x is not None) for name, of in lines.items()}
    ranked = sorted(lines, key=lambda name: (name != EVERYTHING, -totals[name]))
    return {name: lines[name] for name in ranked}
