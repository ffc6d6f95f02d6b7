r"""M3oE: shared experts and one of each scenario, which every row mixes with its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Flag, Integer, Number, Rules
from recbole_midpg.layers.domain_experts import (
    DomainFusion,
    ExpertMixture,
    OwnExperts,
    normed_layer,
)
from recbole_midpg.layers.scenario_grouping import GroupedLinear, GroupedMLP, ScenarioLayout
from recbole_midpg.layers.star_linear import StarLinear
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields

# The star layer's, the common space's, and one of the experts'.
FEWEST_WIDTHS = 3


class M3oE(ScenarioRecommender):
    r"""The multi-domain part of M3oE, with one task.

    .. math::
        h &= N((x (W \odot W_k) + b + b_k) A_1 + a_1) + N(x A_2 + a_2), \quad
        N(\cdot) = \phi(\text{LayerNorm}(\cdot)) \\
        u &= \sum_i \text{softmax}(\text{sg}(h) G_k + g_k)_i \, f_i^\text{shared}(h) +
        \alpha \Big(\beta f_k(h) + \frac{1 - \beta}{|O_k|} \sum_{j \in O_k} f_j(h)\Big) \\
        z &= \phi(u T_k + t_k) v_k + r_k

    A star layer and a plain one lead into a common space ``h``. Experts, shared ones and one of
    each scenario, are layers :math:`N` of it. A row's domain part is its own scenario's expert and
    the mean of the others': :math:`O_k` are all scenarios but ``k`` and token 0; where there are
    none, the own expert is the whole part. :math:`\alpha` and :math:`\beta` are the sigmoids of
    one number each.

    Of ``mlp_hidden_size`` the first width is the star layer's, the second the common space's, the
    others the experts'; a tower has one hidden layer of the last width.

    Every row is computed by all scenarios' experts, so that a step grows with the number of
    scenarios; with ``domain_fusion: False`` (:math:`\beta = 1`) by its own scenario's only. Star
    layer, gate and tower are the row's own scenario's in any case. Token 0 (padding, unknown) is a
    scenario with parameters of its own, so that ``S`` counts it.

    Parameters without embeddings, with ``n`` shared experts and widths :math:`w_1 \ldots w_L`:
    :math:`(S+1)(d_0+1) w_1 + (w_1+d_0+6) w_2 + S n (w_2+1) +
    (n+S) \sum_{l \ge 3} (w_{l-1}+3) w_l + S (w_L^2+2 w_L+1) + 2`, one fewer with
    ``domain_fusion: False``.

    Departures from the paper: there is one task, so that the experts of tasks are left out;
    :math:`\alpha` and :math:`\beta` are learned with the weights on the same rows, where the paper
    learns them on others; :math:`W_k = 1` at the start (see :class:`StarLinear`).

    Reference: Zhang et al., "M3oE: Multi-Domain Multi-Task Mixture-of-Experts Recommendation
    Framework", SIGIR 2024.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/M3oE.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: there are fewer than three hidden layers.
    """

    paper: ClassVar[str] = "Zhang et al., SIGIR 2024"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "shared_experts": Integer(minimum=1),
        "domain_fusion": Flag(),
        "gate_stop_gradient": Flag(),
        "norm_initial_scale": Number(minimum_excluded=True),
        "balance_start": Number(minimum=-math.inf),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: there are fewer than three hidden layers.
        """
        hidden_sizes = list(layer_sizes[1:-1])
        if len(hidden_sizes) < FEWEST_WIDTHS:
            raise UsageError(
                f"mlp_hidden_size: {hidden_sizes} has {len(hidden_sizes)} widths, expected at "
                f"least {FEWEST_WIDTHS}: the star layer's, the common space's and the experts'."
            )

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.n_scenarios: int = dataset.num(config["scenario_id_field"])
        self.gate_stops_gradient: bool = config["gate_stop_gradient"]
        n_shared: int = config["shared_experts"]
        balance_start = float(config["balance_start"])
        star_size, common_size, *expert_sizes = self.hidden_sizes
        # None in a checkpoint of an earlier version, whose norms started at 1.
        initial_scale = float(config["norm_initial_scale"] or 1.0)
        normed = (self.activation, self.dropout_prob, initial_scale)

        # define layers
        self.star = StarLinear(self.n_scenarios, self.input_size, star_size)
        self.from_star = normed_layer(star_size, common_size, *normed)
        self.from_input = normed_layer(self.input_size, common_size, *normed)
        self.gate = GroupedLinear(self.n_scenarios, common_size, n_shared)
        self.shared_experts = ExpertMixture(n_shared, common_size, expert_sizes, *normed)
        self.fusion = (
            DomainFusion(self.n_scenarios, balance_start) if config["domain_fusion"] else None
        )
        domain_experts = OwnExperts if self.fusion is None else ExpertMixture
        self.domain_experts = domain_experts(self.n_scenarios, common_size, expert_sizes, *normed)
        self.domain_balance = nn.Parameter(torch.tensor(balance_start))
        last_size = expert_sizes[-1]
        self.towers = GroupedMLP(
            self.n_scenarios, last_size, [last_size], 1, self.activation, self.dropout_prob
        )
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        groups = self.groups(interaction[self.scenario_id_field], self.n_scenarios)
        starred = groups.pick_up(self.star(groups.lay_out(inputs), groups))
        common = self.from_star(starred) + self.from_input(inputs)
        laid_out = groups.lay_out(common)
        read_by_gate = laid_out.detach() if self.gate_stops_gradient else laid_out
        gates = groups.pick_up(self.gate(read_by_gate, groups)).softmax(-1)
        mixed = self.shared_experts(common, gates)
        mixed = mixed + torch.sigmoid(self.domain_balance) * self._domain_part(
            common, laid_out, groups
        )
        return groups.pick_up(self.towers(groups.lay_out(mixed), groups)).squeeze(-1)

    def _domain_part(self, common: Tensor, laid_out: Tensor, groups: ScenarioLayout) -> Tensor:
        """The scenarios' experts as each row has them, ``(B, w_L)``.

        Args:
            common: ``h``, ``(B, w_2)``.
            laid_out: the same in the layout.
            groups: the layout.
        """
        if self.fusion is None:
            return groups.pick_up(self.domain_experts(laid_out, groups))
        return self.domain_experts(common, self.fusion(groups.scenario_ids))
