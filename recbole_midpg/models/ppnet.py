r"""PPNet: gates from prior information scale every layer's input."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.rules import Flag, Integer, Names, Number, Rules
from recbole_midpg.layers.gates import GatedMLP, GateUnits
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields


class PPNet(ScenarioRecommender):
    r"""PEPNet's parameter gates on the embeddings as they are.

    .. math::
        \delta_l = \text{Gate}_l([o; \text{sg}(x)]), \quad
        h^{l+1} = \phi((\delta_l \odot h^l) W^l + b^l), \quad h^0 = x, \quad
        z = (\delta_L \odot h^L) w + b

    with the gates of :class:`~recbole_midpg.layers.gates.GateUnits`. ``x`` are all embeddings and
    ``o`` those of ``prior_fields``, slices of the same tables; by default, the ids of user and item
    that are embedded (where neither is, all fields but the scenario's) and the scenario fields,
    since without EPNet nothing else would tell the gates the scenario. sg stops the gradient, so
    that the gates do not change the embeddings through what they read; ``o`` does learn through
    them. The logit itself is not gated. One tower serves all scenarios, as there is one task.

    No parameter belongs to a scenario. Parameters without embeddings, with ``P`` the width of
    ``o``: DNN's, and for each layer's input, of width ``M``, a unit of hidden width ``H`` (``M`` by
    default) with :math:`(P + d_0 + 1) H + (H + 1) M`.

    Reference: Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with
    Personalized Prior Information", KDD 2023, section 3.4.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/PPNet.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: a field of ``prior_fields`` is not among those that the model embeds.
    """

    paper: ClassVar[str] = "Chang et al., KDD 2023"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "prior_fields": Names(),
        "gate_gamma": Number(minimum_excluded=True),
        "gate_hidden_size": Integer(minimum=0),
        "ppnet_gate_input": Flag(),
    }

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # load parameters info
        self.gates_input: bool = config["ppnet_gate_input"]
        self.prior_fields: list[str] = list(config["prior_fields"]) or self.usual_prior(config)
        columns = self.columns_of(self.prior_fields, "prior_fields")
        self.register_buffer("prior_columns", columns, persistent=False)

        # define layers
        self.define_gates(config["gate_hidden_size"], config["gate_gamma"])
        self.backbone = GatedMLP(
            self.input_size, self.hidden_sizes, self.activation, self.dropout_prob
        )
        self.initialize()

    def usual_prior(self, config: Any) -> list[str]:
        """The prior fields where ``prior_fields`` names none."""
        return list(dict.fromkeys([*self.personal_fields(config), *self.scenario_fields]))

    def define_gates(self, hidden_size: int, gamma: float) -> None:
        """Make the gate units.

        Args:
            hidden_size: hidden width of a unit; 0 makes it the unit's own width.
            gamma: upper end of a gate's range.
        """
        gated_sizes = [self.input_size, *self.hidden_sizes]
        self.ppnet = GateUnits(
            len(self.prior_columns),
            self.input_size,
            gated_sizes if self.gates_input else gated_sizes[1:],
            hidden_size,
            gamma,
        )

    def initialize(self) -> None:
        """Initialise as other models do, and then the gate units as they ask for."""
        super().initialize()
        for units in self.children():
            if isinstance(units, GateUnits):
                units.reset_parameters()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        return self.personalised(inputs, self.prior_of(inputs))

    def prior_of(self, embeddings: Tensor) -> Tensor:
        """The embeddings ``o`` of the prior fields, ``(B, P)``, among all, ``(B, d_0)``."""
        return embeddings.index_select(1, self.prior_columns)

    def personalised(self, inputs: Tensor, prior: Tensor) -> Tensor:
        """Compute the gated network.

        Args:
            inputs: :math:`h^0`, which the gates read too, ``(B, d_0)``.
            prior: ``o``, ``(B, P)``.

        Returns:
            The logits, ``(B,)``.
        """
        gates = self.ppnet(prior, inputs)
        return self.backbone(inputs, gates if self.gates_input else [None, *gates])
