"""From a benchmark's table to what models gain over a baseline in each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from recbole_midpg.analysis.figures import Gain, ScenarioGains, deviation_of, mean_of
from recbole_midpg.analysis.reports import BenchmarkTable
from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.experiments.statistics import half_width


def gains_of(
    table: BenchmarkTable, baseline: str, models: Sequence[str] = (), min_rows: int = 0
) -> ScenarioGains:
    """Subtract the baseline's AUC from each model's, trial by trial with the same seed.

    Args:
        table: the benchmark's trials.
        baseline: a model of the table.
        models: which of the others; all where none is named.
        min_rows: scenarios of fewer test rows are left out.

    Returns:
        The gains of the models, the scenarios with most test rows first.

    Raises:
        UsageError: the table lacks a model or scenarios of so many rows, or holds nothing that
            compares with the baseline, or a value is not allowed.
    """
    _require_model("baseline", baseline, table)
    for model in models:
        _require_model("models", model, table)
    if models and set(models) == {baseline}:
        others = [model for model in table.models if model != baseline]
        raise UsageError(
            f"models: {baseline!r} is the baseline itself, expected some of {', '.join(others)}."
        )
    if min_rows < 0:
        raise UsageError(f"min_rows: {min_rows:,} is not allowed, expected at least 0.")
    rows = {name: round(fmean(counts)) for name, counts in table.rows.items()}
    scenarios = [
        name
        for name in sorted(table.scenarios, key=lambda name: rows[name], reverse=True)
        if rows[name] >= min_rows
    ]
    if table.scenarios and not scenarios:
        raise UsageError(
            f"min_rows: {min_rows:,} is more than the test rows of the largest scenario, "
            f"expected at most {max(rows.values()):,}."
        )
    base = {trial.seed: trial.auc for trial in table.models[baseline]}
    gains: dict[str, list[Gain]] = {}
    for model, trials in table.models.items():
        if model == baseline or (models and model not in models):
            continue
        gains[model] = []
        for name in scenarios:
            differences = [
                trial.auc[name] - base[trial.seed][name]
                for trial in trials
                if name in trial.auc and name in base.get(trial.seed, {})
            ]
            gains[model].append(gain_of(differences))
    if not any(gain.differences for of_model in gains.values() for gain in of_model):
        raise UsageError(
            f"baseline: no other model of the table has a trial and a scenario with {baseline!r}, "
            "expected trials with the same seeds."
        )
    of_scenarios = [rows[name] for name in scenarios]
    return ScenarioGains(table.dataset, baseline, scenarios, of_scenarios, gains)


def _require_model(option: str, name: str, table: BenchmarkTable) -> None:
    if name not in table.models:
        hint = did_you_mean(name, table.models) or "."
        raise UsageError(
            f"{option}: {name!r} is not a model of the table, "
            f"expected one of {', '.join(table.models)}{hint}"
        )


def gain_of(differences: Sequence[float]) -> Gain:
    """Describe the differences of AUC of trials with the same seeds."""
    return Gain(
        list(differences), mean_of(differences), deviation_of(differences), half_width(differences)
    )
