"""One run, from config to report: what RecBole's ``run_recbole`` does, in steps that others use."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data.transform import construct_transform
from recbole.utils import EvaluatorType, ModelType, get_environment, init_seed, set_color

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.machine import now
from recbole_midpg.common.report_files import RUN_FORMAT, read_report_file
from recbole_midpg.evaluation.doubts import chance_doubt, doubts
from recbole_midpg.evaluation.run_report import Epoch, RunReport, RunTimes, find_best_epoch
from recbole_midpg.evaluation.run_results import RunResults
from recbole_midpg.evaluation.scenario_table import ScenarioRow, ScenarioTable
from recbole_midpg.integration.dataset import trust
from recbole_midpg.integration.dataset.batches import obstacle_to_parts
from recbole_midpg.integration.dataset.number_scaling import (
    embeds_numbers,
    scaling_methods,
    unchanged_numbers,
)
from recbole_midpg.integration.dataset.saved_dataset import create_dataset
from recbole_midpg.integration.dataset.vocabulary import vocabulary_of
from recbole_midpg.integration.metrics.metrics import scores_and_labels, table_of_scenarios
from recbole_midpg.integration.metrics.tasks import tables_of_tasks
from recbole_midpg.integration.models.embedding_init import draw_embeddings
from recbole_midpg.integration.models.model_types import OF_ROWS
from recbole_midpg.integration.models.registry import get_flops, get_model
from recbole_midpg.integration.run import process_group
from recbole_midpg.integration.run.checkpoint import config_to_plain
from recbole_midpg.integration.run.gpu_choice import describe_device
from recbole_midpg.integration.run.log_file import init_logger
from recbole_midpg.integration.run.process_trainer import trainer_of
from recbole_midpg.integration.run.progress import Progress
from recbole_midpg.integration.run.run_header import header
from recbole_midpg.integration.run.terminal import FOR_TERMINAL, show
from recbole_midpg.loading.readiness import require_ready
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.entire_space import EntireSpaceModel
from recbole_midpg.training.device_faults import DeviceError, Occupants, reporting_faults
from recbole_midpg.training.freed_memory import keep_freed_memory
from recbole_midpg.training.kernels import set_arithmetic, use_kernels
from recbole_midpg.training.threads import use_threads


@dataclass
class Run:
    """A model with its trainer and data, ready to be trained.

    Attributes:
        config: RecBole's ``Config``.
        dataset: RecBole's ``Dataset``, all rows.
        train_data: the loader of the training split.
        valid_data: the loader of the validation split; ``None`` where there is none.
        test_data: the loader of the test split. It is read by :meth:`test` alone.
        model: the model.
        trainer: its trainer.
        best_valid: the validation results of the best epoch, once trained; empty where no epoch
            was evaluated.
        test_results: its test results, once tested.
        test_table: the scenarios of the test split, once tested; ``None`` without scenarios.
        task_tables: the same for each task of a model of several, once tested.
        doubts: what cannot be right or says nothing of what came out, a sentence each.
    """

    config: Any
    dataset: Any
    train_data: Any
    valid_data: Any
    test_data: Any
    model: Any
    trainer: Any
    loading_seconds: float
    started: str = field(default_factory=now)
    best_valid_score: float = float("nan")
    best_valid: dict[str, float] = field(default_factory=dict)
    training_seconds: float = 0.0
    test_results: dict[str, float] = field(default_factory=dict)
    test_table: ScenarioTable | None = None
    task_tables: dict[str, ScenarioTable] = field(default_factory=dict)
    testing_seconds: float = 0.0
    doubts: list[str] = field(default_factory=list)

    @classmethod
    def prepare(cls, config: Any) -> Run:
        """Load and split the data and build the model, seeded as RecBole seeds.

        Args:
            config: RecBole's ``Config``.

        Raises:
            UsageError: the data or the model's sizes do not fit, the kernels cannot run, or
                the GPU fails.
        """
        started = time.monotonic()
        if config["MODEL_TYPE"] in OF_ROWS:
            require_ready(config)
        use_threads(config)
        set_arithmetic(config)
        init_seed(config["seed"], config["reproducibility"])
        with process_group.first_of_machine(config):
            dataset = create_dataset(config)
        train_data, valid_data, test_data = trust.data_preparation(config, dataset)
        keep_freed_memory()  # from here on: what reading the data took is given back
        init_seed(config["seed"] + process_group.rank(), config["reproducibility"])
        occupants = Occupants(config)
        with reporting_faults(occupants):
            getLogger().info(describe_device(config))
            model = _built(config, train_data._dataset)
            draw_embeddings(config, model)
            occupants.model = model
            model = model.to(config["device"])
            use_kernels(config, model)
            trainer = trainer_of(config, model)
            trainer.has_scenarios = trust.has_scenarios(config, train_data._dataset)
        trainer.vocabulary = vocabulary_of(dataset)
        seconds = time.monotonic() - started
        return cls(config, dataset, train_data, valid_data, test_data, model, trainer, seconds)

    def reporting_faults(self) -> AbstractContextManager[None]:
        """Raise the faults of the GPU as sentences; see :func:`reporting_faults`."""
        splits = (self.train_data, self.valid_data, self.test_data)
        loaders = [data for data in splits if data is not None]
        return reporting_faults(Occupants(self.config, self.model, self.trainer.optimizer, loaders))

    def train(self, *, saved: bool, verbose: bool = True, progress: Progress | None = None) -> None:
        """Train until validation stops it; for all epochs where there is none.

        Args:
            saved: whether checkpoints are written.
            verbose: whether each epoch is logged.
            progress: keeps each epoch, so that another process can go on; none by default.

        Raises:
            UsageError: the loss is not finite, no epoch has a validation score, or the GPU fails.
        """
        started = time.monotonic()
        trainer = self.trainer
        if progress is not None:
            progress.follow()
        if progress is not None and progress.is_trained:
            self.best_valid_score = trainer.best_valid_score
            self.best_valid = trainer.best_valid_result or OrderedDict()
        else:
            with self.reporting_faults():
                self.best_valid_score, self.best_valid = trainer.fit(
                    self.train_data,
                    self.valid_data,
                    verbose=verbose,
                    saved=saved,
                    show_progress=self.config["show_progress"],
                )
            if progress is not None and trainer.history:
                progress.keep(trainer.history[-1].epoch)
            self._report_chance()
        self.training_seconds = time.monotonic() - started
        evaluated = any(epoch.valid for epoch in self.trainer.history)
        if evaluated and not math.isfinite(self.best_valid_score):
            raise UsageError(
                f"validation: {self.config['valid_metric']} is not defined in any epoch; the rows "
                "are of one class only, or the predictions are not numbers."
            )
        self._report_place_of_best()

    def _report_place_of_best(self) -> None:
        """Log that the best epoch is the first or the last, beyond which there may be a better."""
        best, config = self._best_epoch(), self.config
        validated = [epoch for epoch in self.trainer.history if epoch.valid]
        if best is None or len(validated) == 1:
            return
        sentence = None
        if best == validated[0]:
            finer = None
            if config["eval_step"] > 1:
                finer = "eval_step: 1"
            elif obstacle_to_parts(config) is None:
                parts = config["epochs_per_pass"] or 1
                finer_parts = min(4 * parts, self.train_data.batches_per_pass)
                if finer_parts > parts:
                    finer = f"epochs_per_pass: {finer_parts}"
            if finer is not None:
                sentence = f"is the first; {finer} would tell whether it was better within it."
        elif best == validated[-1] and len(self.trainer.history) == config["epochs"]:
            sentence = f"is the last of epochs: {config['epochs']}; more may be better."
        if sentence is not None:
            getLogger().info(f"The best epoch on validation {sentence}", extra=FOR_TERMINAL)

    def best_so_far(self) -> str:
        """Say how good the best epoch so far is, as after an interrupt."""
        best = self._best_epoch()
        if best is None:
            return "no epoch was evaluated" if self.trainer.history else "no epoch was complete"
        metrics = ", ".join(f"{name} {value}" for name, value in best.valid.items())
        return f"the best epoch so far is {best.epoch}, with {metrics} on validation"

    def test(self, *, saved: bool) -> None:
        """Evaluate on the test split: the best epoch where it was ``saved``, else the last one.

        Raises:
            UsageError: the GPU fails.
        """
        started = time.monotonic()
        if not saved:
            self._report_tested_epoch()
        with self.reporting_faults():
            self.test_results = self.trainer.evaluate(
                self.test_data, load_best_model=saved, show_progress=self.config["show_progress"]
            )
        evaluated = self.trainer.evaluator.evaluated
        self.test_table = table_of_scenarios(evaluated)
        if isinstance(self.model, EntireSpaceModel):
            with self.reporting_faults():
                self.task_tables = tables_of_tasks(self.model, self.test_data)
        is_of_rows = self.config["eval_type"] == EvaluatorType.VALUE
        if is_of_rows and self.config["MODEL_TYPE"] == ModelType.CONTEXT:
            self._report_doubts(*scores_and_labels(None, evaluated))
        self.testing_seconds = time.monotonic() - started

    def _report_tested_epoch(self) -> None:
        """Warn where the weights of the last epoch are tested, and another one was better."""
        best, last = self._best_epoch(), self.trainer.history[-1:]
        if best is not None and last != [best]:
            getLogger().warning(
                f"saved=False keeps no weights but the last: the test results are of epoch "
                f"{last[0].epoch}, and epoch {best.epoch} was the best on validation."
            )

    @property
    def best_epoch(self) -> int | None:
        """The number of the best epoch, from 1; ``None`` where none was evaluated."""
        best = self._best_epoch()
        return None if best is None else best.epoch + 1

    def _best_epoch(self) -> Epoch | None:
        """The epoch with the best validation results so far; ``None`` where none was evaluated."""
        return find_best_epoch(self.trainer.history, self.trainer.best_valid_result)

    def _report_doubts(self, scores: Any, labels: Any) -> None:
        """Warn of predictions that cannot be right, with what may be the cause."""
        config = self.config
        types = self.dataset.field2type
        unscaled = {*unchanged_numbers(config, types)} - scaling_methods(config, types).keys()
        advice = (
            "numerical_features as large as in the file do that (numerical_scaling: standard)"
            if unscaled and embeds_numbers(config)
            else "a lower learning_rate or fewer epochs may help"
        )
        for doubt in doubts(labels, scores):
            self._doubt(f"Test split: {doubt}; {advice}.")

    def _report_chance(self) -> None:
        """Warn of a best epoch that may rank the validation split no better than chance does."""
        if "auc" not in self.best_valid:
            return
        if not hasattr(self.trainer.evaluator, "evaluated"):
            # In a run that was resumed after its last validation.
            self.trainer.evaluate(self.valid_data, load_best_model=False)
        labels = self.trainer.evaluator.evaluated.column("data.label")
        positives = int((labels == 1).sum())
        doubt = chance_doubt(self.best_valid["auc"], positives, len(labels) - positives)
        if doubt is not None:
            self._doubt(
                f"Validation split: {doubt}; a longer training (stopping_step, epochs), a higher "
                "learning_rate or more rows may help."
            )

    def _doubt(self, sentence: str) -> None:
        self.doubts.append(sentence)
        getLogger().warning(sentence)

    def report(self, progress: Progress | None = None) -> RunReport:
        """What is to be reported of the run, and of the ``progress`` that it could resume by."""
        parameters, without_embeddings = count_parameters(self.model)
        return RunReport(
            config_to_plain(self.config),
            str(self.config["device"]),
            parameters,
            without_embeddings,
            self.trainer.history,
            self.best_valid,
            self.test_results,
            self.test_table,
            self.task_tables,
            RunTimes(
                self.started,
                round(self.loading_seconds, 3),
                round(self.training_seconds, 3),
                round(self.testing_seconds, 3),
            ),
            progress.identity if progress else None,
        )


def _built(config: Any, dataset: Any) -> Any:
    """Build a run's model.

    Raises:
        UsageError: RecBole's own refuses the config.
    """
    model_class = get_model(config["model"])
    try:
        return model_class(config, dataset)
    except (NotImplementedError, AssertionError, KeyError, ValueError) as error:
        if isinstance(error, UsageError) or not model_class.__module__.startswith("recbole."):
            raise
        # RecBole's constructors report an unknown value by no more than these errors.
        raise UsageError(
            f"model: {config['model']!r} cannot be built with this config ({error!r})."
        ) from error


def run_recbole(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
) -> RunResults:
    """Stand in for ``recbole.quick_start.run_recbole``: :func:`run_config` for a user's program.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        config_file_list: RecBole config files.
        config_dict: further config values.
        saved: whether checkpoint and report are written.

    Returns:
        See :func:`run_config`.

    Raises:
        UsageError: something that the user can fix.
    """
    return run_config(Config(model, dataset, config_file_list, config_dict), saved)


def run_config(config: Any, saved: bool = True) -> RunResults:
    """Train and test by a config, with a report at the end.

    The report is a table of the test split's scenarios in the log, and all that is needed to
    judge and repeat the run as JSON beside the checkpoint. With ``resume: True`` a run that is
    finished is not trained again: its report is named, and its results are returned.

    Args:
        config: RecBole's ``Config``.
        saved: whether checkpoint and report are written.

    Returns:
        ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``test_result``; and
        as a text, which the command prints.

    Raises:
        UsageError: something that the user can fix.
    """
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logger = getLogger()
    logger.info(f"command line: {config.cmd_config_dict}")
    logger.info(config)

    run = Run.prepare(config)
    loaders = (run.train_data, run.valid_data, run.test_data)
    progress = Progress.of(run.trainer, *loaders) if saved else None
    if progress is not None:
        is_asked = config["resume"] is True and not progress.is_unfinished
        finished = progress.finished_report() if is_asked else None
        if finished is not None:
            return _finished_results(finished, config)
        progress.resume()
    report = Path(run.trainer.saved_model_file).with_suffix(".json") if saved else None
    show(header(run, report))
    logger.info(run.dataset)
    logger.info(run.model)
    with run.reporting_faults():
        transform = construct_transform(config)
        flops = get_flops(run.model, run.dataset, config["device"], logger, transform)
    logger.info(f"{set_color('FLOPs', 'blue')}: {flops}")

    def goes_on() -> str:
        keeps = progress is not None and progress.is_unfinished
        return "; the same command with --resume goes on" if keeps else ""

    try:
        run.train(saved=saved, progress=progress)
        run.test(saved=saved)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{run.best_so_far()}{goes_on()}") from None
    except DeviceError as fault:
        # A resumed run may change these two without changing its weights.
        but = goes_on() and f"{goes_on()} (gpu_id and data_on_device may differ)"
        raise type(fault)(f"{str(fault).rstrip('.')}{but}.") from fault.__cause__

    environment = get_environment(config).draw()
    logger.info(f"The running environment of this training is as follows:\n{environment}")
    if run.test_table:
        logger.info(f"{set_color('test split', 'yellow')}:\n{run.test_table.text()}")
    if report is not None and process_group.rank() == 0:
        run.report(progress).write(report)
        logger.info(f"{set_color('report', 'yellow')}: {report}")
    if progress is not None:
        progress.complete()
    values = _results(config, run.best_valid_score, run.best_valid, run.test_results)
    return RunResults(values, run.test_table, report, run.task_tables)


def _finished_results(path: Path, config: Any) -> RunResults:
    """Name the report of a run that is finished, and give its results again."""
    report = read_report_file(path, RUN_FORMAT, "report of a run")
    checkpoint = path.with_suffix(".pth")
    where = f"checkpoint {checkpoint}" if checkpoint.is_file() else "its checkpoint is gone"
    getLogger().warning(f"This run is finished: report {path}, {where}.")
    valid, test = OrderedDict(report["valid"]), OrderedDict(report["test"])
    worst = -math.inf if config["valid_metric_bigger"] else math.inf
    score = valid.get(config["valid_metric"].lower(), worst)
    return RunResults(_results(config, score, valid, test), _table_of(report), path)


def _table_of(report: Mapping[str, Any]) -> ScenarioTable | None:
    """The scenarios that a report holds; ``None`` where rows have none, as before version 0.2."""
    all_rows = report.get("all_rows")
    if all_rows is None:
        return None
    scenarios = (ScenarioRow(**row) for row in report["scenarios"])
    return ScenarioTable(tuple(scenarios), ScenarioRow(**all_rows))


def _results(
    config: Any,
    best_valid_score: float,
    best_valid: Mapping[str, float],
    test_results: Mapping[str, float],
) -> dict[str, Any]:
    """Log a run's results and give them as RecBole does."""
    logger = getLogger()
    logger.info(f"{set_color('best valid ', 'yellow')}: {best_valid}")
    logger.info(f"{set_color('test result', 'yellow')}: {test_results}")
    return {
        "best_valid_score": best_valid_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best_valid,
        "test_result": test_results,
    }
