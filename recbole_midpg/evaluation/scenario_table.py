"""What a model does in each scenario, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from recbole_midpg.evaluation.binary_metrics import auc, log_loss, predicted_over_observed
from recbole_midpg.evaluation.grouped_metrics import Array, rows_by_group


@dataclass(frozen=True)
class ScenarioRow:
    """A scenario's line.

    Attributes:
        name: the scenario.
        rows: how many rows it has.
        positives: how many of them are positive.
        cvr: their share.
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

    def text(self) -> str:
        """The table as a text of aligned columns."""
        lines = [
            [row.name, row.rows, row.positives, row.cvr, row.auc, row.logloss, row.pcoc]
            for row in (*self.scenarios, self.everything)
        ]
        headers = ["scenario", "rows", "positives", "CVR", "AUC", "LogLoss", "PCOC"]
        table = tabulate(lines, headers=headers, floatfmt=".4f", intfmt=",", missingval="-")
        if not self.without_auc:
            return table
        return f"{table}\nscenarios of one class, without an AUC: {self.without_auc}"


def scenario_rows(
    labels: Array, scores: Array, scenarios: Array, names: Sequence[str]
) -> tuple[ScenarioRow, ...]:
    """Describe each scenario that has rows, in the order of their ids.

    Args:
        labels: ``(B,)``, 0 or 1; at least one.
        scores: probabilities, ``(B,)``.
        scenarios: the id of each row's scenario, ``(B,)``.
        names: the scenarios' names by id.

    Returns:
        A line a scenario.
    """
    return tuple(
        _describe(str(names[int(scenario)]), labels[rows], scores[rows])
        for scenario, rows in zip(*rows_by_group(scenarios), strict=True)
    )


def scenario_table(
    labels: Array, scores: Array, scenarios: Array, names: Sequence[str]
) -> ScenarioTable:
    """Describe each scenario as :func:`scenario_rows` does, and all rows."""
    return ScenarioTable(
        scenario_rows(labels, scores, scenarios, names), _describe("all", labels, scores)
    )


def _describe(name: str, labels: Array, scores: Array) -> ScenarioRow:
    positives = int((labels == 1).sum())
    return ScenarioRow(
        name,
        len(labels),
        positives,
        positives / len(labels),
        _defined(auc(labels, scores)),
        log_loss(labels, scores),
        _defined(predicted_over_observed(labels, scores)),
    )


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
