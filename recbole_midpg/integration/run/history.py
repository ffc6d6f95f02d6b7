"""What each epoch of a training brought: kept with the trainer, and shown in TensorBoard."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_midpg.evaluation.run_report import Epoch
from recbole_midpg.integration.metrics.metrics import rows_of_scenarios
from recbole_midpg.integration.run.terminal import EpochLines


def with_history(stock: Any) -> Any:
    """Wrap ``Trainer.fit``: keep a history, go on with what a resumed run had, show each epoch."""
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments
        self.history = list(self.history)
        self.epoch_started = time.monotonic()
        self.epoch_lines = _epoch_lines(self, given) if given.get("verbose", True) else None
        result = stock(self, *args, **kwargs)
        if self.epoch_lines is not None:
            self.epoch_lines.finish()
        return result

    return fit


def _epoch_lines(trainer: Any, given: Mapping[str, Any]) -> EpochLines:
    """The lines of a training with these arguments of ``Trainer.fit``."""
    eval_step = trainer.eval_step if given.get("valid_data") is not None else 0
    return EpochLines(eval_step, trainer.config["loss_decimal_place"] or 4)


def with_record(stock: Any) -> Any:
    """Wrap the method that every trainer calls with the losses of an epoch, right after it."""

    @functools.wraps(stock)
    def add(self: Any, epoch_idx: int, losses: Any, *args: Any, **kwargs: Any) -> None:
        terms = losses if isinstance(losses, tuple) else (losses,)
        names = _loss_names(self) or _numbered(len(terms))
        seconds = time.monotonic() - self.epoch_started
        loss = {name: float(term) for name, term in zip(names, terms, strict=True)}
        self.history.append(Epoch(epoch_idx, loss, round(seconds, 3)))
        self.epoch_started = time.monotonic()  # of the next, where this one is not evaluated
        if self.epoch_lines is not None:
            self.epoch_lines.trained(self.history[-1])
        stock(self, epoch_idx, losses, *args, **kwargs)

    return add


def _loss_names(trainer: Any) -> Sequence[str] | None:
    """The names of a loss's terms, where trainer or model have such."""
    for source in (trainer, trainer.model):
        if names := getattr(source, "loss_names", None):
            return names
    return None


def _numbered(count: int) -> list[str]:
    return ["loss"] if count == 1 else [f"loss{number}" for number in range(1, count + 1)]


def with_results(stock: Any) -> Any:
    """Wrap ``Trainer._valid_epoch``: keep the results, and draw each scenario's curve."""

    @functools.wraps(stock)
    def valid_epoch(self: Any, *args: Any, **kwargs: Any) -> Any:
        score, results = stock(self, *args, **kwargs)
        if self.history:
            epoch = self.history[-1]
            epoch.valid = dict(results)
            for row in rows_of_scenarios(self.evaluator.evaluated):
                if row.auc is not None:
                    epoch.scenario_auc[row.name] = row.auc
                    self.tensorboard.add_scalar(f"Valid_AUC/{row.name}", row.auc, epoch.epoch)
                self.tensorboard.add_scalar(f"Valid_LogLoss/{row.name}", row.logloss, epoch.epoch)
        self.epoch_started = time.monotonic()
        if self.epoch_lines is not None:
            self.epoch_lines.evaluated(_is_best(self, score))
        return score, results

    return valid_epoch


def _is_best(trainer: Any, score: float) -> bool:
    """Whether no earlier epoch is better, as RecBole keeps the last of equal ones."""
    best = trainer.best_valid_score
    return bool(score >= best if trainer.valid_metric_bigger else score <= best)
