"""Tuning models' config keys on the validation split, with records that a later run resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from recbole_midpg.common.choices import LARGEST_SEED
from recbole_midpg.common.config_files import read_config_files
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.data_of_trials import KEPT_LATER, dataset_config, file_digests
from recbole_midpg.experiments.record import Record
from recbole_midpg.experiments.search_space import (
    Dimension,
    count_settings,
    default_space,
    hyperopt_space,
    read_space,
    require_whole_numbers,
)
from recbole_midpg.experiments.side_by_side import (
    Death,
    Done,
    Failure,
    Piece,
    work_side_by_side,
)
from recbole_midpg.experiments.statistics import Spread
from recbole_midpg.experiments.trials import METRIC_DECIMALS
from recbole_midpg.integration.compat import import_hyperopt
from recbole_midpg.integration.config.config import build_config, check_key_names
from recbole_midpg.integration.models.outside_models import class_name_of
from recbole_midpg.integration.run.run import Run
from recbole_midpg.integration.run.validation import require_validation
from recbole_midpg.training.device_faults import DeviceLostError

# Of a space that is nearly tried out, TPE draws what is left once in many draws.
_DRAWS_A_TRIAL = 50


@dataclass(frozen=True)
class SearchPlan:
    """A search that is to be done.

    Attributes:
        model: a model of this package, of RecBole or from outside.
        dataset: the dataset. Its test split is never read.
        record: the file of finished trials.
        space: a file of a search space in RecBole's ``.hyper`` form; by default the model's
            :func:`~recbole_midpg.experiments.search_space.default_space`.
        trials: how many trials in all, those in the record included; a space of fewer settings is
            tried out.
        seeds: how many seeds each trial is trained with: the config's and those that follow it.
        seed: of the search itself.
        config_files: RecBole config files.
        settings: further config values, the same in every trial: these keys are not searched.
    """

    model: str
    dataset: str
    record: Path
    space: str | Path | None = None
    trials: int = 20
    seeds: int = 1
    seed: int = 2023
    config_files: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        parameters: the config keys that were tried.
        scores: the best validation score of each seed; empty where the trial failed, as it does
            when one seed fails.
        seconds: how long it took.
        problem: why it failed, an empty text where it did not.
        doubts: what of the scores says nothing, a sentence each.
    """

    parameters: dict[str, Any]
    scores: Sequence[float]
    seconds: float
    problem: str = ""
    doubts: list[str] = field(default_factory=list)

    @property
    def score(self) -> float | None:
        """The mean of the seeds' scores, by which settings are chosen; ``None`` of a failure."""
        spread = Spread.of(self.scores)
        return spread.mean if spread else None

    def score_text(self) -> str:
        """The score, with its standard deviation where there are several seeds."""
        spread = Spread.of(self.scores)
        if spread is None:
            return "none, as they failed"
        mean = f"{round(spread.mean, METRIC_DECIMALS)}"
        return mean if spread.count == 1 else f"{mean} ± {round(spread.sd, METRIC_DECIMALS)}"


@dataclass(frozen=True)
class Begun:
    """That a trial begins.

    Attributes:
        parameters: the config keys that are tried.
    """

    parameters: dict[str, Any]


@dataclass(frozen=True)
class Search:
    """A search that is done.

    Attributes:
        model: the name of the model's class.
        dataset: the dataset.
        metric: the validation metric that chooses.
        bigger_is_better: whether a higher value of it is the better one.
        trials: one of each settings that were tried. The first is of the defaults: the model's, the
            dataset's, and those of the config files and of the command line.
        default_values: which values the searched keys have there.
    """

    model: str
    dataset: str
    metric: str
    bigger_is_better: bool
    trials: tuple[Trial, ...]
    default_values: dict[str, Any] = field(default_factory=dict)

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
            lines += [
                f"  {key} = {value}{self._edge(key, value)}"
                for key, value in best.parameters.items()
            ]
        seeds = len(best.scores)
        over = f", mean ± sd over {seeds} seeds" if seeds > 1 else ""
        lines.append(f"validation {self.metric}{over}: {best.score_text()}{self._compared()}")
        failed = [trial for trial in self.trials if trial.score is None]
        if failed:
            lines.append(
                f"{len(failed)} of {len(self.trials)} settings failed, the last one: "
                f"{failed[-1].problem}"
            )
        doubtful = [trial for trial in self.trials if trial.doubts]
        if doubtful:
            lines.append(
                f"{len(doubtful)} of {len(self.trials)} settings are doubtful with one seed or "
                f"more, the last one: {doubtful[-1].doubts[-1]}"
            )
        return lines

    def _edge(self, key: str, value: Any) -> str:
        """That a learning rate lies at an end of those tried, beyond which may be a better one."""
        if key != "learning_rate":
            return ""
        settings = [{**self.default_values, **trial.parameters} for trial in self.trials]
        tried = {values[key] for values in settings if key in values}
        ends = {min(tried): "smallest", max(tried): "largest"} if len(tried) > 1 else {}
        return f", the {ends[value]} of those tried" if value in ends else ""

    def _compared(self) -> str:
        """What the best score is to be compared with, as the end of a line."""
        if self.best is not self.defaults:
            return f", with the defaults {self.defaults.score_text()}"
        next_best = self._best_of(self.trials[1:])
        return "" if next_best is None else f", the best of the others {next_best.score_text()}"


def tune(plan: SearchPlan, tell: Callable[[Begun | Trial], None] = lambda _: None) -> Search:
    """Search for the config values with the best validation score, by hyperopt's TPE.

    The first trial is of the defaults: what is chosen is no worse on validation.

    The search is a function of its seed and of the scores so far, so a resumed search tries the
    same values again and takes the scores of finished trials from the record. TPE draws settings of
    a small space again: that is no trial, it hears their score and draws on.

    Args:
        plan: the search.
        tell: called before each trial that the record does not hold, and with each trial once it
            is finished, those of the record among them.

    Returns:
        The trials, of which one at least has a score.

    Raises:
        UsageError: hyperopt is not installed, a file is wrong, nothing is left to search, or every
            trial failed.
    """
    _hyperopt()  # before anything is written
    dimensions, config = _prepare(plan)
    with _open_record(plan, dimensions, config) as record:
        trials = _try_out(plan, dimensions, config, record, tell)
    bigger = bool(config["valid_metric_bigger"])
    name = class_name_of(plan.model)
    defaults = {dimension.key: config[dimension.key] for dimension in dimensions}
    search = Search(name, plan.dataset, config["valid_metric"], bigger, tuple(trials), defaults)
    _ = search.best  # raises where every trial failed
    return search


def _try_out(
    plan: SearchPlan,
    dimensions: list[Dimension],
    config: Any,
    record: Record,
    tell: Callable[[Begun | Trial], None],
) -> list[Trial]:
    """Do the trials that a record does not hold yet; return all, in the record's order."""
    hyperopt = _hyperopt()
    finished = record.entries_as(Trial)
    sign = -1.0 if config["valid_metric_bigger"] else 1.0
    seeds = range(config["seed"], config["seed"] + plan.seeds)

    n_trials = _count_trials(plan, dimensions, config)
    told: list[Trial] = []

    def tried(parameters: dict[str, Any]) -> Trial:
        trial = next((trial for trial in finished if trial.parameters == parameters), None)
        if trial is None:
            tell(Begun(parameters))
            trial = _run_trial(plan, seeds, parameters)
            record.add(vars(trial))
            finished.append(trial)
        if trial not in told:
            told.append(trial)
            tell(trial)
        return trial

    def objective(drawn: dict[str, Any]) -> dict[str, Any]:
        by_key = {dimension.key: dimension for dimension in dimensions}
        parameters = {key: by_key[key].value_of(_plain(value)) for key, value in drawn.items()}
        trial = tried({} if parameters.items() <= config.final_config_dict.items() else parameters)
        if trial.score is None:
            return {"status": hyperopt.STATUS_FAIL}
        return {"status": hyperopt.STATUS_OK, "loss": sign * trial.score}

    tried({})
    if n_trials > 1:
        # hyperopt raises where nothing succeeded; the reason is raised below.
        with suppress(hyperopt.exceptions.AllTrialsFailed):
            hyperopt.fmin(
                objective,
                hyperopt_space(dimensions, hyperopt.hp),
                algo=hyperopt.tpe.suggest,
                max_evals=_DRAWS_A_TRIAL * n_trials,
                early_stop_fn=lambda *_: (len(told) >= n_trials, []),
                rstate=np.random.RandomState(plan.seed),
                show_progressbar=False,
                return_argmin=False,
            )
    return finished


def tune_side_by_side(
    plans: Sequence[SearchPlan], jobs: int = 1, show_progress: bool = True
) -> list[Search | Failure]:
    """Do several searches, each in a process of its own, with a log beside its record.

    A trial whose process is ended from outside, as where memory is short, has failed; its search
    goes on with the next one in a new process.

    Args:
        plans: the searches.
        jobs: how many are done at a time. Each has its share of the cores.
        show_progress: whether a bar shows the trials of all of them.

    Returns:
        What came of each: a search that fails ends no other.

    Raises:
        UsageError: something is wrong with one, which is found before any begins.
    """
    _hyperopt()
    prepared = [_prepare(plan) for plan in plans]
    total = 0
    for plan, (dimensions, config) in zip(plans, prepared, strict=True):
        with _open_record(plan, dimensions, config) as record:
            record.entries_as(Trial)
        total += _count_trials(plan, dimensions, config)
    outcomes: dict[int, Search | Failure] = {}
    told: list[list[Trial]] = [[] for _ in plans]
    begun: dict[int, Begun] = {}

    def receive(place: int, message: Begun | Trial | Done | Failure) -> None:
        if isinstance(message, Begun):
            begun[place] = message
        elif isinstance(message, Trial):
            begun.pop(place, None)
            if message not in told[place]:
                told[place].append(message)
                bar.update()
        elif isinstance(message, Death) and place in begun:
            parameters = begun.pop(place).parameters
            with _open_record(plans[place], *prepared[place]) as record:
                record.add(vars(Trial(parameters, [], 0.0, message.problem)))
        else:
            outcomes[place] = message.result if isinstance(message, Done) else message

    def go_on(places: list[int]) -> None:
        pieces = [Piece(plans[place].record.stem, (plans[place],)) for place in places]
        logs = plans[0].record.parent / "logs"
        work_side_by_side(
            tune, pieces, jobs, logs, bar, lambda nth, message: receive(places[nth], message)
        )

    with tqdm(total=total, unit="trial", disable=not show_progress) as bar:
        while left := [place for place in range(len(plans)) if place not in outcomes]:
            go_on(left)
    return [outcomes[place] for place in range(len(plans))]


def _hyperopt() -> Any:
    try:
        return import_hyperopt()
    except ImportError as error:
        raise UsageError(
            f"tune: hyperopt cannot be imported ({error}); pip install 'recbole-midpg[tune]'."
        ) from error


def _prepare(plan: SearchPlan) -> tuple[list[Dimension], Any]:
    """What is left to search, and the config of the defaults; makes the dataset's files too.

    Raises:
        UsageError: a key is misspelt or all are fixed, a seed is out of range, or the config is
            wrong.
    """
    space = read_space(plan.space) if plan.space else default_space(plan.model)
    check_key_names(
        {**plan.settings, **{line.key: list(line.values) for line in space}}, plan.model
    )
    left = [dimension for dimension in space if dimension.key not in plan.settings]
    if not left:
        raise UsageError(
            f"tune: the command sets {', '.join(d.key for d in space)}, expected some key of "
            "the space to search."
        )
    config = build_config(plan.model, plan.dataset, plan.config_files, plan.settings)
    require_validation(config, "tuning")
    require_whole_numbers(left, config)
    largest = LARGEST_SEED - (plan.seeds - 1)
    if config["seed"] > largest:
        raise UsageError(
            f"seed: {config['seed']} is not allowed, expected at most {largest}, as a trial is "
            f"trained with {plan.seeds} seeds from it on."
        )
    return left, config


def _count_trials(plan: SearchPlan, dimensions: Sequence[Dimension], config: Any) -> int:
    """How many trials a search comes to: no more than there are settings."""
    return int(min(plan.trials, count_settings(dimensions, config.final_config_dict)))


def _open_record(plan: SearchPlan, dimensions: Sequence[Dimension], config: Any) -> Record:
    files = file_digests(config)
    return Record(
        plan.record,
        {
            "model": plan.model,
            "dataset": plan.dataset,
            "space": [[d.key, d.kind, list(d.values)] for d in dimensions],
            "seed": plan.seed,
            "seeds": plan.seeds,
            "metric": config["valid_metric"],
            "config_files": list(plan.config_files),
            "config_file_values": read_config_files(plan.config_files),
            "settings": plan.settings,
            "dataset_config": dataset_config(plan.dataset),
            **({"files": files} if files else {}),
        },
        "a search",
        "--output",
        KEPT_LATER,
    )


def _run_trial(plan: SearchPlan, seeds: Sequence[int], parameters: dict[str, Any]) -> Trial:
    start = time.monotonic()
    values = {**plan.settings, **parameters}
    try:
        of_seeds = [_validate(plan, {**values, "seed": seed}) for seed in seeds]
    except DeviceLostError:
        # No later trial could compute, and the record would keep them all as failed.
        raise
    except UsageError as error:
        # Values of the space that do not fit each other, as n larger than a layer.
        return Trial(parameters, [], round(time.monotonic() - start, 3), str(error))
    seconds = round(time.monotonic() - start, 3)
    doubts = [doubt for _, found in of_seeds for doubt in found]
    return Trial(parameters, [score for score, _ in of_seeds], seconds, doubts=doubts)


def _validate(plan: SearchPlan, values: dict[str, Any]) -> tuple[float, list[str]]:
    """Train with early stopping; return the best score on validation, and what is doubtful of it.

    The test split stays unread, nothing is saved.
    """
    defaults = {"show_progress": False, "metric_decimal_place": METRIC_DECIMALS}
    values = {**defaults, **read_config_files(plan.config_files), **values}
    run = Run.prepare(build_config(plan.model, plan.dataset, values=values))
    run.train(saved=False, verbose=False)
    run.trainer.tensorboard.close()
    return float(run.best_valid_score), run.doubts


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, torch.Tensor)):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
