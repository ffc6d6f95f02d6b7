r"""PLE: experts of each scenario beside shared ones, mixed by gates, level on level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_midpg.common.rules import Integer, Rules
from recbole_midpg.layers.experts import ExtractionLevel, RoutedLevel
from recbole_midpg.layers.scenario_grouping import GroupedMLP
from recbole_midpg.models.base import ScenarioRecommender, check_depth
from recbole_midpg.models.fields import Fields


class PLE(ScenarioRecommender):
    r"""Progressive layered extraction, with a scenario where the paper has a task.

    .. math::
        g_k^j = \sum_{i \in k \cup \text{shared}} \text{softmax}(g_k^{j-1} G_k^j)_i \, f_i^j, \quad
        g_\text{sh}^j = \sum_{\text{all } i} \text{softmax}(g_\text{sh}^{j-1} G_\text{sh}^j)_i \,
        f_i^j, \quad z = \text{tower}_s(g_s^L)

    ``expert_levels`` says how many of ``mlp_hidden_size`` are widths of expert levels; the others
    are the towers'. One level is the paper's CGC. A row's logit is that of its own scenario's
    tower; the last level and the towers compute a row for its own scenario only, the levels below
    compute all experts, because the shared gate mixes them all.

    The scenario of a row is its token in ``scenario_id_field``. Token 0 (padding, unknown) is a
    scenario like the others, so that ``S`` counts it. Parameters without embeddings, with
    :math:`E = S m_k + m_s`: a level from ``N`` to ``M`` has
    :math:`E (N + 1) M + S (m_k + m_s) N`, and :math:`E N` more unless it is the last; the towers
    have ``S`` times those of a network of their widths.

    The loss is the batch's mean cross-entropy, as for all models here; the paper's tasks have
    sample spaces and weights of their own.

    Reference: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model
    for Personalized Recommendations", RecSys 2020.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/PLE.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: there are more expert levels than hidden layers.
    """

    paper: ClassVar[str] = "Tang et al., RecSys 2020"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "expert_levels": Integer(minimum=1),
        "specific_experts": Integer(minimum=1),
        "shared_experts": Integer(minimum=1),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: there are more expert levels than hidden layers.
        """
        check_depth(settings, "expert_levels", layer_sizes)

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.n_scenarios: int = dataset.num(config["scenario_id_field"])
        n_levels: int = config["expert_levels"]
        widths = [self.input_size, *self.hidden_sizes[:n_levels]]

        # define layers
        def sizes_of(level: int) -> tuple[int, int, int, int, int, str, float]:
            return (
                self.n_scenarios,
                widths[level],
                widths[level + 1],
                config["specific_experts"],
                config["shared_experts"],
                self.activation,
                self.dropout_prob,
            )

        self.levels = nn.ModuleList(
            ExtractionLevel(*sizes_of(level)) for level in range(n_levels - 1)
        )
        self.last_level = RoutedLevel(*sizes_of(n_levels - 1))
        self.towers = GroupedMLP(
            self.n_scenarios,
            widths[-1],
            self.hidden_sizes[n_levels:],
            1,
            self.activation,
            self.dropout_prob,
        )
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        shared, _ = self.embed(interaction)
        scenario_ids = interaction[self.scenario_id_field]
        own = shared
        for level in self.levels[:-1]:
            own, shared = level(own, shared)
        for level in self.levels[-1:]:
            own, shared = level(own, shared, scenario_ids)
        groups = self.groups(scenario_ids, self.n_scenarios)
        outputs = self.towers(self.last_level(own, shared, groups), groups)
        return groups.pick_up(outputs).squeeze(-1)
