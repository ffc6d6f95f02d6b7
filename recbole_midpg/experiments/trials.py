"""Trials: trainings of several models with several seeds, each in a process of its own.

A trial chooses its epoch on the validation split and reads the test split once, at its end.
Finished trials are kept in a record, so that a killed command goes on where it was; a trial that
fails or dies is reported and ends nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.machine import peak_memory_mib
from recbole_midpg.experiments.data_of_trials import (
    KEPT_LATER,
    changed_files,
    dataset_config,
    file_digests,
)
from recbole_midpg.experiments.record import Record
from recbole_midpg.experiments.side_by_side import (
    Done,
    Failure,
    Piece,
    Send,
    work_side_by_side,
)
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.run.run import Run
from recbole_midpg.integration.run.validation import require_validation

METRIC_DECIMALS = 6
"""Of the scores of trials: RecBole's four would hide differences of the size that seeds show, and
early stopping, which compares rounded ones, is to end alike wherever models are compared."""

# The files are those of each trial, as its own settings may name another folder.
_KEPT_LATER = {
    "dataset_config": f"{KEPT_LATER['dataset_config']}, and {KEPT_LATER['files']}",
}


@dataclass(frozen=True)
class TrialPlan:
    """A training that is to be done.

    Attributes:
        label: the row of the table it belongs to.
        model: the model.
        seed: draws the split, the weights and the order of the rows.
        settings: config values of this trial alone.
    """

    label: str
    model: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialResult:
    """A training that was done; see :class:`TrialPlan` for the first four.

    Attributes:
        problem: why it failed; an empty text where it did not, and only then the rest holds.
        valid: the validation results of the best epoch.
        test: its test results.
        scenarios: the lines of the test split's table of scenarios.
        parameters: trainable parameters.
        parameters_without_embeddings: those that are not embeddings.
        epochs: how many epochs were trained.
        best_epoch: the number of the best one on validation, from 1; ``None`` in the record of an
            earlier version.
        training_seconds: how long that took, validation included.
        peak_memory_mib: the most memory the process held.
        doubts: what of it cannot be right or says nothing, a sentence each.
        files: the SHA-256 of each of the dataset's files that it read, by name; empty in the record
            of an earlier version.
    """

    label: str
    model: str
    seed: int
    settings: dict[str, Any]
    problem: str = ""
    valid: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    scenarios: list[dict[str, Any]] = field(default_factory=list)
    parameters: int = 0
    parameters_without_embeddings: int = 0
    epochs: int = 0
    best_epoch: int | None = None
    training_seconds: float = 0.0
    peak_memory_mib: float | None = None
    doubts: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def answers(self, plan: TrialPlan) -> bool:
        """Whether this is the finished trial that ``plan`` asks for."""
        return not self.problem and plan == TrialPlan(
            self.label, self.model, self.seed, self.settings
        )


def run_trials(
    plans: Sequence[TrialPlan],
    dataset: str,
    record: str | Path,
    *,
    settings: dict[str, Any] | None = None,
    jobs: int = 1,
    show_progress: bool = True,
) -> list[TrialResult]:
    """Run trials, those that a record does not hold yet.

    Args:
        plans: the trials.
        dataset: the dataset.
        record: the file of finished trials; each trial's log goes into ``logs/`` beside it.
        settings: config values, the same for all trials; a plan's own win.
        jobs: how many trials run at a time. Each has its share of the cores.
        show_progress: whether a bar shows the trials done and the time left.

    Returns:
        A result a plan, in their order. Failed ones have a ``problem`` and are tried again when
        the record is used again.

    Raises:
        UsageError: a config is wrong, which is found before any trial begins; or the record is of
            other trials, or of others of the dataset's files.
    """
    common = dict(settings or {})
    files = {}
    for key, plan in {_settings_key(plan): plan for plan in plans}.items():
        # Makes the dataset's files too, before several processes ask for them.
        config = build_config(plan.model, dataset, values={**common, **plan.settings})
        require_validation(config, "comparing models")
        files[key] = file_digests(config)
    work = {
        "trials of": dataset,
        "settings": common,
        "dataset_config": dataset_config(dataset),
    }
    with Record(Path(record), work, "a comparison", "--output", _KEPT_LATER) as kept:
        finished = kept.entries_as(TrialResult)
        results = {
            place: result
            for place, plan in enumerate(plans)
            for result in finished
            if result.answers(plan)
        }
        for place, result in results.items():
            _require_same_files(result, files[_settings_key(plans[place])], record)
        waiting = [place for place in range(len(plans)) if place not in results]

        def receive(position: int, message: Done | Failure) -> None:
            place = waiting[position]
            result = (
                message.result
                if isinstance(message, Done)
                else TrialResult(**vars(plans[place]), problem=message.problem)
            )
            kept.add(asdict(result))
            results[place] = result
            if result.problem:
                bar.write(f"{result.label}, seed {result.seed}: {result.problem}")
            bar.update()

        with tqdm(
            total=len(plans), initial=len(results), unit="trial", disable=not show_progress
        ) as bar:
            pieces = [
                Piece(f"{plan.label}-{plan.seed}", (plan, dataset, common))
                for plan in (plans[place] for place in waiting)
            ]
            work_side_by_side(_work, pieces, jobs, Path(record).parent / "logs", bar, receive)
        return [results[place] for place in range(len(plans))]


def _settings_key(plan: TrialPlan) -> tuple[str, str]:
    """The same for plans that differ in nothing but the seed and the label."""
    return plan.model, str(plan.settings)


def _require_same_files(result: TrialResult, files: Mapping[str, str], record: str | Path) -> None:
    """Check that a finished trial read the files that the next ones will read.

    Raises:
        UsageError: one is another now.
    """
    changed = changed_files(result.files, files)
    if changed:
        raise UsageError(
            f"record {str(record)!r}: {result.label} with seed {result.seed} was trained on other "
            f"data (other {', '.join(changed)}), expected the same files, or another --output."
        )


def _work(plan: TrialPlan, dataset: str, common: dict[str, Any], _send: Send) -> TrialResult:
    return run_trial(plan, dataset, common)


def run_trial(plan: TrialPlan, dataset: str, common: dict[str, Any]) -> TrialResult:
    """Train a model, choose its epoch on validation, and read the test split once.

    Args:
        plan: the trial.
        dataset: the dataset.
        common: config values that the plan's own win over.

    Returns:
        The result.

    Raises:
        UsageError: something that the user can fix.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = build_config(
            plan.model,
            dataset,
            values={
                "show_progress": False,
                **common,
                **plan.settings,
                "seed": plan.seed,
                "checkpoint_dir": folder,
            },
        )
        run = Run.prepare(config)
        files = file_digests(config)
        run.train(saved=True)
        run.test(saved=True)
        with suppress(AttributeError):
            run.trainer.tensorboard.close()
        report = run.report().as_json()
    return TrialResult(
        **vars(plan),
        valid=report["valid"],
        test=report["test"],
        scenarios=report["scenarios"],
        parameters=report["parameters"],
        parameters_without_embeddings=report["parameters_without_embeddings"],
        epochs=len(report["epochs"]),
        best_epoch=run.best_epoch,
        training_seconds=report["times"]["training"],
        peak_memory_mib=peak_memory_mib(),
        doubts=run.doubts,
        files=files,
    )
