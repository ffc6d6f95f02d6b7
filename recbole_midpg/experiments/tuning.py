"""Tuning a model's config keys on the validation split, with a record that a later run resumes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.record import Record
from recbole_midpg.experiments.search_space import (
    Dimension,
    default_space,
    hyperopt_space,
    read_space,
)
from recbole_midpg.integration.compat import import_hyperopt
from recbole_midpg.integration.config.config import build_config, check_key_names
from recbole_midpg.integration.run.run import Run
from recbole_midpg.integration.run.validation import require_validation
from recbole_midpg.training.device_faults import DeviceLostError


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        parameters: the config keys that were tried.
        score: the best validation score; ``None`` where the trial failed.
        seconds: how long it took.
        problem: why it failed, an empty text where it did not.
    """

    parameters: dict[str, Any]
    score: float | None
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Search:
    """A search that is done.

    Attributes:
        model: the model.
        dataset: the dataset.
        metric: the validation metric that chooses.
        bigger_is_better: whether a higher value of it is the better one.
        trials: one of each settings that were tried. The first is of the defaults: the model's, the
            dataset's, and those of the config files and of the command line.
    """

    model: str
    dataset: str
    metric: str
    bigger_is_better: bool
    trials: tuple[Trial, ...]

    @property
    def defaults(self) -> Trial:
        """The trial of the defaults."""
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The trial with the best score, the first of several.

        Raises:
            UsageError: every trial failed.
        """
        best = self._best_of(self.trials)
        if best is None:
            raise UsageError(f"tune: every trial failed, the last one: {self.trials[-1].problem}")
        return best

    def _best_of(self, trials: Sequence[Trial]) -> Trial | None:
        sign = -1.0 if self.bigger_is_better else 1.0
        scored = [trial for trial in trials if trial.score is not None]
        return min(scored, key=lambda trial: sign * (trial.score or 0.0), default=None)

    def summary(self) -> list[str]:
        """The winner, its score beside the defaults', and what failed, in lines of text."""
        best, subject = self.best, f"{self.model} on {self.dataset}"
        if len(self.trials) == 1:
            lines = [f"{subject}: the defaults alone were tried."]
        elif best is self.defaults:
            lines = [f"{subject}: the defaults were not beaten, among {len(self.trials)} settings."]
        else:
            lines = [f"{subject}: the best of {len(self.trials)} settings on validation:"]
            lines += [f"  {key} = {value}" for key, value in best.parameters.items()]
        lines.append(f"validation {self.metric}: {best.score}{self._compared()}")
        failed = [trial for trial in self.trials if trial.score is None]
        if failed:
            lines.append(
                f"{len(failed)} of {len(self.trials)} settings failed, the last one: "
                f"{failed[-1].problem}"
            )
        return lines

    def _compared(self) -> str:
        """What the best score is to be compared with, as the end of a line."""
        if self.best is not self.defaults:
            failed = self.defaults.score is None
            return (
                f", with the defaults {'none, as they failed' if failed else self.defaults.score}"
            )
        next_best = self._best_of(self.trials[1:])
        return "" if next_best is None else f", the best of the others {next_best.score}"


def tune(
    model: str,
    dataset: str,
    space: str | Path | None,
    record: str | Path,
    *,
    trials: int = 20,
    seed: int = 2023,
    config_files: list[str] | None = None,
    settings: dict[str, Any] | None = None,
    show_progress: bool = True,
) -> Search:
    """Search for the config values with the best validation score, by hyperopt's TPE.

    The first trial is of the defaults: what is chosen is no worse on validation.

    The search is a function of its seed and of the scores so far, so a resumed search tries the
    same values again and takes the scores of finished trials from the record.

    Args:
        model: a model of this package or of RecBole.
        dataset: the dataset. Its test split is never read.
        space: a file of a search space in RecBole's ``.hyper`` form; ``None`` for the model's
            :func:`~recbole_midpg.experiments.search_space.default_space`.
        record: the file of finished trials.
        trials: how many trials in all, those in the record included.
        seed: of the search; the seed of each training is the config's.
        config_files: RecBole config files.
        settings: further config values, the same in every trial: these keys are not searched.
        show_progress: whether a bar is shown.

    Returns:
        The trials, of which one at least has a score.

    Raises:
        UsageError: hyperopt is not installed, a file is wrong, nothing is left to search, or every
            trial failed.
    """
    try:
        hyperopt = import_hyperopt()
    except ImportError as error:
        raise UsageError(
            f"tune: hyperopt cannot be imported ({error}); pip install 'recbole-midpg[tune]'."
        ) from error

    fixed = dict(settings or {})
    dimensions = _left_to_search(read_space(space) if space else default_space(model), fixed, model)
    config = build_config(model, dataset, config_files, fixed)
    require_validation(config, "tuning")
    kept = Record(
        Path(record),
        {
            "model": model,
            "dataset": dataset,
            "space": [[d.key, d.kind, list(d.values)] for d in dimensions],
            "seed": seed,
            "metric": config["valid_metric"],
            "config_files": config_files or [],
            "settings": fixed,
        },
        "a search",
        "--record",
    )
    finished = kept.entries_as(Trial)
    sign = -1.0 if config["valid_metric_bigger"] else 1.0

    def tried(parameters: dict[str, Any]) -> Trial:
        for trial in finished:
            if trial.parameters == parameters:
                return trial
        trial = _run_trial(model, dataset, config_files, fixed, parameters)
        kept.add(vars(trial))
        finished.append(trial)
        return trial

    def objective(drawn: dict[str, Any]) -> dict[str, Any]:
        trial = tried({key: _plain(value) for key, value in drawn.items()})
        if trial.score is None:
            return {"status": hyperopt.STATUS_FAIL}
        return {"status": hyperopt.STATUS_OK, "loss": sign * trial.score}

    tried({})
    # hyperopt raises where nothing succeeded or is left to try; the reason is raised below.
    # Its bar goes to stdout, where the result is to stand alone.
    with suppress(hyperopt.exceptions.AllTrialsFailed), redirect_stdout(sys.stderr):
        hyperopt.fmin(
            objective,
            hyperopt_space(dimensions, hyperopt.hp),
            algo=hyperopt.tpe.suggest,
            max_evals=trials - 1,
            rstate=np.random.RandomState(seed),
            show_progressbar=show_progress,
            return_argmin=False,
        )
    bigger = bool(config["valid_metric_bigger"])
    search = Search(model, dataset, config["valid_metric"], bigger, tuple(finished))
    _ = search.best  # raises where every trial failed
    return search


def _left_to_search(
    dimensions: list[Dimension], fixed: dict[str, Any], model: str
) -> list[Dimension]:
    """The dimensions whose keys are not fixed.

    Raises:
        UsageError: a key is misspelt, or all are fixed.
    """
    searched = {dimension.key: list(dimension.values) for dimension in dimensions}
    check_key_names({**fixed, **searched}, model)
    left = [dimension for dimension in dimensions if dimension.key not in fixed]
    if not left:
        raise UsageError(
            f"tune: the command sets {', '.join(d.key for d in dimensions)}, expected some key of "
            "the space to search."
        )
    return left


def _run_trial(
    model: str,
    dataset: str,
    config_files: list[str] | None,
    fixed: dict[str, Any],
    parameters: dict[str, Any],
) -> Trial:
    start = time.monotonic()
    try:
        score = _best_validation_score(model, dataset, config_files, {**fixed, **parameters})
    except DeviceLostError:
        # No later trial could compute, and the record would keep them all as failed.
        raise
    except UsageError as error:
        # Values of the space that do not fit each other, as n larger than a layer.
        return Trial(parameters, None, time.monotonic() - start, str(error))
    return Trial(parameters, score, round(time.monotonic() - start, 3))


def _best_validation_score(
    model: str, dataset: str, config_files: list[str] | None, values: dict[str, Any]
) -> float:
    """Train with early stopping; the test split stays unread, nothing is saved."""
    config = build_config(model, dataset, config_files, {"show_progress": False, **values})
    run = Run.prepare(config)
    run.train(saved=False, verbose=False)
    run.trainer.tensorboard.close()
    return float(run.best_valid_score)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, torch.Tensor)):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
