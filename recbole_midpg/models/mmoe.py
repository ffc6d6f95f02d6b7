r"""MMoE: experts that all scenarios share, mixed by a gate of each scenario, and its tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.rules import Integer, Rules, Sizes
from recbole_midpg.layers.mixture import ScenarioMixture
from recbole_midpg.layers.scenario_grouping import GroupedMLP
from recbole_midpg.models.base import ScenarioRecommender, check_depth
from recbole_midpg.models.fields import Fields


class MMoE(ScenarioRecommender):
    r"""Multi-gate mixture of experts, with a scenario where the paper has a task.

    .. math::
        u = \sum_{i=1}^n g_s(x)_i \, f_i(x), \qquad g_s(x) = \text{softmax}(x \, G_s), \qquad
        z = \text{tower}_s(u)

    ``expert_layers`` says how many of ``mlp_hidden_size`` are widths of an expert, whose last layer
    is activated too; the others are the towers'. Gates are linear and without bias, unless
    ``expert_gate_hidden_size`` gives them hidden layers. A row is computed by all experts, and by
    the gate and the tower of its own scenario only.

    The scenario of a row is its token in ``scenario_id_field``. Token 0 (padding, unknown) is a
    scenario like the others, so that ``S`` counts it. Parameters without embeddings: ``n`` times
    those of an expert, ``S`` times those of a gate and of a tower; at hidden sizes 128-64-32 with
    two of the experts', :math:`n (128\,d_0 + 8{,}384) + S\,d_0\,n + 2{,}113\,S`.

    Departures: the paper's tasks are different labels of the same rows, and its gate has no hidden
    layer; here a task is a scenario, whose rows it has alone.

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/MMoE.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: experts have more layers than there are hidden layers.
    """

    paper: ClassVar[str] = "Ma et al., KDD 2018"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "experts": Integer(minimum=1),
        "expert_layers": Integer(minimum=1),
        "expert_gate_hidden_size": Sizes(),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: experts have more layers than there are hidden layers.
        """
        check_depth(settings, "expert_layers", layer_sizes)

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.n_scenarios: int = dataset.num(config["scenario_id_field"])
        n_layers: int = config["expert_layers"]

        # define layers
        self.mixture = ScenarioMixture(
            self.n_scenarios,
            self.input_size,
            self.hidden_sizes[:n_layers],
            config["experts"],
            config["expert_gate_hidden_size"],
            self.activation,
            self.dropout_prob,
        )
        self.towers = GroupedMLP(
            self.n_scenarios,
            self.hidden_sizes[n_layers - 1],
            self.hidden_sizes[n_layers:],
            1,
            self.activation,
            self.dropout_prob,
        )
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        groups = self.groups(interaction[self.scenario_id_field], self.n_scenarios)
        mixed, _ = self.mixture(inputs, groups)
        return groups.pick_up(self.towers(groups.lay_out(mixed), groups)).squeeze(-1)
