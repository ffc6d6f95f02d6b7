r"""HAMUR: adapters beside the last hidden layers, with weights that are generated for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_midpg.common.rules import Flag, Integer, Number, Rules, Sizes
from recbole_midpg.layers.adapter import AdaptedGroupedMLP, AdaptedMLP, Adapter
from recbole_midpg.layers.mlp import SamplesLastMLP
from recbole_midpg.models.base import ScenarioRecommender, check_depth
from recbole_midpg.models.fields import Fields
from recbole_midpg.models.unseen_scenarios import remarks_of_norm


class HAMUR(ScenarioRecommender):
    r"""A network per scenario, and adapters that one hyper-network serves in all of them.

    .. math::
        I &= \text{reshape}(\text{relu}(x H_1 + b_1) H_2 + b_2) \in R^{k \times k} \\
        h &\leftarrow \phi(h W_{s,l} + b_{s,l}) \\
        h &\leftarrow h + \text{DN}_s(o), \quad o = ((a U_2) I) V_2 + c_2, \quad
        a = \sigma(((h U_1) I) V_1 + c_1)

    The last line follows each of the last ``adapter_layers`` hidden layers; the logit is a linear
    map of the last one. :math:`U, V, c` belong to an adapter; ``I`` is made once for a row, and all
    its adapters use it. With ``specific_backbone: False`` all scenarios share :math:`W, b`, so that
    a scenario acts through its embedding and the norm alone.

    The scenario of a row is its token in ``scenario_id_field``. Token 0 (padding, unknown) is a
    scenario like the others, so that ``S`` counts it. Parameters without embeddings: those of DNN,
    ``S`` times unless the backbone is shared; with hyper-network widths :math:`a_1, .., a_n`, those
    of a network :math:`d_0, a_1, .., a_n, k^2`; and for each adapter after a layer of width ``m``,
    :math:`2 k (m + r) + r + m + 2 (S + 1) m`.

    Departures: the domain norm is STAR's partitioned norm, by the scenario's own rows and with
    running statistics in evaluation; the authors' code takes the statistics of the whole batch, in
    evaluation too, so that a row's score depends on the rows beside it. The norm's shared scale
    starts at 0 and not at one, so that a new model is its backbone. The hyper-network has
    neither batch normalisation nor an activation after its last layer, :math:`U, V` start at random
    and not at one, and the backbone has no batch normalisation, as no model here has.

    Reference: Li et al., "HAMUR: Hyper Adapter for Multi-Domain Recommendation", CIKM 2023.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/HAMUR.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: there are more adapters than hidden layers.
    """

    paper: ClassVar[str] = "Li et al., CIKM 2023"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "adapter_layers": Integer(minimum=0),
        "adapter_size": Integer(minimum=1),
        "hyper_rank": Integer(minimum=1),
        "hyper_hidden_size": Sizes(),
        "specific_backbone": Flag(),
        "pn_min_rows": Integer(minimum=2),
        "pn_momentum": Number(maximum=1.0, minimum_excluded=True),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: there are more adapters than hidden layers.
        """
        check_depth(settings, "adapter_layers", layer_sizes)

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.n_scenarios: int = dataset.num(config["scenario_id_field"])
        self.rank: int = config["hyper_rank"]
        n_plain = len(self.hidden_sizes) - config["adapter_layers"]

        # define layers
        adapters = [
            Adapter(
                self.n_scenarios,
                size,
                config["adapter_size"],
                self.rank,
                config["pn_min_rows"],
                config["pn_momentum"],
            )
            for size in self.hidden_sizes[n_plain:]
        ]
        network = (self.input_size, self.hidden_sizes, adapters, self.activation, self.dropout_prob)
        self.backbone: AdaptedGroupedMLP | AdaptedMLP = (
            AdaptedGroupedMLP(self.n_scenarios, *network)
            if config["specific_backbone"]
            else AdaptedMLP(*network)
        )
        self.hyper_network: nn.Module | None = (
            SamplesLastMLP(self.input_size, config["hyper_hidden_size"], self.rank**2, "relu")
            if adapters
            else None
        )
        self.initialize()

    def remarks(self) -> list[str]:
        """Name the scenarios whose adapters never saw enough rows in a training batch."""
        # All adapters see the same rows.
        return [
            remark
            for adapter in self.backbone.adapters[:1]
            for remark in remarks_of_norm(self, adapter.norm)
        ]

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        groups = self.groups(interaction[self.scenario_id_field], self.n_scenarios)
        instance = None
        if self.hyper_network is not None:
            instance = self.hyper_network(inputs.T).unflatten(0, (self.rank, self.rank))
        return self.backbone(inputs, instance, groups)
