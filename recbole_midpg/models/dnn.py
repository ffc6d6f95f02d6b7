r"""DNN: the backbone of the paper's comparison, without any scenario-specific part."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.layers.mlp import MLP
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields


class DNN(ScenarioRecommender):
    r"""Embeddings, fully connected hidden layers, one logit.

    .. math:: h^l = \phi(h^{l-1} W^l + b^l), \qquad z = h^L w + b

    The scenario fields are ordinary input fields, so that it lacks no information that the
    multi-scenario models have. Parameters without embeddings, at hidden sizes 128-64-32:
    :math:`128\,d_0 + 10{,}497`.

    Reference: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, as
    used in Cheng et al., CIKM 2023, section 3.2.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/DNN.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.
    """

    paper: ClassVar[str] = "Covington et al., RecSys 2016"
    needs_scenario: ClassVar[bool] = False

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # define layers
        self.backbone = MLP(
            self.input_size, self.hidden_sizes, 1, self.activation, self.dropout_prob
        )
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        return self.backbone(inputs).squeeze(-1)
