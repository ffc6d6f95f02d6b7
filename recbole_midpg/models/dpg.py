r"""DPG: MI-DPG without the mutual information regularisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.rules import Choice, Flag, Integer, Number, Rules, Sizes
from recbole_midpg.layers.weighting import WEIGHTINGS, WeightedMLP, check_tile_sizes
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields


class DPG(ScenarioRecommender):
    r"""A backbone whose weights each sample scales by matrices generated from its scenario.

    .. math::
        h^l = \phi(h^{l-1} (W^l \odot \hat W^l) + b^l), \quad
        \hat W^l = \text{tile}(\sigma(U V)), \quad L = \alpha \cdot \text{BCE}

    Reference: Cheng et al., "MI-DPG: Decomposable Parameter Generation Network Based on Mutual
    Information for Multi-Scenario Recommendation", CIKM 2023, equations (1)-(5); the model of
    Table 1's row "DPG".

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/DPG.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: ``n`` or ``m`` is larger than a layer that it weights.
    """

    paper: ClassVar[str] = "Cheng et al., CIKM 2023"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "weighting": Choice(tuple(WEIGHTINGS)),
        "n": Integer(minimum=1),
        "m": Integer(minimum=1),
        "k": Integer(minimum=1),
        "tile": Choice(("cyclic", "block")),
        "gate_scale": Number(minimum_excluded=True),
        "generator_input": Choice(("scenario_and_input", "scenario")),
        "generator_hidden_size": Sizes(),
        "generator_stop_gradient": Flag(),
        "weight_output_layer": Flag(),
        "alpha": Number(minimum_excluded=True),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: ``n`` or ``m`` is larger than a layer that it weights.
        """
        check_tile_sizes(
            layer_sizes,
            settings["weighting"],
            settings["n"],
            settings["m"],
            settings["weight_output_layer"],
        )

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # load parameters info
        self.entropy_weight: float = config["alpha"]

        # define layers
        self.backbone = WeightedMLP(
            self.input_size,
            self.scenario_size,
            self.hidden_sizes,
            weighting=config["weighting"],
            rows=config["n"],
            columns=config["m"],
            rank=config["k"],
            tile=config["tile"],
            gate_scale=config["gate_scale"],
            generator_input=config["generator_input"],
            generator_hidden_sizes=config["generator_hidden_size"],
            stop_generator_gradient=config["generator_stop_gradient"],
            weight_output_layer=config["weight_output_layer"],
            activation=self.activation,
            dropout=self.dropout_prob,
        )
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        return self._apply_backbone(interaction)[0]

    def weighting_matrices(self, interaction: Interaction) -> list[Tensor]:
        """Compute the weighting matrices of a batch before tiling, ``(B, n, m)`` a layer."""
        return self._apply_backbone(interaction)[1]

    def _apply_backbone(self, interaction: Interaction) -> tuple[Tensor, list[Tensor]]:
        return self.backbone(*self.embed(interaction), self.scenario_tokens(interaction))
