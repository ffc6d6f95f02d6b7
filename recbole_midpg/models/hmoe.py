r"""HMoE: MMoE, and above it a mixture of what all scenarios would predict for a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Choice, Rules, Sizes
from recbole_midpg.layers.label_mixture import LabelMixture
from recbole_midpg.models.fields import Fields
from recbole_midpg.models.mmoe import MMoE


class HMoE(MMoE):
    r"""Hybrid mixture of experts: shared experts below, related scenarios in the label space above.

    .. math::
        z_j &= \text{tower}_j\Big(\sum_i \text{softmax}(x \, G_j)_i \, f_i(x)\Big)
        \text{ for all scenarios } j, \qquad
        y_j = \begin{cases} z_j & j = s \\ \text{sg}(z_j) & j \ne s \end{cases} \\
        \omega_s(x) &= \text{softmax}_j(x \, M_s), \qquad
        \sigma(z) = \sum_j \omega_{sj} \, \sigma(y_j)

    :math:`z_j` are MMoE's. A row's loss trains the experts, and of gates, towers and relation
    weights :math:`M_s` those of its own scenario; what the other scenarios predict for it is a
    constant. The last sum is over probabilities, or over logits or the towers' last hidden values
    by ``label_mixture``; see :class:`~recbole_midpg.layers.label_mixture.LabelMixture`.

    The scenario of a row is its token in ``scenario_id_field``. Token 0 (padding, unknown) is a
    scenario like the others, so that ``S`` counts it; only for its own rows it is among the
    scenarios that are mixed. Every scenario's gate and tower is computed for every row: a step
    grows with ``S``. Parameters without embeddings: MMoE's and :math:`S\,d_0\,S`; with hidden width
    ``a`` of the relation weights, :math:`S (d_0\,a + a + a\,S)` in the latter's place.

    Departures that the paper leaves open: which values are mixed, and that gates and relation
    weights are linear by default. The paper's ranking loss is cross-entropy here, as for all
    models.

    Reference: Li et al., "Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting
    Task Relationships in the Label Space", CIKM 2020.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/HMoE.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: experts have more layers than there are hidden layers, or all of them where
            hidden values are mixed.
    """

    paper: ClassVar[str] = "Li et al., CIKM 2020"
    rules: ClassVar[Rules] = {
        **MMoE.rules,
        "label_mixture": Choice(("probability", "logit", "hidden")),
        "weight_hidden_size": Sizes(),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: experts have more layers than there are hidden layers, or all of them where
                hidden values are mixed.
        """
        super().check_sizes(settings, layer_sizes)
        n_hidden = len(layer_sizes) - 2
        if settings["label_mixture"] == "hidden" and settings["expert_layers"] == n_hidden:
            raise UsageError(
                f"expert_layers: {n_hidden} leave no hidden layer to the towers, expected less "
                "than the length of mlp_hidden_size where label_mixture is hidden."
            )

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # define layers
        of_scenario = (self.mixture, *self.mixture.gates.layers, *self.towers.layers)
        self.label_mixture = LabelMixture(
            self.n_scenarios,
            self.input_size,
            config["weight_hidden_size"],
            self.activation,
            config["label_mixture"],
            sum(part.multiply_adds() for part in of_scenario),
        )

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        groups = self.groups(interaction[self.scenario_id_field], self.n_scenarios)
        return self.label_mixture(inputs, self.mixture, self.towers, groups)
