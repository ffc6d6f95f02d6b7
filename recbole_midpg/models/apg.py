r"""APG: low-rank layers whose inner matrix is generated for each sample's condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.rules import Choice, Either, Flag, Integer, Names, Number, Rules, Sizes
from recbole_midpg.layers.low_rank import LowRankMLP, check_rank
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields


class APG(ScenarioRecommender):
    r"""DNN whose hidden layers are factorised, with the inner factor generated.

    .. math:: h^l = \phi(((h^{l-1} A^l) S^l(c)) B^l + b^l), \quad A^l = A_1^l A_2^l, \quad
        B^l = B_1^l B_2^l, \quad z = h^L w + b

    The condition ``c`` is, by ``apg_condition``: ``group``, the scenario fields' embeddings;
    ``mix``, those and the embeddings of ``apg_mix_fields`` side by side; ``self``, the layer's own
    input. ``apg_mix_fields`` are by default the ids of user and item that are embedded, and where
    neither is, all fields but the scenario's. ``A`` and ``B`` are shared by all samples.

    ``S`` is ``K`` x ``K``. ``apg_rank`` is ``K`` of every layer, or a share below 1: a layer from
    ``N`` to ``M`` has then that share of :math:`\min(N, M)`, rounded up, for its ``K``.

    Parameters without embeddings: a hidden layer from ``N`` to ``M`` has
    :math:`P(N + M + 2K) + M` and its (linear) generator :math:`(|c| + 1) K^2`; the logit has one
    more than the last width.

    Not settled by the paper and so a setting: the bias, static unless ``apg_generate_bias``.

    Reference: Yan et al., "APG: Adaptive Parameter Generation Network for Click-Through Rate
    Prediction", NeurIPS 2022.

    Args:
        config: RecBole's ``Config``; keys in ``properties/model/APG.yaml``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: the rank is larger than a hidden layer's input or output, or a field of
            ``apg_mix_fields`` is not among those that the model embeds.
    """

    paper: ClassVar[str] = "Yan et al., NeurIPS 2022"
    rules: ClassVar[Rules] = {
        **ScenarioRecommender.rules,
        "apg_condition": Choice(("group", "mix", "self")),
        "apg_mix_fields": Names(),
        "apg_rank": Either(
            Integer(minimum=1),
            Number(maximum=1.0, minimum_excluded=True, maximum_excluded=True),
        ),
        "apg_inner_size": Integer(minimum=0),
        "apg_generator_hidden_size": Sizes(),
        "apg_generate_bias": Flag(),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths, ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: the rank is larger than a hidden layer's input or output.
        """
        check_rank(layer_sizes, settings["apg_rank"])

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        self.check_sizes(config, [self.input_size, *self.hidden_sizes, 1])

        # load parameters info
        self.condition: str = config["apg_condition"]
        others = list(config["apg_mix_fields"]) or self.personal_fields(config)
        mixed = [*self.scenario_fields, *others]
        if self.condition == "mix":
            columns = self.columns_of(mixed, "apg_mix_fields")
            self.register_buffer("condition_columns", columns, persistent=False)
        condition_size = {
            "group": self.scenario_size,
            "mix": len(mixed) * self.embedding_size,
            "self": 0,
        }[self.condition]

        # define layers
        self.backbone = LowRankMLP(
            self.input_size,
            condition_size,
            self.hidden_sizes,
            rank=config["apg_rank"],
            inner_size=config["apg_inner_size"],
            generator_hidden_sizes=config["apg_generator_hidden_size"],
            generate_bias=config["apg_generate_bias"],
            activation=self.activation,
            dropout=self.dropout_prob,
        )
        self.initialize()
        self.backbone.reset_generators()

    def _run(self, interaction: Interaction) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the generated matrices of each layer."""
        inputs, scenario = self.embed(interaction)
        condition: Tensor | None = scenario
        if self.condition == "mix":
            condition = inputs.index_select(1, self.condition_columns)
        elif self.condition == "self":
            condition = None
        return self.backbone(inputs, condition)

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        return self._run(interaction)[0]

    def specific_matrices(self, interaction: Interaction) -> list[Tensor]:
        """Compute the generated matrices ``S`` of a batch, ``(B, K, K)`` by each layer's ``K``."""
        return self._run(interaction)[1]
