"""AUC over the size of the low-rank matrices: the DPG variants, and APG with as many parameters.

The panels a, c and e of Figure 2 of Cheng et al., MI-DPG, CIKM 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from recbole.data import create_dataset
from recbole.utils import get_model

from recbole_midpg.analysis.figures import SizeSweep, SweepPoint, deviation_of, mean_of
from recbole_midpg.common.arguments import require_trials
from recbole_midpg.common.choices import VARIANTS
from recbole_midpg.common.config_files import read_config_files
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.experiments.trials import METRIC_DECIMALS, TrialPlan, TrialResult, run_trials
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.models.base import count_parameters

Counter = Callable[[str, Mapping[str, Any]], int]
"""From a model and its settings to its parameters without embeddings."""


@dataclass(frozen=True)
class Candidate:
    """A model at a size.

    Attributes:
        line: its line in the figure.
        size: the place of the size, ``None`` where the model has none.
        model: the model's name.
        settings: the config keys that make it.
        parameters: parameters without embeddings.
    """

    line: str
    size: int | None
    model: str
    settings: dict[str, Any]
    parameters: int

    @property
    def label(self) -> str:
        """Its name among the trials."""
        values = " ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.model} {values}"


def parse_sizes(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Read sizes ``"n,k"``.

    Raises:
        UsageError: one is not of that form, or is there twice.
    """
    sizes = []
    for text in texts:
        parts = text.split(",")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):  # noqa: PLR2004
            raise UsageError(
                f"--sizes: {text!r} is not allowed, expected n,k of whole numbers from 1, as 8,4."
            )
        sizes.append((int(parts[0]), int(parts[1])))
    if not sizes or len(set(sizes)) < len(sizes):
        raise UsageError(f"--sizes: {' '.join(texts)!r} is not allowed, expected different sizes.")
    return sizes


def check_variants(variants: Sequence[str]) -> None:
    """Check the names of variants.

    Raises:
        UsageError: one is not known, or there are none.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise UsageError(
                f"--variants: {variant!r} is not allowed{expected_some_of(VARIANTS, variant)}"
            )
    if not variants:
        raise UsageError(f"--variants: none is given, expected some of {', '.join(VARIANTS)}.")


def parameter_counter(
    dataset_name: str, config_files: Sequence[str], settings: Mapping[str, Any]
) -> Counter:
    """Count by building models on a dataset, which is loaded once.

    Args:
        dataset_name: the dataset.
        config_files: RecBole config files.
        settings: further config values; those of a call win.
    """
    loaded: list[Any] = []

    def count(model: str, own_settings: Mapping[str, Any]) -> int:
        config = build_config(model, dataset_name, config_files, {**settings, **own_settings})
        if not loaded:
            loaded.append(create_dataset(config))
        return count_parameters(get_model(model)(config, loaded[0]))[1]

    return count


def align_apg(rank: int, target: int, count: Counter) -> tuple[dict[str, Any], int]:
    r"""Give APG a rank and as nearly a number of parameters as its inner size can.

    APG's rank takes the part of DPG's: it is what the sweep varies. The inner size ``P`` of its
    over-parameterised factors then makes up the number, which grows with ``P`` by the same step:
    :math:`P (N + M + 2K)` a layer. ``P`` is at least ``K``, for less would lower the rank, or 0,
    which keeps the factors as they are.

    Args:
        rank: ``K``.
        target: parameters without embeddings of the model to compare with.
        count: of models.

    Returns:
        APG's settings and its parameters without embeddings.
    """

    def settings_of(inner_size: int) -> dict[str, Any]:
        return {"apg_rank": rank, "apg_inner_size": inner_size}

    smallest = count("APG", settings_of(rank))
    step = count("APG", settings_of(rank + 1)) - smallest
    nearest = rank + max(0, round((target - smallest) / step))
    counts = {size: count("APG", settings_of(size)) for size in (0, nearest)}
    inner_size = min(counts, key=lambda size: abs(counts[size] - target))
    return settings_of(inner_size), counts[inner_size]


def list_candidates(
    sizes: Sequence[tuple[int, int]], variants: Sequence[str], count: Counter
) -> list[Candidate]:
    """List the models of a sweep, with n = m; DPG-non has no size and is there once.

    Args:
        sizes: the sizes (n, k).
        variants: some of :data:`VARIANTS`.
        count: of models.

    Returns:
        The models, line by line.

    Raises:
        UsageError: a variant is not known, or a size does not fit the layers.
    """
    check_variants(variants)

    def dpg(variant: str, place: int | None) -> Candidate:
        settings: dict[str, Any] = {"weighting": variant}
        if place is not None:
            n, k = sizes[place]
            settings |= {"n": n, "m": n, "k": k}
        return Candidate(f"DPG-{variant}", place, "DPG", settings, count("DPG", settings))

    def apg(place: int) -> Candidate:
        target = dpg("r", place).parameters
        settings, parameters = align_apg(sizes[place][1], target, count)
        return Candidate("APG", place, "APG", settings, parameters)

    candidates = []
    for variant in dict.fromkeys(variants):
        if variant == "non":
            candidates.append(dpg(variant, None))
        elif variant == "APG":
            candidates.extend(apg(place) for place in range(len(sizes)))
        else:
            candidates.extend(dpg(variant, place) for place in range(len(sizes)))
    return candidates


def run_sweep(
    dataset: str,
    record: Path,
    sizes: Sequence[tuple[int, int]],
    candidates: Sequence[Candidate],
    *,
    trials: int = 3,
    seed: int = 2020,
    jobs: int = 1,
    config_files: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> SizeSweep:
    """Train every model at every size, with the same seeds.

    Args:
        dataset: the dataset.
        record: file of finished trials, from which the same sweep goes on after an interrupt.
        sizes: the sizes (n, k).
        candidates: the models, of :func:`list_candidates`.
        trials: trainings of each model.
        seed: of the first; each further one has the next number.
        jobs: how many are trained at a time.
        config_files: RecBole config files.
        settings: further config values, the same for all.

    Returns:
        What came out.

    Raises:
        UsageError: a value is not allowed, or every trial failed.
    """
    require_trials(trials, seed, jobs)
    plans = [
        TrialPlan(candidate.label, candidate.model, seed + number, candidate.settings)
        for candidate in candidates
        for number in range(trials)
    ]
    results = run_trials(
        plans,
        dataset,
        record,
        settings={
            "metric_decimal_place": METRIC_DECIMALS,
            **read_config_files(config_files),
            **(settings or {}),
        },
        jobs=jobs,
    )
    if all(result.problem for result in results):
        raise UsageError(f"sweep: every trial failed, the last one: {results[-1].problem}")
    return sweep_of(dataset, sizes, candidates, results)


def sweep_of(
    dataset: str,
    sizes: Sequence[tuple[int, int]],
    candidates: Sequence[Candidate],
    results: Sequence[TrialResult],
) -> SizeSweep:
    """Gather the trials of each model at each size.

    Args:
        dataset: the dataset's name.
        sizes: the sizes (n, k).
        candidates: the models.
        results: as many for each model, in the order of the models.
    """
    trials = len(results) // len(candidates)
    lines: dict[str, list[SweepPoint]] = {}
    for number, candidate in enumerate(candidates):
        own = results[number * trials : (number + 1) * trials]
        finished = [result for result in own if not result.problem]
        test = _areas(result.test for result in finished)
        lines.setdefault(candidate.line, []).append(
            SweepPoint(
                size=candidate.size,
                settings=candidate.settings,
                parameters=candidate.parameters,
                valid=_areas(result.valid for result in finished),
                test=test,
                mean=mean_of(test),
                deviation=deviation_of(test),
                problems=[result.problem for result in own if result.problem],
            )
        )
    return SizeSweep(dataset, list(sizes), lines)


def _areas(scores: Any) -> list[float]:
    """The AUC of each trial, those left out where it is not defined."""
    areas = [float(score["auc"]) for score in scores if score.get("auc") is not None]
    return [area for area in areas if isfinite(area)]
