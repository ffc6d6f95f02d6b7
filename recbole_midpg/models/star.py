r"""STAR: a shared network that every scenario scales elementwise by its own."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_midpg.common.rules import Flag, Integer, Number, Rules, Sizes
from recbole_midpg.layers.mlp import MLP
from recbole_midpg.layers.partitioned_norm import PartitionedNorm
from recbole_midpg.layers.star_linear import StarMLP
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields
from recbole_midpg.models.unseen_scenarios import remarks_of_norm


class STAR(ScenarioRecommender):
    r"""Partitioned normalisation, a star-topology network, and an auxiliary network.

    .. math::
        h^0 = \text{PN}_s(x), \quad
        h^l = \phi(h^{l-1} (W^l \odot W^l_s) + b^l + b^l_s), \quad
        z = z_\text{star}(h^L) + z_\text{aux}(x)

    The logit layer is a star layer too. The auxiliary network is a small shared one on the
    embeddings as they are, the scenario's among them.

    The scenario of a row is its token in ``scenario_id_field``. Token 0 (padding, unknown) is a
    scenario like the others, so that ``S`` counts it, as it does ``[UNK]`` and the rare tokens that
    are read as it (``min_count``). Parameters without embeddings:
    :math:`(S+1)\,(\text{those of DNN} + 2 d_0)`, and those of the auxiliary network: with ``a``
    hidden units, :math:`a\,(d_0 + 2) + 1`.

    Departures that the paper leaves open: scenarios are parted inside a mixed batch, where the
    paper draws batches of one scenario, those with too few rows in a batch are normalised by their
    running statistics (see :class:`PartitionedNorm`), and γ starts at 0.1 rather than 1, near the
    size that embeddings start with: at 1 training ids are known by heart within a few epochs.

    Reference: Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for
    Multi-Domain CTR Prediction", CIKM 2021.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/STAR.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.
    """

    paper: ClassVar[str] = "Sheng et al., CIKM 2021"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "partitioned_norm": Flag(),
        "pn_min_rows": Integer(minimum=2),
        "pn_momentum": Number(maximum=1.0, minimum_excluded=True),
        "pn_initial_scale": Number(minimum_excluded=True),
        "auxiliary_network": Flag(),
        "auxiliary_hidden_size": Sizes(),
    }

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # load parameters info
        self.n_scenarios: int = dataset.num(config["scenario_id_field"])

        # define layers
        self.norm = (
            PartitionedNorm(
                self.n_scenarios,
                self.input_size,
                config["pn_min_rows"],
                config["pn_momentum"],
                # none in the checkpoints of versions without the key
                initial_scale=config["pn_initial_scale"] or 1.0,
            )
            if config["partitioned_norm"]
            else None
        )
        self.backbone = StarMLP(
            self.n_scenarios,
            self.input_size,
            self.hidden_sizes,
            self.activation,
            self.dropout_prob,
        )
        self.auxiliary: nn.Module | None = (
            MLP(
                self.input_size,
                config["auxiliary_hidden_size"],
                1,
                self.activation,
                self.dropout_prob,
            )
            if config["auxiliary_network"]
            else None
        )
        self.initialize()

    def remarks(self) -> list[str]:
        """Name the scenarios that were never normalised by their own rows in training."""
        return [] if self.norm is None else remarks_of_norm(self, self.norm)

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        groups = self.groups(interaction[self.scenario_id_field], self.n_scenarios)
        hidden = groups.lay_out(inputs)
        if self.norm is not None:
            hidden = self.norm(hidden, groups)
        logits = groups.pick_up(self.backbone(hidden, groups))
        if self.auxiliary is not None:
            logits = logits + self.auxiliary(inputs)
        return logits.squeeze(-1)
