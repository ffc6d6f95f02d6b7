r"""AdaSparse: pruners per layer that switch off or scale neurons by sample and scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Choice, Flag, Number, Rules
from recbole_midpg.layers.across_processes import (
    is_shared,
    share_of_batch,
    sum_over_processes,
)
from recbole_midpg.layers.pruning import PRUNING_FORMS, LinearSchedule, PrunedMLP, sparsity_loss
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import TrainingFields

# Where less of the schedules than this is behind the best weights, the log says so.
_SHORT_SHARE = 0.5


class AdaSparse(ScenarioRecommender):
    r"""DNN with a factor on every hidden neuron, generated from the scenario and the layer.

    .. math::
        h^l = \pi^l \odot \phi(h^{l-1} W^l + b^l), \quad \pi^l = S(\alpha, [s; h] W_p^l + b_p^l),
        \quad L = \text{BCE} + R_s

    ``S`` is one of three forms (see :class:`~recbole_midpg.layers.pruning.Pruner`); :math:`R_s`
    moves every layer's share of pruned neurons into a range
    (:func:`~recbole_midpg.layers.pruning.sparsity_loss`), and has no meaning for ``scaling``.
    :math:`\alpha`, which makes the threshold decide, and :math:`\hat\lambda`, the weight of
    :math:`R_s`, grow in equal steps over the first ``pruning_epochs`` passes over the training
    rows, which may be a fraction. They advance in training only and are part of a checkpoint.

    Parameters without embeddings: DNN's, and :math:`(d_s + N + 1) N` for each pruned layer of width
    ``N``.

    Reference: Yang et al., "AdaSparse: Learning Adaptively Sparse Structures for Multi-Domain
    Click-Through Rate Prediction", CIKM 2022.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/AdaSparse.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: ``sparsity_min`` is above ``sparsity_max``.
    """

    paper: ClassVar[str] = "Yang et al., CIKM 2022"
    loss_names: ClassVar[tuple[str, ...]] = ("bce", "sparsity")
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "pruning_form": Choice(PRUNING_FORMS),
        "pruning_beta": Number(minimum=1.0),
        "pruning_epsilon": Number(maximum=1.0, minimum_excluded=True, maximum_excluded=True),
        "pruning_alpha_start": Number(minimum_excluded=True),
        "pruning_alpha_end": Number(minimum_excluded=True),
        "pruning_epochs": Number(minimum_excluded=True),
        "prune_input": Flag(),
        "sparsity_min": Number(maximum=1.0),
        "sparsity_max": Number(maximum=1.0),
        "sparsity_weight_start": Number(),
        "sparsity_weight_end": Number(),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on each other.

        Raises:
            UsageError: ``sparsity_min`` is above ``sparsity_max``.
        """
        if settings["sparsity_min"] > settings["sparsity_max"]:
            raise UsageError(
                f"sparsity_min: {settings['sparsity_min']} is above sparsity_max, "
                f"expected at most {settings['sparsity_max']}."
            )

    def __init__(self, config: Any, dataset: TrainingFields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.form: str = config["pruning_form"]
        self.alphas: tuple[float, float] = (
            config["pruning_alpha_start"],
            config["pruning_alpha_end"],
        )
        self.weights: tuple[float, float] = (
            config["sparsity_weight_start"],
            config["sparsity_weight_end"],
        )
        self.target: tuple[float, float] = (config["sparsity_min"], config["sparsity_max"])
        steps_an_epoch = max(math.ceil(dataset.inter_num / config["train_batch_size"]), 1)
        self.pruning_epochs: float = config["pruning_epochs"] or _epochs_of_earlier_version(
            config["pruning_steps"], steps_an_epoch
        )

        # define layers
        self.schedule = LinearSchedule(max(round(self.pruning_epochs * steps_an_epoch), 1))
        self.backbone = PrunedMLP(
            self.input_size,
            self.scenario_size,
            self.hidden_sizes,
            form=self.form,
            beta=config["pruning_beta"],
            epsilon=config["pruning_epsilon"],
            prune_input=config["prune_input"],
            activation=self.activation,
            dropout=self.dropout_prob,
        )
        self.initialize()

    def _run(self, interaction: Interaction) -> tuple[Tensor, list[Tensor], Tensor]:
        """The logits, the factors of each pruned layer, and the shares of neurons kept."""
        alpha = self.schedule.between(*self.alphas)
        return self.backbone(*self.embed(interaction), alpha)

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        return self._run(interaction)[0]

    def neuron_factors(self, interaction: Interaction) -> list[Tensor]:
        """Compute the factors of a batch's neurons, ``(B, N)`` a pruned layer; 0 is pruned."""
        return self._run(interaction)[1]

    def logits_and_terms(self, interaction: Interaction) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute the logits and the sparsity regulariser, and advance the schedules."""
        logits, _, kept = self._run(interaction)
        if self.form == "scaling" or (len(logits) == 0 and not is_shared()):
            regulariser = logits.new_zeros(())
        else:
            kept = sum_over_processes(kept * share_of_batch())
            regulariser = sparsity_loss(kept, self.schedule.between(*self.weights), *self.target)
        if self.training:
            self.schedule.advance()
        return logits, (regulariser,)

    def remarks_on_length(self, passes: float) -> list[str]:
        """Say where the best weights are from before half of the schedules."""
        share = passes / self.pruning_epochs
        if self.form == "scaling" or share >= _SHORT_SHARE:
            return []
        alpha, weight = (
            f"{start + (end - start) * share:.3g} of {end:g}"
            for start, end in (self.alphas, self.weights)
        )
        return [
            f"AdaSparse: the best weights are those after {passes:g} of the "
            f"{self.pruning_epochs:g} passes of its schedule (pruning_epochs): α had come to "
            f"{alpha}, λ̂ to {weight}; pruning_epochs: {passes:g} ends it by then."
        ]


def _epochs_of_earlier_version(steps: int, steps_an_epoch: int) -> float:
    """The length of the schedules in a checkpoint that has no ``pruning_epochs``.

    Args:
        steps: its ``pruning_steps``; 0 were those of five epochs.
        steps_an_epoch: the batches of the training split.
    """
    return steps / steps_an_epoch or 5.0
