"""Tuning a model's config keys on the validation split, with a record that a later run resumes."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_midpg.errors import UsageError
from recbole_midpg.experiments.search_space import hyperopt_space, read_space
from recbole_midpg.integration.compat import import_hyperopt


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


class TrialRecord:
    """The finished trials of a search, a line each in a file that a killed search leaves whole.

    The first line says which search it is. A last line that was cut off is dropped.

    Args:
        path: the file; made where it does not exist.
        search: what the search is of: model, dataset, space, seed and settings.

    Raises:
        UsageError: the file is of another search, or is no record.
    """

    def __init__(self, path: Path, search: dict[str, Any]) -> None:
        self.path = path
        self.trials: list[Trial] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or not path.read_bytes():
            self._append(search)
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            path.write_bytes(whole)
        try:
            first, *others = [json.loads(line) for line in whole.splitlines()]
            self.trials = [Trial(**line) for line in others]
        except (ValueError, TypeError) as error:
            raise UsageError(f"record {str(path)!r}: is no record of a search.") from error
        if first != json.loads(json.dumps(search)):
            changed = sorted(key for key in search if first.get(key) != search[key])
            raise UsageError(
                f"record {str(path)!r}: is of another search (other {', '.join(changed)}), "
                "expected a new file or the same search."
            )

    def find(self, parameters: dict[str, Any]) -> Trial | None:
        """The finished trial of these parameters."""
        return next((trial for trial in self.trials if trial.parameters == parameters), None)

    def add(self, trial: Trial) -> None:
        """Keep a trial."""
        self._append(vars(trial))
        self.trials.append(trial)

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def tune(
    model: str,
    dataset: str,
    space: str | Path,
    record: str | Path,
    *,
    trials: int = 20,
    seed: int = 2023,
    config_files: list[str] | None = None,
    settings: dict[str, Any] | None = None,
    show_progress: bool = True,
) -> Trial:
    """Search for the config values with the best validation score, by hyperopt's TPE.

    The search is a function of its seed and of the scores so far, so a resumed search tries the
    same values again and takes the scores of finished trials from the record.

    Args:
        model: a model of this package or of RecBole.
        dataset: the dataset. Its test split is never read.
        space: a search space in RecBole's ``.hyper`` form.
        record: the file of finished trials.
        trials: how many trials in all, those in the record included.
        seed: of the search; the seed of each training is the config's.
        config_files: RecBole config files.
        settings: further config values, the same in every trial.
        show_progress: whether a bar is shown.

    Returns:
        The best trial.

    Raises:
        UsageError: hyperopt is not installed, a file is wrong, or every trial failed.
    """
    try:
        hyperopt = import_hyperopt()
    except ImportError as error:
        raise UsageError(
            f"tune: hyperopt cannot be imported ({error}); pip install 'recbole-midpg[tune]'."
        ) from error

    dimensions = read_space(space)
    fixed = dict(settings or {})
    config = Config(model, dataset, config_files, dict(fixed))
    finished = TrialRecord(
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
    )
    sign = -1.0 if config["valid_metric_bigger"] else 1.0

    def objective(drawn: dict[str, Any]) -> dict[str, Any]:
        parameters = {key: _plain(value) for key, value in drawn.items()}
        trial = finished.find(parameters)
        if trial is None:
            trial = _run_trial(model, dataset, config_files, fixed, parameters)
            finished.add(trial)
        if trial.score is None:
            return {"status": hyperopt.STATUS_FAIL}
        return {"status": hyperopt.STATUS_OK, "loss": sign * trial.score}

    # hyperopt raises where nothing succeeded; below that is told with the reason.
    with suppress(hyperopt.exceptions.AllTrialsFailed):
        hyperopt.fmin(
            objective,
            hyperopt_space(dimensions, hyperopt.hp),
            algo=hyperopt.tpe.suggest,
            max_evals=trials,
            rstate=np.random.RandomState(seed),
            show_progressbar=show_progress,
            return_argmin=False,
        )
    scored = [trial for trial in finished.trials if trial.score is not None]
    if not scored:
        raise UsageError(f"tune: every trial failed, the last one: {finished.trials[-1].problem}")
    return min(scored, key=lambda trial: sign * (trial.score or 0.0))


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
    except UsageError as error:
        # Values of the space that do not fit each other, as n larger than a layer.
        return Trial(parameters, None, time.monotonic() - start, str(error))
    return Trial(parameters, score, round(time.monotonic() - start, 3))


def _best_validation_score(
    model: str, dataset: str, config_files: list[str] | None, values: dict[str, Any]
) -> float:
    """Train with early stopping; the test split stays unread, nothing is saved."""
    config = Config(model, dataset, config_files, {"show_progress": False, **values})
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(model)(config, train_data.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    score, _ = trainer.fit(train_data, valid_data, verbose=False, saved=False)
    trainer.tensorboard.close()
    return float(score)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, torch.Tensor)):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
