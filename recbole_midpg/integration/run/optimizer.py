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

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Choice
from recbole_midpg.integration.run.regularisation import leave_out
from recbole_midpg.layers.row_wise_embedding import make_row_wise, tables_of
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.training.adam import Adam
from recbole_midpg.training.kernels import row_steps_of
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from recbole_midpg.training.trainer import PENALTIES, ScenarioTrainer
from recbole_midpg.training.weight_decay import decay_weights

# Rows of a table, for each sample of a batch, from which a walk over the table in every step costs
# more than finding the batch's rows in it: measured by benchmarks/row_wise_adam.py on a CPU.
LARGE_TABLE = {"cpu": 100, "cuda": 100}
# The same in several processes, where a whole table's gradient has to travel in every step:
# measured by run_recbole --nproc=2 with sparse_updates off and on, see docs/benchmarks.md.
LARGE_TABLE_OF_SEVERAL = {"cpu": 20, "cuda": 20}

_SWITCH = Choice(("auto", "on", "off"))
# YAML reads the words on and off as truth values.
_SWITCH_WORDS = {True: "on", False: "off"}


def check_optimizer(values: dict[str, Any]) -> None:
    """Check the keys that choose the optimizer, and set ``sparse_updates`` to its word.

    Args:
        values: the config's values.

    Raises:
        UsageError: ``sparse_updates`` is not allowed, or does not go with the ``learner``, or the
            ``learner`` is not for the model.
    """
    given = values["sparse_updates"]
    switch = _SWITCH_WORDS[given] if isinstance(given, bool) else given
    if not _SWITCH.accepts(switch):
        raise UsageError(f"sparse_updates: {given!r} is not allowed, expected {_SWITCH.allowed}.")
    values["sparse_updates"] = switch
    is_context = values["MODEL_TYPE"] == ModelType.CONTEXT
    learner = str(values["learner"]).lower()
    if learner == "sparse_adam" and is_context:
        raise UsageError(
            "learner: 'sparse_adam' takes sparse gradients alone, and a context-aware model has "
            "dense ones, expected 'lazy_adam', which updates the rows of a batch."
        )
    obstacle = _obstacle(values) if is_context else "a model that is not context-aware"
    if learner == "lazy_adam":
        obstacle = "sparse_updates: off" if switch == "off" else obstacle
        if obstacle:
            raise _no_lazy_adam(obstacle)
    if switch == "on":
        obstacle = obstacle if learner in ("adam", "lazy_adam") else f"learner: {learner}"
        if obstacle:
            raise UsageError(
                f"sparse_updates: on does not go with {obstacle}, which walks over whole tables, "
                "expected auto or off."
            )


def _no_lazy_adam(obstacle: str) -> UsageError:
    return UsageError(f"learner: 'lazy_adam' does not go with {obstacle}, expected 'adam'.")


def _obstacle(values: Mapping[str, Any]) -> str | None:
    """The setting that needs the gradient of a whole table, if there is one."""
    for key in ("weight_decay", "clip_grad_norm"):
        if values[key]:
            return f"{key}: {values[key]}"
    return None


def rows_of_a_large_table(device_type: str, samples: int, several_processes: bool) -> int:
    """From how many rows on a table is cheaper to update by the row than as a whole.

    For a GPU the numbers are those of the CPU, until ``python -m benchmarks.row_wise_adam
    --device=cuda`` has measured it there. An estimate for an H100, whose dense fused Adam takes
    0.25 ms for 19 million values (measured): in a CUDA graph, the row-wise lookup and step are some
    95 launches of 2 to 3 µs, and with seven lookups a sample they move 0.01 µs a sample. They meet
    at 15 million values and 800 for each sample: with 16 columns, 1,900 rows a sample in batches of
    512, 165 in batches of 8,192 and 65 in batches of 65,536.

    Args:
        device_type: ``cpu`` or ``cuda``.
        samples: rows of a training batch.
        several_processes: whether there are several, who exchange gradients.
    """
    rows_a_sample = LARGE_TABLE_OF_SEVERAL if several_processes else LARGE_TABLE
    return rows_a_sample[device_type] * samples


def with_row_wise_updates(stock: Any) -> Any:
    """Build our Adam for our models, and for RecBole's context-aware ones with large tables.

    A trainer whose attribute ``captures`` is true gets an optimizer whose step can be captured, and
    calls its ``between_steps``; not in several processes, where a step has rows that another one
    has looked up.
    """

    @functools.wraps(stock)
    def build_optimizer(self: Trainer, **kwargs: Any) -> torch.optim.Optimizer:
        config, model = self.config, self.model
        captures = getattr(self, "captures", False) and config["single_spec"]
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
            adam = stock(self, learner="adam")
            return capturable_like(adam) if captures else adam
        return RowWiseAdam(
            model.parameters(),
            make_row_wise(model, tables),
            lr=self.learning_rate,
            catch_up=learner == "adam",
            capturable=captures,
            row_steps=row_steps_of(config),
        )

    return build_optimizer


def with_check_of_penalties(stock: Any) -> Any:
    """Refuse a penalty on embeddings in a trainer whose loss would not have it.

    Raises:
        UsageError: it is set, and the trainer is not ours.
    """

    @functools.wraps(stock)
    def build_optimizer(self: Trainer, **kwargs: Any) -> torch.optim.Optimizer:
        for key in PENALTIES:
            if self.config[key] and not isinstance(self, ScenarioTrainer):
                trainer = f"{type(self).__name__}, the trainer of {self.config['model']},"
                leave_out(key, f"{trainer} does not have it", self.config)
        return stock(self, **kwargs)

    return build_optimizer


def with_dense_weight_decay(stock: Any) -> Any:
    """Let whatever is no embedding decay by ``dense_weight_decay``, with any ``learner``."""

    @functools.wraps(stock)
    def build_optimizer(self: Trainer, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = stock(self, **kwargs)
        decay = self.config["dense_weight_decay"]
        if decay:
            modules = self.model.modules()
            embeddings = [module.weight for module in modules if isinstance(module, nn.Embedding)]
            decay_weights(optimizer, decay, exempt=embeddings)
        return optimizer

    return build_optimizer


def capturable_like(adam: torch.optim.Adam) -> Adam:
    """An Adam with the settings of another, of which a step can be captured."""
    (group,) = adam.param_groups
    return Adam(
        group["params"],
        group["lr"],
        group["betas"],
        group["eps"],
        group["weight_decay"],
        capturable=True,
    )


def _tables_to_update_by_row(model: nn.Module, config: Config) -> list[str]:
    switch = config["sparse_updates"]
    if switch == "off":
        return []
    if switch == "on":
        return tables_of(model)
    min_rows = rows_of_a_large_table(
        config["device"].type, config["train_batch_size"], not config["single_spec"]
    )
    return tables_of(model, min_rows)


def describe(model: nn.Module, tables: Sequence[str]) -> str:
    """Name tables and their sizes, as ``name (rows x columns)``."""
    sizes = {name: model.get_submodule(name).weight.shape for name in tables}
    return ", ".join(f"{name} ({rows} x {columns})" for name, (rows, columns) in sizes.items())
