r"""M2M: experts mixed and carried on by layers that are generated from the row's scenario."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional

from recbole_midpg.common.rules import Choice, Integer, Names, Rules
from recbole_midpg.layers.meta_unit import (
    Knowledge,
    MetaAttention,
    MetaTower,
    RowKnowledge,
    ScenarioKnowledge,
)
from recbole_midpg.layers.mixture import SharedExperts
from recbole_midpg.layers.scenario_grouping import ScenarioGroups, number_scenarios
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields


class M2M(ScenarioRecommender):
    r"""Multi-scenario multi-task meta learning, with the click as its only task.

    .. math::
        q &= \text{lrelu}([s; e_\text{mix}] W_q + b_q), \qquad E_i = f_i(h^0), \quad i = 1..n \\
        \alpha &= \text{softmax}_i(\text{Meta}_\text{att}([E_i; t]; q) \cdot v_a), \qquad
        L_0 = \sum_i \alpha_i E_i \\
        L_j &= \text{lrelu}(\text{Meta}_j(L_{j-1}; q) + L_{j-1}), \quad j = 1..J, \qquad
        z = L_J w + b

    :math:`\text{Meta}(h; q)` is a stack of ``K`` layers
    :math:`h \leftarrow \text{lrelu}(h W + b)` whose ``W`` and ``b`` are linear in the scenario
    knowledge ``q``. The experts are networks of ``mlp_hidden_size`` on all embeddings, ``t`` and
    :math:`v_a` learned vectors; the slope of lrelu is 0.01. No parameter belongs to one scenario:
    a scenario is known by its embedding.

    By ``meta_condition``, ``q`` is made of the scenario fields' embeddings and those of
    ``meta_mix_fields`` (``mix``), or of the scenario's alone (``group``): weights are then
    generated once a scenario of the batch. ``meta_mix_fields`` are by default the ids of user and
    item that are embedded, and where neither is, all fields but the scenario's. With
    :attr:`fixed_shapes` weights are generated row by row in either case; the results are the same.

    Parameters without embeddings, ``v`` the last width, :math:`d_q` that of what ``q`` is made of:
    ``n`` times those of DNN's hidden layers, :math:`(d_q + 1) c + K (c + 1)(4 v^2 + 2 v) +
    J K (c + 1)(v^2 + v) + 4 v + 1`.

    Departures: cross-entropy of clicks where the paper has a Poisson regression of an advertiser's
    three tasks, so that ``t`` is one vector; no transformer, which reads behaviour sequences.

    Reference: Zhang et al., "Leaving No One Behind: A Multi-Scenario Multi-Task Meta Learning
    Approach for Advertiser Modeling", WSDM 2022.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/M2M.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: a field of ``meta_mix_fields`` is not among those that the model embeds.
    """

    paper: ClassVar[str] = "Zhang et al., WSDM 2022"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "experts": Integer(minimum=1),
        "scenario_view_size": Integer(minimum=1),
        "meta_unit_layers": Integer(minimum=1),
        "meta_tower_layers": Integer(minimum=0),
        "meta_condition": Choice(("mix", "group")),
        "meta_mix_fields": Names(),
    }

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # load parameters info
        knowledge_size: int = config["scenario_view_size"]
        n_layers: int = config["meta_unit_layers"]
        self.by_scenario: bool = config["meta_condition"] == "group"
        mixed = list(config["meta_mix_fields"]) or self.personal_fields(config)
        known = self.scenario_fields if self.by_scenario else [*self.scenario_fields, *mixed]
        columns = self.columns_of(known, "meta_mix_fields")
        self.register_buffer("knowledge_columns", columns, persistent=False)

        # define layers
        self.experts = SharedExperts(
            self.input_size,
            self.hidden_sizes,
            config["experts"],
            self.activation,
            self.dropout_prob,
        )
        expert_size = self.hidden_sizes[-1]
        self.scenario_view = nn.Linear(len(columns), knowledge_size)
        self.attention = MetaAttention(expert_size, config["experts"], knowledge_size, n_layers)
        self.tower = MetaTower(
            expert_size, knowledge_size, config["meta_tower_layers"], n_layers, self.dropout_prob
        )
        self.output = nn.Linear(expert_size, 1)
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, scenario = self.embed(interaction)
        knowledge = self._knowledge(inputs, scenario, interaction)
        mixed = self.attention(self.experts(inputs), knowledge)
        return self.output(self.tower(mixed, knowledge)).squeeze(-1)

    def _knowledge(self, inputs: Tensor, scenario: Tensor, interaction: Interaction) -> Knowledge:
        """``q`` of each scenario of the batch, or where these are not asked for of each row."""
        # Whole embeddings: a row lends its scenario's to all others.
        known = scenario if self.by_scenario else inputs.index_select(1, self.knowledge_columns)
        if not self.by_scenario or self.fixed_shapes or not len(known):
            return RowKnowledge(self._view(known), in_chunks=not self.fixed_shapes)
        numbers, examples = number_scenarios(self.scenario_tokens(interaction))
        groups = ScenarioGroups(numbers, len(examples))
        return ScenarioKnowledge(self._view(known.index_select(0, examples)), groups)

    def _view(self, known: Tensor) -> Tensor:
        """``q`` of what is known, ``(G, c)``."""
        return functional.leaky_relu(self.scenario_view(known))
