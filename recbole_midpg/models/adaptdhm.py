r"""AdaptDHM: rows are clustered by their embeddings, and each cluster scales a shared network."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.rules import Choice, Integer, Number, Rules
from recbole_midpg.layers.cluster_routing import SIMILARITIES, ClusterRouting
from recbole_midpg.layers.star_linear import StarMLP
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields

# Centres closer than this hardly part rows.
_ALIKE = 0.99


class AdaptDHM(ScenarioRecommender):
    r"""A star-topology network whose scenarios are clusters of rows, learned by routing.

    .. math::
        q = \text{argmax}_q \, \text{sg}(x) \cdot C_q, \qquad
        h^l = \phi(h^{l-1} (W^l \odot W^l_q) + b^l + b^l_q), \qquad h^0 = x

    The logit layer is a star layer too. The centres :math:`C` follow the rows of each training
    batch (:class:`~recbole_midpg.layers.cluster_routing.ClusterRouting`) and get no gradient, nor
    do the embeddings through them. There is nothing of a scenario's own: the scenario fields are
    ordinary inputs, and so help to decide the cluster. Size and time do not depend on how many
    scenarios there are. Parameters without embeddings: :math:`(Q+1)` times those of DNN.

    What the paper leaves open here: :math:`W_q = 1` and :math:`b_q = 0` at the start, as in
    :class:`~recbole_midpg.models.star.STAR`, so that all clusters start as one network. The targets
    of the centres are refined within a batch, and the moving average takes one step of length 1 a
    batch, so that its momentum means the same for any number of rows.

    Reference: Li et al., "Adaptive Distribution Hierarchical Model for Multi-Domain CTR
    Prediction", arXiv 2211.12105.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/AdaptDHM.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.
    """

    paper: ClassVar[str] = "Li et al., arXiv 2211.12105"
    needs_scenario: ClassVar[bool] = False
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "clusters": Integer(minimum=1),
        "routing_steps": Integer(minimum=1),
        "center_momentum": Number(maximum=1.0, maximum_excluded=True),
        "routing_similarity": Choice(SIMILARITIES),
        "routing_temperature": Number(minimum_excluded=True),
    }

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)

        # load parameters info
        self.n_clusters: int = config["clusters"]

        # define layers
        self.routing = ClusterRouting(
            self.n_clusters,
            self.input_size,
            config["routing_steps"],
            config["center_momentum"],
            config["routing_similarity"],
            config["routing_temperature"],
        )
        self.backbone = StarMLP(
            self.n_clusters,
            self.input_size,
            self.hidden_sizes,
            self.activation,
            self.dropout_prob,
        )
        self.initialize()

    def remarks(self) -> list[str]:
        """Tell how rows were shared out in training, and whether two clusters are one."""
        shares = self.routing.shares()
        if self.n_clusters == 1 or not shares:
            return []
        listed = ", ".join(f"{100 * share:.1f} %" for share in shares)
        sentences = [f"AdaptDHM: of the rows seen in training, its clusters had {listed}."]
        cosine, first, second = self.routing.closest_centres()
        if cosine > _ALIKE:
            sentences.append(
                f"AdaptDHM: the centres of clusters {first} and {second} have a cosine of "
                f"{cosine:.4f} and hardly part rows; another routing_temperature may, mostly a "
                "lower one."
            )
        return sentences

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch; in training, let the centres follow it."""
        inputs, _ = self.embed(interaction)
        groups = self.groups(self.routing(inputs), self.n_clusters)
        logits = self.backbone(groups.lay_out(inputs), groups)
        return groups.pick_up(logits).squeeze(-1)
