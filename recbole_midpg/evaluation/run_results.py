"""What a run gives back: RecBole's mapping, which knows its results as a text as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_midpg.evaluation.scenario_table import ScenarioTable


class RunResults(dict[str, Any]):
    """RecBole's results of a run.

    Args:
        values: ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``,
            ``test_result``.
        table: the scenarios of the test split; ``None`` where there is no table of them.
        report: where the report is; ``None`` where none was written.
        tasks: the scenarios for each task of a model of several; none by default.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        table: ScenarioTable | None,
        report: Path | None,
        tasks: Mapping[str, ScenarioTable] | None = None,
    ) -> None:
        super().__init__(values)
        self.table, self.report, self.tasks = table, report, dict(tasks or {})

    def text(self) -> str:
        """The results for the reader: scenarios with most rows first, then those of all rows."""
        tables = self.tasks or ({"": self.table} if self.table else {})
        lines = []
        for task, table in tables.items():
            lines += [f"{task}:"] if task else []
            lines += [table.by_size().text(), ""]
        if self["best_valid_result"]:
            lines.append(f"best valid: {plain_results(self['best_valid_result'])}")
        lines.append(f"test result: {plain_results(self['test_result'])}")
        if self.report is not None:
            lines.append(f"report: {self.report}")
        return "\n".join(lines)


def plain_results(results: Any) -> str:
    """Metrics and their values in a line, as ``auc 0.78, logloss 0.56``."""
    return ", ".join(f"{name} {value}" for name, value in results.items())
