r"""MI-DPG: decomposable parameter generation with mutual information regularisation."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.rules import Choice, Flag, Number, Rules, Sizes
from recbole_midpg.layers.across_processes import whole_batch
from recbole_midpg.layers.mutual_information import (
    MI_ESTIMATORS,
    PairDiscriminator,
    mutual_information_loss,
)
from recbole_midpg.models.base import flatten_matrices, initialize_module
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.fields import Fields

# Those whose loss ends at 0; the others' estimates of mutual information have no such end.
_BOUNDED_ESTIMATORS = ("jsd", "infonce")
# A discriminator that knows nothing has 1.39 (jsd) or the logarithm of the scenarios (infonce).
_IDLE_LOSS = 0.05


class MIDPG(DPG):
    r"""DPG, with the weighting matrices made to reveal their scenario.

    .. math:: L = \alpha \cdot \text{BCE} + \beta \cdot L_\text{MIR}

    A discriminator scores how well a scenario-aware embedding and the weighting matrices of all
    layers belong together; the loss makes it distinguish matched pairs from shuffled ones, and
    through the matrices' gradient makes matrices of different scenarios distinguishable.

    Reference: Cheng et al., "MI-DPG: Decomposable Parameter Generation Network Based on Mutual
    Information for Multi-Scenario Recommendation", CIKM 2023, equations (1)-(8).

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/MIDPG.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: ``n`` or ``m`` is larger than a layer that it weights.
    """

    loss_names: ClassVar[tuple[str, ...]] = ("alpha*bce", "beta*mir")
    rules: ClassVar[Rules] = {
        **DPG.rules,
        "beta": Number(),
        "mi_estimator": Choice(MI_ESTIMATORS),
        "mi_mask_same_scenario": Flag(),
        "mi_detach_scenario": Flag(),
        "mi_standardize": Flag(),
        "discriminator_hidden_size": Sizes(minimum_length=1),
    }

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # load parameters info
        self.estimator: str = config["mi_estimator"]
        self.beta: float = config["beta"]
        self.detach_scenario: bool = config["mi_detach_scenario"]

        # define layers and loss
        discriminator = PairDiscriminator(
            self.scenario_size,
            self.backbone.matrix_size(),
            config["discriminator_hidden_size"],
            self.activation,
            standardize=config["mi_standardize"],
        )
        self.mutual_information = mutual_information_loss(
            discriminator,
            self.estimator,
            config["mi_mask_same_scenario"],
            prod(dataset.num(field) for field in self.scenario_fields),
        )
        self.mutual_information.apply(initialize_module)

    def logits_and_terms(self, interaction: Interaction) -> tuple[Tensor, tuple[Tensor, ...]]:
        r"""Compute the logits, and the loss's term :math:`\beta\,L_\text{MIR}`."""
        inputs, scenario = self.embed(interaction)
        scenario_tokens = self.scenario_tokens(interaction)
        logits, matrices = self.backbone(inputs, scenario, scenario_tokens)
        # The partner of a row may be any row of the batch, those of other processes too.
        regularisation = self.mutual_information(
            *whole_batch(
                scenario.detach() if self.detach_scenario else scenario, flatten_matrices(matrices)
            ),
            *whole_batch(scenario_tokens),
        )
        return logits, (self.beta * regularisation,)

    def remarks_on_loss(self, terms: Mapping[str, float]) -> list[str]:
        """Say where the mutual information has nothing left to teach the weighting matrices."""
        if not self.beta or self.estimator not in _BOUNDED_ESTIMATORS:
            return []
        loss = terms[self.loss_names[1]] / self.beta
        if loss >= _IDLE_LOSS:
            return []
        return [
            f"MIDPG: the mutual information loss ended at {loss:.2g} (beta*mir over beta), next to "
            "its least value 0: the discriminator tells the scenarios' matrices apart, however "
            "little they differ, and the term hardly moves them any more; mi_standardize: False "
            "lets it see how much they differ."
        ]
