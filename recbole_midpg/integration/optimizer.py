"""RecBole's choice of an optimizer, with Adam that updates large embedding tables row by row."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from recbole.config import Config
from recbole.trainer import Trainer
from recbole.utils import ModelType
from torch import nn

from recbole_midpg.errors import UsageError
from recbole_midpg.layers.row_wise_embedding import make_row_wise, tables_of
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.settings import Choice
from recbole_midpg.training.row_wise_adam import RowWiseAdam

# Rows of a table, for each sample of a batch, from which a walk over the table in every step costs
# more than finding the batch's rows in it: measured by benchmarks/row_wise_adam.py.
LARGE_TABLE = 100
# The same in several processes, where a whole table's gradient has to travel in every step:
# measured by run_recbole --nproc=2 with sparse_updates off and on, see docs/benchmarks.md.
LARGE_TABLE_OF_SEVERAL = 20

_SWITCH = Choice(("auto", "on", "off"))
# YAML reads the words on and off as truth values.
_SWITCH_WORDS = {True: "on", False: "off"}


def install() -> None:
    """Let RecBole's trainers build our optimizer; a second call does nothing."""
    if not hasattr(Trainer._build_optimizer, "__wrapped__"):
        Trainer._build_optimizer = _with_row_wise_updates(Trainer._build_optimizer)


def check_optimizer(values: dict[str, Any]) -> None:
    """Check the keys that choose the optimizer, and set ``sparse_updates`` to its word.

    Args:
        values: the config's values.

    Raises:
        UsageError: ``sparse_updates`` is not allowed, or does not go with the ``learner``.
    """
    given = values["sparse_updates"]
    switch = _SWITCH_WORDS[given] if isinstance(given, bool) else given
    if not _SWITCH.accepts(switch):
        raise UsageError(f"sparse_updates: {given!r} is not allowed, expected {_SWITCH.allowed}.")
    values["sparse_updates"] = switch
    if str(values["learner"]).lower() == "lazy_adam":
        obstacle = "sparse_updates: off" if switch == "off" else _obstacle(values)
        if values["MODEL_TYPE"] != ModelType.CONTEXT:
            obstacle = "a model that is not context-aware"
        if obstacle:
            raise _no_lazy_adam(obstacle)


def _no_lazy_adam(obstacle: str) -> UsageError:
    return UsageError(f"learner: 'lazy_adam' does not go with {obstacle}, expected 'adam'.")


def _obstacle(values: Mapping[str, Any]) -> str | None:
    """The setting that needs the gradient of a whole table, if there is one."""
    for key in ("weight_decay", "clip_grad_norm"):
        if values[key]:
            return f"{key}: {values[key]}"
    return None


def _with_row_wise_updates(stock: Any) -> Any:
    """Build our Adam for our models, and for RecBole's context-aware ones with large tables."""

    @functools.wraps(stock)
    def build_optimizer(self: Trainer, **kwargs: Any) -> torch.optim.Optimizer:
        config, model = self.config, self.model
        learner = config["learner"].lower()
        if (
            kwargs
            or config["MODEL_TYPE"] != ModelType.CONTEXT
            or learner not in ("adam", "lazy_adam")
        ):
            return stock(self, **kwargs)
        obstacle = _obstacle(config)
        if learner == "lazy_adam" and obstacle:
            raise _no_lazy_adam(obstacle)
        tables = _tables_to_update_by_row(model, config)
        if tables and obstacle:
            self.logger.info(
                f"Adam walks over whole tables in each step, as {obstacle} needs it: "
                f"{describe(model, tables)}."
            )
        elif tables:
            self.logger.info(f"Adam updates tables by the row: {describe(model, tables)}.")
        if obstacle or not (tables or isinstance(model, ScenarioRecommender)):
            # Without a table to wait for, lazy Adam is Adam.
            return stock(self, learner="adam")
        return RowWiseAdam(
            model.parameters(),
            make_row_wise(model, tables),
            lr=self.learning_rate,
            catch_up=learner == "adam",
        )

    return build_optimizer


def _tables_to_update_by_row(model: nn.Module, config: Config) -> list[str]:
    switch = config["sparse_updates"]
    if switch == "off":
        return []
    if switch == "on":
        return tables_of(model)
    rows_a_sample = LARGE_TABLE if config["single_spec"] else LARGE_TABLE_OF_SEVERAL
    return tables_of(model, min_rows=rows_a_sample * config["train_batch_size"])


def describe(model: nn.Module, tables: Sequence[str]) -> str:
    """Name tables and their sizes, as ``name (rows x columns)``."""
    sizes = {name: model.get_submodule(name).weight.shape for name in tables}
    return ", ".join(f"{name} ({rows} x {columns})" for name, (rows, columns) in sizes.items())
