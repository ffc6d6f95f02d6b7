"""From how many rows on structure pays: models trained on a generated set of several sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from recbole_midpg.analysis.figures import deviation_of, mean_of
from recbole_midpg.analysis.gains import gain_of
from recbole_midpg.analysis.learning_curves import BASELINE, LearningCurves, LearningPoint
from recbole_midpg.common.arguments import require_trials
from recbole_midpg.common.choices import DATA_PATH
from recbole_midpg.common.config_files import read_config_files
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.rules import check_settings
from recbole_midpg.experiments.benchmark import best_possible, plan_trials
from recbole_midpg.experiments.trials import METRIC_DECIMALS, TrialPlan, TrialResult, run_trials
from recbole_midpg.generated import GENERATED
from recbole_midpg.generated.generate import DEFAULT_SEED
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.config.recbole_keys import RULES
from recbole_midpg.integration.models.outside_models import class_name_of
from recbole_midpg.integration.models.registry import get_model

_ROWS, _SEED = "synthetic_rows", "synthetic_seed"


def check_sizes(dataset: str, rows: Sequence[int]) -> list[int]:
    """Check numbers of rows, and put them into ascending order.

    Args:
        dataset: the dataset's name.
        rows: the numbers.

    Raises:
        UsageError: the dataset is not a generated one, it cannot be made of so many rows, or a
            number is there twice.
    """
    if dataset not in GENERATED:
        raise UsageError(
            f"--dataset: {dataset!r} is not a dataset that can be generated"
            f"{expected_some_of(list(GENERATED), dataset)}"
        )
    if len(set(rows)) < len(rows):
        words = " ".join(map(str, rows))
        raise UsageError(f"--rows: {words!r} is not allowed, expected different numbers.")
    return sorted(GENERATED[dataset].check_rows(count) for count in rows)


def run_sizes(
    dataset: str,
    record: Path,
    rows: Sequence[int],
    models: Sequence[str],
    *,
    trials: int = 3,
    seed: int = 2020,
    jobs: int = 1,
    tuned: Mapping[str, Mapping[str, Any]] | None = None,
    config_files: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> LearningCurves:
    """Train every model at every number of rows, with the same seeds.

    Each size and seed of the set lies in a folder of its own, ``DATASET-ROWS-SEED/`` below
    ``data_path``, so that trials of several can run at a time.

    Args:
        dataset: the dataset, one that can be generated.
        record: file of finished trials, from which the same work goes on after an interrupt.
        rows: how many are generated, as :func:`check_sizes` gives them.
        models: the models.
        trials: trainings of each model at each number of rows.
        seed: of the first; each further one has the next number.
        jobs: how many are trained at a time.
        tuned: config values by model; see
            :func:`~recbole_midpg.experiments.benchmark.read_settings`.
        config_files: RecBole config files, over which ``tuned`` wins.
        settings: further config values, the same for all, which win over both.

    Returns:
        What came out.

    Raises:
        UsageError: a value is not allowed, or every trial failed.
    """
    require_trials(trials, seed, jobs)
    for model in models:
        get_model(model)  # before a set is generated for the first of them
    common = {"metric_decimal_place": METRIC_DECIMALS, **read_config_files(config_files)}
    of_models = plan_trials(models, trials, seed, tuned or {}, settings)
    plans = [_at_size(plan, dataset, common, count) for count in rows for plan in of_models]
    results = run_trials(plans, dataset, record, settings=common, jobs=jobs)
    if all(result.problem for result in results):
        raise UsageError(f"sizes: every trial failed, the last one: {results[-1].problem}")
    best = {
        plan.settings[_ROWS]: _best_possible_area(plan, dataset, common, range(seed, seed + trials))
        for plan in plans[:: len(of_models)]
    }
    return learning_curves_of(dataset, best, results)


def _at_size(plan: TrialPlan, dataset: str, common: Mapping[str, Any], rows: int) -> TrialPlan:
    """A plan on the set of so many rows, in a folder that no other size or seed is made in."""
    given = {"data_path": DATA_PATH, **common, **plan.settings}
    if _ROWS in given:
        raise UsageError(f"{_ROWS}: {given[_ROWS]!r} is given, expected --rows alone.")
    check_settings(given, {"data_path": RULES["data_path"]})
    seed = DEFAULT_SEED if given.get(_SEED) is None else given[_SEED]
    folder = Path(given["data_path"]) / f"{dataset}-{rows}-{seed}"
    settings = {**plan.settings, _ROWS: rows, _SEED: seed, "data_path": str(folder)}
    return replace(plan, label=f"{plan.label} {rows} rows", settings=settings)


def _best_possible_area(
    plan: TrialPlan, dataset: str, common: Mapping[str, Any], seeds: Sequence[int]
) -> float | None:
    config = build_config(plan.model, dataset, values={**common, **plan.settings})
    best = best_possible(config, seeds)
    return best[0] if best is not None and isfinite(best[0]) else None


def learning_curves_of(
    dataset: str, best: Mapping[int, float | None], results: Sequence[TrialResult]
) -> LearningCurves:
    """Gather the trials of each model at each number of rows.

    Args:
        dataset: the dataset's name.
        best: the best possible AUC by number of rows, ascending.
        results: of trials whose settings have the number of rows.
    """
    of_points: dict[tuple[str, int], list[TrialResult]] = {}
    for result in results:
        key = class_name_of(result.model), result.settings[_ROWS]
        of_points.setdefault(key, []).append(result)
    areas = {key: _test_areas(of_point) for key, of_point in of_points.items()}

    def point(name: str, rows: int) -> LearningPoint:
        own, base = areas[name, rows], areas.get((BASELINE, rows), {})
        differences = [own[seed] - base[seed] for seed in own if seed in base]
        test = list(own.values())
        return LearningPoint(
            rows=rows,
            seeds=list(own),
            test=test,
            mean=mean_of(test),
            deviation=deviation_of(test),
            gain=gain_of(differences) if (BASELINE, rows) in areas and name != BASELINE else None,
            problems=[result.problem for result in of_points[name, rows] if result.problem],
        )

    names = dict.fromkeys(name for name, _ in of_points)
    lines = {name: [point(name, rows) for rows in best] for name in names}
    return LearningCurves(dataset, list(best), list(best.values()), lines)


def _test_areas(results: Sequence[TrialResult]) -> dict[int, float]:
    """The test AUC of the trials that have one, by their seeds."""
    found = {result.seed: result.test.get("auc") for result in results if not result.problem}
    return {seed: area for seed, area in found.items() if area is not None and isfinite(area)}
