"""Training in several processes, with the steps that one process would take on the same batches."""

from __future__ import annotations

from typing import Any

from recbole.trainer import Trainer
from recbole.trainer.trainer import AbstractTrainer
from recbole.utils import ModelType, get_trainer
from torch import Tensor, distributed

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run import process_group
from recbole_midpg.integration.run.checkpoint import load_best
from recbole_midpg.layers.across_processes import SharedBatch, shared
from recbole_midpg.layers.shared_batch_norm import share_batch_norms
from recbole_midpg.training.gradient_exchange import GradientExchange, align
from recbole_midpg.training.trainer import PENALTIES, ScenarioTrainer


def trainer_of(config: Any, model: Any) -> Any:
    """The trainer of a model: RecBole's look-up, or in several processes theirs.

    Raises:
        UsageError: the model cannot be trained in several processes.
    """
    trainer_class = get_trainer(config["MODEL_TYPE"], config["model"])
    if config["single_spec"]:
        is_stock = trainer_class is Trainer and config["MODEL_TYPE"] == ModelType.CONTEXT
        asks_for_ours = (
            config["cuda_graph"]
            or any(config[key] for key in PENALTIES)
            or config["amp_dtype"] not in (None, "auto")
        )
        return (ScenarioTrainer if is_stock and asks_for_ours else trainer_class)(config, model)
    if trainer_class not in (Trainer, ScenarioTrainer):
        raise UsageError(
            f"nproc: {config['model']} has a trainer of its own, {trainer_class.__name__}, which "
            "is not for several processes, expected 1."
        )
    return ProcessTrainer(config, model)


class _WithoutDDP(AbstractTrainer):
    """In the order of resolution before ``AbstractTrainer``, which wraps the model for DDP.

    DDP makes a gradient of the size of each table in every step, and knows no GPU but the one of
    the rank's number.
    """

    def __init__(self, config: Any, model: Any) -> None:
        self.config, self.model = config, model


class ProcessTrainer(ScenarioTrainer, _WithoutDDP):
    """Trains this package's context-aware models, and RecBole's, in several processes.

    Each process has its share of the rows of every batch, and all take the same step: of the loss
    of the whole batch, see :mod:`recbole_midpg.layers.across_processes`. Weights and moments are
    the same everywhere, and so are the decisions that follow from them. As rounding may differ by
    where a row stands in a table, all are given those of rank 0 after each epoch.

    Args:
        config: RecBole's ``Config``, with ``single_spec`` False.
        model: a context-aware model.
    """

    def __init__(self, config: Any, model: Any) -> None:
        self._has_batch_norm = share_batch_norms(model)
        super().__init__(config, model)
        self._exchange = GradientExchange(
            list(model.parameters()),
            process_group.host_group(),
            # RecBole's models may look up a table twice, ours do not.
            rows_repeat=self._is_own and self.device.type == "cuda",
        )
        align(list(model.state_dict().values()))

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train as one process does.

        Raises:
            UsageError: a batch has too few rows for all processes.
        """
        self._check_batches(train_data)
        return super().fit(train_data, *args, **kwargs)

    def _check_batches(self, train_data: Any) -> None:
        rows, size = len(train_data.dataset), self.config["train_batch_size"]
        processes = process_group.n_processes()
        if min(rows, size) < processes:
            raise UsageError(
                f"train_batch_size: batches of {min(rows, size)} rows are not enough for "
                f"{processes} processes, expected at least a row for each."
            )
        if self._has_batch_norm and 0 < rows % size < processes:
            raise UsageError(
                f"train_batch_size: {size} leaves {rows % size} of {rows:,} rows for the last "
                f"batch, expected {processes} or more, as {self.config['model']} normalises "
                f"batches and there are {processes} processes."
            )

    def _train_epoch(self, *args: Any, **kwargs: Any) -> float | tuple[float, ...]:
        losses = super()._train_epoch(*args, **kwargs)
        self._align()
        return losses

    def _align(self) -> None:
        """Give all processes the weights and the optimizer's state of rank 0."""
        moments = self.optimizer.state_dict()["state"]
        align(list(self.model.state_dict().values()))
        align(
            [
                value
                for _, entry in sorted(moments.items())
                for _, value in sorted(entry.items())
                # A count of steps on the host is the same everywhere.
                if isinstance(value, Tensor) and value.device.type == self.device.type
            ]
        )

    def _differentiate(self, interaction: Any) -> tuple[Tensor, int]:
        batch = SharedBatch(interaction.counts, process_group.rank())
        with shared(batch):
            terms = self._terms(interaction) * batch.share
            if terms.requires_grad:
                self._scaler.scale(terms.sum()).backward()
        self._exchange(batch.counts)
        return terms, batch.rows

    def _terms(self, interaction: Any) -> Tensor:
        if len(interaction) == 0 and not self._is_own:
            # RecBole's models cannot reshape a batch without rows; it says nothing of the loss.
            return next(self.model.parameters()).new_zeros(len(self.loss_names))
        return super()._terms(interaction)

    def _mean_losses(
        self, sums: Tensor, n_samples: int, epoch_idx: int
    ) -> float | tuple[float, ...]:
        distributed.all_reduce(sums)
        return super()._mean_losses(sums, n_samples, epoch_idx)

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Evaluate as one process does, on its scores.

        The checkpoint is read by rank 0 alone, which has written it.
        """
        if eval_data and load_best_model:
            if process_group.rank() == 0:
                load_best(self, model_file)
            align(list(self.model.state_dict().values()))
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    def _map_reduce(self, result: Any, num_sample: int) -> Any:
        """Stand in for RecBole's mean over processes: the result is of all rows already."""
        return result
