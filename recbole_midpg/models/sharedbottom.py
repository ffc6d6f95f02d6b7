r"""SharedBottom: one network below, and above it a tower for each scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_midpg.common.rules import Integer, Rules
from recbole_midpg.layers.mlp import hidden_layers
from recbole_midpg.layers.scenario_grouping import GroupedMLP
from recbole_midpg.models.base import ScenarioRecommender, check_depth
from recbole_midpg.models.fields import Fields


class SharedBottom(ScenarioRecommender):
    r"""Hidden layers that all scenarios share, then layers and a logit of each scenario's own.

    .. math:: h = \text{MLP}_{w_1..w_m}(x), \qquad z = \text{tower}_s(h)

    ``bottom_layers`` is ``m``: how many of ``mlp_hidden_size`` are shared; the others are the
    towers'. With 0, each scenario has a whole network on shared embeddings; with all, a linear
    logit. A row is computed by its own scenario's tower only.

    The scenario of a row is its token in ``scenario_id_field``. Token 0 (padding, unknown) is a
    scenario like the others, so that ``S`` counts it. Parameters without embeddings: those of the
    bottom and ``S`` times those of a tower; at hidden sizes 128-64-32 with two shared,
    :math:`128\,d_0 + 8{,}384 + 2{,}113\,S`.

    Departures: the original's tasks are different labels of the same rows; here a task is a
    scenario, whose rows it has alone.

    Reference: Caruana, "Multitask Learning", Machine Learning 28, 1997.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/SharedBottom.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: there are more shared layers than hidden layers.
    """

    paper: ClassVar[str] = "Caruana, Machine Learning 1997"
    rules: ClassVar[Rules] = {**ScenarioRecommender.rules, "bottom_layers": Integer(minimum=0)}

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: there are more shared layers than hidden layers.
        """
        check_depth(settings, "bottom_layers", layer_sizes)

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.n_scenarios: int = dataset.num(config["scenario_id_field"])
        n_shared: int = config["bottom_layers"]
        shared_sizes = self.hidden_sizes[:n_shared]

        # define layers
        self.bottom = nn.Sequential(
            *hidden_layers(self.input_size, shared_sizes, self.activation, self.dropout_prob)
        )
        self.towers = GroupedMLP(
            self.n_scenarios,
            [self.input_size, *shared_sizes][-1],
            self.hidden_sizes[n_shared:],
            1,
            self.activation,
            self.dropout_prob,
        )
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        groups = self.groups(interaction[self.scenario_id_field], self.n_scenarios)
        outputs = self.towers(groups.lay_out(self.bottom(inputs)), groups)
        return groups.pick_up(outputs).squeeze(-1)
