"""Trials: trainings of several models with several seeds, each in a process of its own.

A trial chooses its epoch on the validation split and reads the test split once, at its end.
Finished trials are kept in a record, so that a killed command goes on where it was; a trial that
fails or dies is reported and ends nothing else.
"""

from __future__ import annotations

import logging
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from logging import getLogger
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_midpg.common.child_processes import end_with_parent, worker_context
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.machine import peak_memory_mib
from recbole_midpg.experiments.record import Record
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.run.run import Run
from recbole_midpg.integration.run.validation import require_validation
from recbole_midpg.training.threads import share_cores


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
        training_seconds: how long that took, validation included.
        peak_memory_mib: the most memory the process held.
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
    training_seconds: float = 0.0
    peak_memory_mib: float | None = None

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
            other trials.
    """
    common = dict(settings or {})
    for plan in {(p.model, str(p.settings)): p for p in plans}.values():
        # Makes the dataset's files too, before several processes ask for them.
        config = build_config(plan.model, dataset, values={**common, **plan.settings})
        require_validation(config, "comparing models")
    work = {"trials of": dataset, "settings": common}
    kept = Record(Path(record), work, "a comparison", "--output")
    finished = kept.entries_as(TrialResult)
    results = {
        place: result
        for place, plan in enumerate(plans)
        for result in finished
        if result.answers(plan)
    }
    waiting = [place for place in range(len(plans)) if place not in results]

    def keep(place: int, result: TrialResult) -> None:
        kept.add(asdict(result))
        results[place] = result
        if result.problem:
            bar.write(f"{result.label}, seed {result.seed}: {result.problem}")

    logs = Path(record).parent / "logs"
    logs.mkdir(exist_ok=True)
    with tqdm(
        total=len(plans), initial=len(results), unit="trial", disable=not show_progress
    ) as bar:
        pool = _Processes(jobs, dataset, common, logs)
        try:
            while waiting or pool.running:
                while waiting and len(pool.running) < jobs:
                    pool.start(waiting[0], plans[waiting.pop(0)])
                bar.set_postfix_str(", ".join(pool.labels()))
                for place, result in pool.finished():
                    keep(place, result)
                    bar.update()
        finally:
            pool.stop()
    return [results[place] for place in range(len(plans))]


class _Processes:
    """The trials that run at a time, each in a new process that holds nothing of another's."""

    def __init__(self, jobs: int, dataset: str, common: dict[str, Any], logs: Path) -> None:
        self._context = worker_context(__name__)
        self._arguments = (dataset, common, logs, jobs)
        self.running: dict[Connection, tuple[int, TrialPlan, Any]] = {}

    def labels(self) -> list[str]:
        return [f"{plan.label} {plan.seed}" for _, plan, _ in self.running.values()]

    def start(self, place: int, plan: TrialPlan) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(sender, plan, *self._arguments))
        process.start()
        sender.close()
        self.running[receiver] = (place, plan, process)

    def finished(self) -> list[tuple[int, TrialResult]]:
        """Wait for the next trials that end."""
        ended = []
        for receiver in wait(list(self.running)):
            assert isinstance(receiver, Connection)
            place, plan, process = self.running.pop(receiver)
            try:
                result = receiver.recv()
            except EOFError:
                process.join()
                how = f"its process ended with status {process.exitcode}"
                result = TrialResult(**vars(plan), problem=how)
            process.join()
            ended.append((place, result))
        return ended

    def stop(self) -> None:
        for _, _, process in self.running.values():
            process.terminate()
            process.join()


def _work(
    sender: Connection,
    plan: TrialPlan,
    dataset: str,
    common: dict[str, Any],
    logs: Path,
    jobs: int,
) -> None:
    """Do a trial in this process and send its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes itself
    end_with_parent()
    log = logs / f"{plan.label}-{plan.seed}.log"
    # RecBole names its TensorBoard folder by this file too.
    logging.basicConfig(
        filename=log, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    share_cores(jobs)
    try:
        result = run_trial(plan, dataset, common)
    except UsageError as error:
        result = TrialResult(**vars(plan), problem=str(error))
    except Exception as error:  # whatever it is, the other trials go on
        getLogger().exception("the trial failed")
        result = TrialResult(**vars(plan), problem=f"{type(error).__name__}: {error} (see {log})")
    sender.send(result)


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
        training_seconds=report["times"]["training"],
        peak_memory_mib=peak_memory_mib(),
    )
