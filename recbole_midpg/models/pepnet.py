r"""PEPNet: gates from prior information scale the embeddings and every layer's input."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.layers.gates import GateUnits
from recbole_midpg.models.ppnet import PPNet


class PEPNet(PPNet):
    r"""EPNet on the embeddings, by the scenario; PPNet in the network, by user and item.

    .. math::
        O_\text{ep} &= \delta_\text{domain} \odot E, \quad
        \delta_\text{domain} = \text{Gate}([s; \text{sg}(E)]) \\
        h^{l+1} &= \phi((\delta_l \odot h^l) W^l + b^l), \quad
        \delta_l = \text{Gate}_l([O_\text{prior}; \text{sg}(O_\text{ep})]), \quad
        h^0 = O_\text{ep}

    ``E`` are all embeddings, ``s`` the scenario fields' among them, and :math:`O_\text{prior}`
    those of ``prior_fields``: slices of the same tables; by default, the ids of user and item that
    are embedded, and where neither is, all fields but the scenario's. sg stops the gradient, so
    that gates change neither embeddings nor EPNet through what they read; ``s`` and
    :math:`O_\text{prior}` do learn through the gates. The logit itself is not gated. One tower
    serves all scenarios, as there is one task.

    With :math:`P` the width of :math:`O_\text{prior}`, a gate unit of ``M`` outputs and ``I``
    inputs, hidden width ``H``, has :math:`(I + 1) H + (H + 1) M` parameters; those without
    embeddings are DNN's, a unit with :math:`I = d_s + d_0, M = d_0`, and units with
    :math:`I = P + d_0` and ``M`` the width of each layer's input.

    Reference: Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with
    Personalized Prior Information", KDD 2023.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/PEPNet.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: a field of ``prior_fields`` is not among those that the model embeds.
    """

    paper: ClassVar[str] = "Chang et al., KDD 2023"

    def usual_prior(self, config: Any) -> list[str]:
        """The prior fields where ``prior_fields`` names none: EPNet's gate knows the scenario."""
        return self.personal_fields(config)

    def define_gates(self, hidden_size: int, gamma: float) -> None:
        """Make EPNet's gate unit, and then PPNet's; see :meth:`PPNet.define_gates`."""
        self.epnet = GateUnits(
            self.scenario_size, self.input_size, [self.input_size], hidden_size, gamma
        )
        super().define_gates(hidden_size, gamma)

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, scenario = self.embed(interaction)
        (domain_gate,) = self.epnet(scenario, inputs)
        return self.personalised(domain_gate * inputs, self.prior_of(inputs))
