r"""EPNet: a gate from the scenario scales the embeddings of a plain network."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.rules import Integer, Number, Rules
from recbole_midpg.layers.gates import GateUnits
from recbole_midpg.layers.mlp import MLP
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields


class EPNet(ScenarioRecommender):
    r"""PEPNet's embedding gate before the network of DNN.

    .. math::
        \delta = \gamma\,\sigma(\text{relu}([s; \text{sg}(x)] W + b) W' + b'), \qquad
        z = \text{MLP}(\delta \odot x)

    ``x`` are all embeddings, ``s`` the scenario fields' among them: the scenario enters twice, as
    what the gate reads and as part of what it scales. sg stops the gradient, so that the gate does
    not change the embeddings through what it reads; ``s`` does learn through the gate.

    No parameter belongs to a scenario: several scenario fields may make one, and an unseen
    scenario is an embedding that has not learned. Parameters without embeddings: those of DNN and,
    with hidden width ``H`` of the gate, :math:`(d_s + d_0 + 1) H + (H + 1) d_0`; by default
    :math:`H = d_0`.

    Departures: the paper's EPNet is a part of PEPNet and has a tower for each task; here one
    network serves all scenarios, as there is one task. Whether the embeddings that the paper gates
    hold the scenario's own is not settled; they do here, as in PEPNet.

    Reference: Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with
    Personalized Prior Information", KDD 2023, section 3.3.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/EPNet.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.
    """

    paper: ClassVar[str] = "Chang et al., KDD 2023"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "gate_gamma": Number(minimum_excluded=True),
        "gate_hidden_size": Integer(minimum=0),
    }

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # define layers
        self.epnet = GateUnits(
            self.scenario_size,
            self.input_size,
            [self.input_size],
            config["gate_hidden_size"],
            config["gate_gamma"],
        )
        self.backbone = MLP(
            self.input_size, self.hidden_sizes, 1, self.activation, self.dropout_prob
        )
        self.initialize()
        self.epnet.reset_parameters()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, scenario = self.embed(interaction)
        (gate,) = self.epnet(scenario, inputs)
        return self.backbone(gate * inputs).squeeze(-1)
