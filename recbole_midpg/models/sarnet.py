r"""SARNet: each scenario scales and shifts the input of shared and of its own experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Flag, Integer, Rules
from recbole_midpg.layers.debias_experts import DebiasExperts, ScenarioTransform, normalise_batch
from recbole_midpg.layers.mlp import MLP
from recbole_midpg.models.base import ScenarioRecommender, check_depth
from recbole_midpg.models.fields import Fields


class SARNet(ScenarioRecommender):
    r"""A transformation by the scenario, then shared and specific experts under one gate.

    .. math::
        x' = x \odot a_s + c_s, \qquad
        u = \sum_{i=1}^{n_\text{sh} + n_\text{sp}} \text{softmax}(x' W_g + b_g)_i \, e_i, \qquad
        z = \text{top}(u)

    with experts :math:`e = (f_1(x'), \dots, f_{n_\text{sh}}(x'), f_{s,1}(x'), \dots,
    f_{s,n_\text{sp}}(x'))`. ``expert_layers`` says how many of ``mlp_hidden_size`` are widths of
    the experts; the others are those of the top, which all scenarios share, as they do the gate.

    The scenario of a row is its token in ``scenario_id_field``. Token 0 (padding, unknown) is a
    scenario like the others, so that ``S`` counts it. A row is computed by its own scenario's
    experts only. Parameters without embeddings, at hidden sizes 128-64-32 and two expert layers:
    :math:`2 S d_0 + (n_\text{sh} + S n_\text{sp})(128\,d_0 + 8{,}384)
    + (d_0 + 1)(n_\text{sh} + n_\text{sp}) + 2{,}113`, and :math:`2 d_0` of
    ``expert_batch_norm``. With hundreds of scenarios nearly all belong to specific experts;
    ``specific_experts: 0`` keeps the transformation alone.

    A scenario that training has not seen is not transformed, and its experts are as they were
    drawn.

    Departures: the paper's two attentions read sequences of behaviour with their scenarios, and its
    bias net and fairness coefficient a record of which items were promoted by hand; no such data is
    here, and what serves in the paper goes without the latter two as well. Public versions have
    experts of a single linear map, to a score or to a vector, after a batch normalisation
    (``expert_batch_norm``); the abstract has predictions reweighed. Experts here are as wide and
    deep as MMoE's. With ``expert_layers`` the length of ``mlp_hidden_size``, the logit is the
    gated sum of the experts' scores, since gates sum to 1.

    Reference: Shen et al., "SAR-Net: A Scenario-Aware Ranking Network for Personalized Fair
    Recommendation in Hundreds of Travel Scenarios", CIKM 2021.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/SARNet.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: there is no expert, or its layers are more than the hidden layers.
    """

    paper: ClassVar[str] = "Shen et al., CIKM 2021"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "shared_experts": Integer(minimum=0),
        "specific_experts": Integer(minimum=0),
        "expert_layers": Integer(minimum=1),
        "expert_batch_norm": Flag(),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on each other or on layer widths.

        Raises:
            UsageError: there is no expert, or its layers are more than the hidden layers.
        """
        check_depth(settings, "expert_layers", layer_sizes)
        if not settings["shared_experts"] + settings["specific_experts"]:
            raise UsageError(
                "shared_experts: 0, and specific_experts is 0 too, expected at least 1 of either."
            )

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.n_scenarios: int = dataset.num(config["scenario_id_field"])
        n_layers: int = config["expert_layers"]
        expert_sizes, top_sizes = self.hidden_sizes[:n_layers], self.hidden_sizes[n_layers:]

        # define layers
        self.transform = ScenarioTransform(self.n_scenarios, self.input_size)
        self.norm = nn.BatchNorm1d(self.input_size) if config["expert_batch_norm"] else None
        self.experts = DebiasExperts(
            self.n_scenarios,
            self.input_size,
            expert_sizes,
            config["shared_experts"],
            config["specific_experts"],
            self.activation,
            self.dropout_prob,
        )
        self.top = MLP(expert_sizes[-1], top_sizes, 1, self.activation, self.dropout_prob)
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        scenario_ids = interaction[self.scenario_id_field]
        hidden = self.transform(inputs, scenario_ids)
        if self.norm is not None:
            hidden = normalise_batch(hidden, self.norm)
        groups = self.groups(scenario_ids, self.n_scenarios) if self.experts.specific else None
        return self.top(self.experts(hidden, groups)).squeeze(-1)
