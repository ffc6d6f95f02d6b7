"""What a model does in each scenario, as a table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from recbole_midpg.evaluation.measures import (
    AUC,
    LOG_LOSS,
    POSITIVES,
    PREDICTED_OVER_OBSERVED,
    Column,
    RowGroups,
    all_rows,
    rows_of_groups,
)


@dataclass(frozen=True)
class ScenarioRow:
    """A scenario's line.

    Attributes:
        name: the scenario.
        rows: how many rows it has.
        positives: how many of them are positive.
        cvr: their share: of clicks the CTR, of purchases the CVR.
        auc: ``None`` where all rows are of one class.
        logloss: in nats a row.
        pcoc: mean prediction over mean label, ``None`` where no row is positive.
    """

    name: str
    rows: int
    positives: int
    cvr: float
    auc: float | None
    logloss: float
    pcoc: float | None


@dataclass(frozen=True)
class ScenarioTable:
    """What a model does in each scenario.

    Attributes:
        scenarios: a line for each scenario that has rows.
        everything: a line for all rows.
    """

    scenarios: tuple[ScenarioRow, ...]
    everything: ScenarioRow

    @property
    def without_auc(self) -> int:
        """How many scenarios have rows of one class only."""
        return sum(row.auc is None for row in self.scenarios)

    def by_size(self) -> ScenarioTable:
        """The same with the scenarios of most rows first."""
        scenarios = sorted(self.scenarios, key=lambda row: row.rows, reverse=True)
        return ScenarioTable(tuple(scenarios), self.everything)

    def text(self) -> str:
        """The table as a text of aligned columns."""
        lines = [
            [row.name, row.rows, row.positives, row.cvr, row.auc, row.logloss, row.pcoc]
            for row in (*self.scenarios, self.everything)
        ]
        headers = ["scenario", "rows", "positives", "positive rate", "AUC", "LogLoss", "PCOC"]
        table = tabulate(lines, headers=headers, floatfmt=".4f", intfmt=",", missingval="-")
        if not self.without_auc:
            return table
        return f"{table}\nscenarios of one class, without an AUC: {self.without_auc}"


def scenario_rows(
    labels: Column, scores: Column, scenarios: Column, names: Sequence[str]
) -> tuple[ScenarioRow, ...]:
    """Describe each scenario that has rows, in the order of their ids.

    Args:
        labels: ``(B,)``, 0 or 1; at least one.
        scores: probabilities, ``(B,)``.
        scenarios: the id of each row's scenario, ``(B,)``; arrays all, or tensors.
        names: the scenarios' names by id.

    Returns:
        A line a scenario.
    """
    grouped = rows_of_groups(labels, scores, scenarios)
    return _describe(grouped, [str(names[scenario]) for scenario in grouped.ids])


def scenario_table(
    labels: Column, scores: Column, scenarios: Column, names: Sequence[str]
) -> ScenarioTable:
    """Describe each scenario as :func:`scenario_rows` does, and all rows."""
    (everything,) = _describe(all_rows(labels, scores), ["all"])
    return ScenarioTable(scenario_rows(labels, scores, scenarios, names), everything)


def _describe(grouped: RowGroups, names: Sequence[str]) -> tuple[ScenarioRow, ...]:
    """Describe groups of rows, in their order."""
    rows = grouped.rows
    positives = grouped.values(POSITIVES)
    columns = (
        rows.tolist(),
        positives.astype(np.int64).tolist(),
        (positives / rows).tolist(),
        _defined(grouped.values(AUC)),
        grouped.values(LOG_LOSS).tolist(),
        _defined(grouped.values(PREDICTED_OVER_OBSERVED)),
    )
    return tuple(itertools.starmap(ScenarioRow, zip(names, *columns, strict=True)))


def _defined(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]
