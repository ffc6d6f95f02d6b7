"""RecBole's trainer, reporting the loss of a sample, term by term."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from logging import getLogger
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType, set_color
from torch import Tensor
from torch.nn.utils.clip_grad import clip_grad_norm_
from tqdm import tqdm

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.run_report import find_best_epoch
from recbole_midpg.layers.looked_up import LookedUp
from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.training.adam import Adam
from recbole_midpg.training.cuda_graph import CudaGraph, Graph
from recbole_midpg.training.field_factors import factors_of_rows
from recbole_midpg.training.steps import EagerSteps, RecordedPrediction, RecordedSteps

# Types for automatic mixed precision: auto leaves it to torch, which takes float16 on a GPU.
AMP_DTYPES: dict[str, torch.dtype | None] = {
    "auto": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# torch.amp.GradScaler came with torch 2.3; the other name for it is to go.
_GradScaler = getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler)
# A bar on a terminal, and nowhere else, that is gone when it is full.
passing_bar = functools.partial(tqdm, leave=False, disable=None)
# The keys of the loss's terms on embeddings.
PENALTIES = ("embedding_l2", "embedding_prior")
# The optimizers that can keep their counters on the device.
_CAPTURABLE_LEARNERS = frozenset({"adam", "lazy_adam"})


class ScenarioTrainer(Trainer):
    """Trains the models of this package, and RecBole's context-aware ones.

    It differs from RecBole's trainer in what an epoch reports: the mean loss of a sample, where
    RecBole's is the sum over batches and so grows with their number, and each term by its name. And
    on a GPU it can record a training step and a prediction as CUDA graphs (``cuda_graph``).

    Args:
        config: RecBole's ``Config``.
        model: a context-aware model.

    Attributes:
        has_scenarios: ``False`` where all training rows are of one scenario: of what its loss
            tells apart nothing is remarked then.

    Raises:
        UsageError: ``cuda_graph: True`` without a GPU.
    """

    has_scenarios: bool = True
    graph_class: ClassVar[type[Graph]] = CudaGraph

    def __init__(self, config: Any, model: Any) -> None:
        self._is_own = isinstance(model, ScenarioRecommender)
        # The optimizer, which RecBole's constructor builds, keeps its counters on the device then.
        self.captures = self._can_capture(config)
        super().__init__(config, model)
        # The factors of those that are on. None in a checkpoint of an earlier version.
        self._penalties: dict[str, float] = {}
        if config["embedding_l2"]:
            self._penalties["embedding_l2"] = config["embedding_l2"]
        self._looked_up = LookedUp(model, _tables_of_sequences(model))
        # Of each lookup in a penalty, 1 where there are none.
        self._weights: dict[str, list[Tensor] | None] = {"embedding_l2": None}
        self._amp_dtype = AMP_DTYPES[config["amp_dtype"] or "auto"]
        self._loss_sums = torch.zeros(len(self.loss_names), device=self.device)
        self._steps: EagerSteps | RecordedSteps
        self._predict: Callable[[Interaction], Tensor]
        if self.captures:
            self._record_steps()
        else:
            self._steps = EagerSteps(self._take_step, self._after_step, self.device)
            self._predict = self.model.predict

    # ----------------------------------------------------------------------------------------------
    # CUDA graphs

    def _can_capture(self, config: Any) -> bool:
        """Whether training steps and predictions are to be recorded as CUDA graphs."""
        wish = config["cuda_graph"] or False  # None in a checkpoint of an earlier version
        if config["device"].type != self.graph_class.device_type:
            if wish is True:
                raise UsageError(
                    "cuda_graph: True needs a GPU, and this run has none, expected auto or False."
                )
            return False
        obstacle = None if wish is False else _obstacle_to_graphs(config)
        if obstacle is not None:
            getLogger().info(f"Training steps are not recorded as a CUDA graph, as {obstacle}.")
        return wish is not False and obstacle is None

    def _record_steps(self) -> None:
        """Let training steps and predictions be recorded when they are first run."""
        if self._is_own:
            self.model.use_fixed_shapes(True)
        self._steps = RecordedSteps(
            self._take_step,
            self._after_step,
            self.device,
            self._new_graph,
            lambda reason: self._report_unrecorded("Training steps are", reason),
        )
        self._predict = RecordedPrediction(
            self.model.predict,
            self._new_graph,
            lambda reason: self._report_unrecorded("Prediction is", reason),
        )

    def _new_graph(self) -> Graph:
        return self.graph_class(self.device)

    def _report_unrecorded(self, what: str, reason: str) -> None:
        self.logger.warning(
            f"{what} not recorded as a CUDA graph, as {self.config['model']} does something that "
            f"cannot be: {reason}."
        )

    # ----------------------------------------------------------------------------------------------
    # Training

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train as RecBole's trainer does, then log what the model has to remark."""
        if self.config["embedding_prior"]:
            self._set_prior(train_data)
        result = super().fit(train_data, *args, **kwargs)
        for remark in self._remarks():
            self.logger.warning(remark)
        return result

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The names of the loss's terms; those of RecBole's models are one, the sum."""
        of_model = self.model.loss_names if self._is_own else ("loss",)
        return (*of_model, *self._penalties)

    @torch.no_grad()
    def _set_prior(self, train_data: Any) -> None:
        r"""Let the loss have the term of ``embedding_prior``, for which training rows are counted.

        A lookup has the weight of :math:`\lambda_f` over how often a pass over the training rows
        looks up its row of a table, one of field :math:`f`. So a row is drawn to 0 by the same
        amount in a pass, however often it is read: the pass has the loss
        :math:`\sum_i L_i + \sum_f \lambda_f \sum_{v \in f} \lVert e_v \rVert^2`, of a Gaussian
        prior (probabilistic matrix factorisation, Salakhutdinov and Mnih, 2007, eq. 4, where users
        and items have a factor each).

        Raises:
            UsageError: the key names what is no field of the model's tables.
        """
        prior = self.config["embedding_prior"]
        factors: Iterable[float | Tensor] = itertools.repeat(prior)
        if isinstance(prior, Mapping):
            factors = factors_of_rows("embedding_prior", self.model, prior)
        self.model.eval()
        with self._looked_up.counts() as counts:
            for rows in train_data.all_rows():
                self.model.predict(rows)
        self._weights["embedding_prior"] = [
            factor / of_table.clamp(min=1)
            for factor, of_table in zip(factors, counts, strict=False)
        ]
        self._penalties["embedding_prior"] = 1.0
        self._loss_sums = torch.zeros(len(self.loss_names), device=self.device)

    def _remarks(self) -> list[str]:
        """What a user should know of the model, its loss and its training after that."""
        if not self._is_own:
            return []
        remarks = [*self.model.remarks()]
        if self.history:
            best = find_best_epoch(self.history, self.best_valid_result) or self.history[-1]
            if self.has_scenarios:
                remarks += self.model.remarks_on_loss(self.history[-1].loss)
            # None in a checkpoint of an earlier version.
            epochs_per_pass = self.config["epochs_per_pass"] or 1
            remarks += self.model.remarks_on_length((best.epoch + 1) / epochs_per_pass)
        return remarks

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float | tuple[float, ...]:
        """Train for an epoch.

        Returns:
            The mean loss of a sample; a tuple of the terms' means where the loss has several.

        Raises:
            UsageError: the loss became NaN or infinite.
        """
        self.model.train()
        self._loss_sums.zero_()
        # A new one in each epoch, as in RecBole's trainer, which enables it on CUDA only.
        self._scaler = _GradScaler(enabled=self.enable_scaler)
        steps = self._steps.of_epoch(train_data)
        if show_progress:
            description = set_color(f"Train {epoch_idx:>5}", "pink")
            steps = passing_bar(steps, total=len(train_data), ncols=100, desc=description)
        return self._mean_losses(self._loss_sums, sum(steps), epoch_idx)

    def _take_step(self, interaction: Interaction) -> int:
        """Train on a batch that is on the device; all of it can stand in a CUDA graph.

        Returns:
            The number of samples that the step is the mean of.
        """
        self.optimizer.zero_grad()
        terms, n_samples = self._differentiate(interaction)
        if self.clip_grad_norm:
            # Clipping means the true gradients, not the scaled ones.
            self._scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._loss_sums += terms.detach().to(self._loss_sums.dtype) * n_samples
        return n_samples

    def _after_step(self) -> None:
        """Do what the host has to do after a step."""
        if isinstance(self.optimizer, Adam):
            self.optimizer.between_steps()

    def _differentiate(self, interaction: Interaction) -> tuple[Tensor, int]:
        """Compute a batch's loss and the gradients of the parameters.

        Returns:
            The terms of the loss, and the number of samples that they are the mean of.
        """
        terms = self._terms(interaction)
        self._scaler.scale(terms.sum()).backward()
        return terms, len(interaction)

    def _terms(self, interaction: Interaction) -> Tensor:
        """The terms of a batch's loss, one for each of :attr:`loss_names`."""
        if not self._penalties:
            return self._terms_of_model(interaction)
        with ExitStack() as watched:
            lengths = {
                key: watched.enter_context(self._looked_up.squared_lengths(self._weights[key]))
                for key in self._penalties
            }
            terms = self._terms_of_model(interaction)
        n_rows = max(len(interaction), 1)
        penalties = [
            factor * sum(lengths[key], terms.new_zeros(1)) / n_rows
            for key, factor in self._penalties.items()
        ]
        return torch.cat([terms, *penalties])

    def _terms_of_model(self, interaction: Interaction) -> Tensor:
        with torch.autocast(self.device.type, self._amp_dtype, self.enable_amp):
            losses = self.model.calculate_loss(interaction)
        terms = torch.stack(losses if isinstance(losses, tuple) else (losses,))
        return terms if self._is_own else terms.sum().view(1)

    def _mean_losses(
        self, sums: Tensor, n_samples: int, epoch_idx: int
    ) -> float | tuple[float, ...]:
        means = tuple((sums / n_samples).tolist())
        if not torch.isfinite(sums).all():
            named = ", ".join(
                f"{name} = {value}" for name, value in zip(self.loss_names, means, strict=True)
            )
            raise UsageError(
                f"training: the loss of epoch {epoch_idx} is not finite ({named}); "
                "a lower learning_rate or weight of the term may help."
            )
        return means if len(means) > 1 else means[0]

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: float | tuple[float, ...]
    ) -> str:
        """The epoch's line in the log."""
        terms = losses if isinstance(losses, tuple) else (losses,)
        places = self.config["loss_decimal_place"] or 4
        text = f"{sum(terms):.{places}f}"
        if len(terms) > 1:
            named = zip(self.loss_names, terms, strict=True)
            text += f" ({', '.join(f'{name}: {value:.{places}f}' for name, value in named)})"
        return (
            set_color(f"epoch {epoch_idx} training", "green")
            + f" [{set_color('time', 'blue')}: {e_time - s_time:.2f}s, "
            + f"{set_color('train loss per sample', 'blue')}: {text}]"
        )

    # ----------------------------------------------------------------------------------------------
    # Evaluation

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as RecBole's trainer does."""
        for module in self.model.modules():
            if isinstance(module, RowWiseEmbedding):
                # A recorded prediction runs no Python that would ask for it.
                module.bring_up_to_date()
        return super().evaluate(*args, **kwargs)

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        """Score a batch of labelled rows; sampled candidates are left to RecBole."""
        interaction, _, positive_u, positive_i = batched_data
        is_one_batch = len(interaction) <= self.test_batch_size
        if self.config["eval_type"] != EvaluatorType.VALUE or not is_one_batch:
            return super()._neg_sample_batch_eval(batched_data)
        return interaction, self._predict(interaction.to(self.device)), positive_u, positive_i


def _tables_of_sequences(model: Any) -> list[str]:
    """The embedding tables of fields of several values, by RecBole's names for them."""
    return [name for name, _ in model.named_modules() if "_seq_embedding" in name]


def _obstacle_to_graphs(config: Any) -> str | None:
    """What in a config keeps training steps from being recorded, if anything does."""
    if not config["single_spec"]:
        return "several processes exchange gradients through the host"
    if config["enable_scaler"]:
        return "enable_scaler: True lets the host decide on each step (bfloat16 needs no scaler)"
    if config["learner"].lower() not in _CAPTURABLE_LEARNERS:
        return f"learner: {config['learner']} counts its steps on the host"
    return None
