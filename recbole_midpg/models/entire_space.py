r"""ESMM: clicks, and purchases of what was clicked, learned together on all impressions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Rules
from recbole_midpg.layers.entire_space import joint_cross_entropy
from recbole_midpg.layers.mlp import binary_cross_entropy
from recbole_midpg.models.adaptdhm import AdaptDHM
from recbole_midpg.models.adasparse import AdaSparse
from recbole_midpg.models.apg import APG
from recbole_midpg.models.base import ScenarioRecommender, initialize_module
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.epnet import EPNet
from recbole_midpg.models.fields import TrainingFields
from recbole_midpg.models.hamur import HAMUR
from recbole_midpg.models.hmoe import HMoE
from recbole_midpg.models.m2m import M2M
from recbole_midpg.models.m3oe import M3oE
from recbole_midpg.models.midpg import MIDPG
from recbole_midpg.models.mmoe import MMoE
from recbole_midpg.models.pepnet import PEPNet
from recbole_midpg.models.ple import PLE
from recbole_midpg.models.ppnet import PPNet
from recbole_midpg.models.sarnet import SARNet
from recbole_midpg.models.sharedbottom import SharedBottom
from recbole_midpg.models.star import STAR

TOWERS: dict[str, type[ScenarioRecommender]] = {
    tower.__name__: tower
    for tower in (
        AdaptDHM,
        AdaSparse,
        APG,
        DNN,
        DPG,
        EPNet,
        HAMUR,
        HMoE,
        M2M,
        M3oE,
        MIDPG,
        MMoE,
        PEPNet,
        PLE,
        PPNet,
        SARNet,
        SharedBottom,
        STAR,
    )
}
"""The models that can be a tower, by name."""

_TABLES = (
    "token_embedding_table",
    "token_seq_embedding_table",
    "float_embedding_table",
    "float_seq_embedding_table",
)


class EntireSpaceModel(ScenarioRecommender):
    r"""Two towers of one model on shared embeddings, for clicks and for purchases after a click.

    With the click :math:`y` and the purchase :math:`z` of an impression :math:`x`, a purchase being
    possible after a click only,

    .. math::
        \underbrace{p(y{=}1, z{=}1 \mid x)}_\text{CTCVR} =
        \underbrace{p(y{=}1 \mid x)}_\text{CTR} \cdot
        \underbrace{p(z{=}1 \mid y{=}1, x)}_\text{CVR}, \qquad
        L = \text{BCE}(y, \text{CTR}) + \text{BCE}(z, \text{CTCVR})

    so that the conversion tower learns from all impressions, and is not biased towards those that
    were clicked. Further terms of a tower's own loss, as :math:`\beta\,L_\text{MIR}`, are added for
    each tower, and a model's :math:`\alpha` weights both entropies.

    ``LABEL_FIELD`` is the purchase, ``click_field`` the click.

    Reference: Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating
    Post-Click Conversion Rate", SIGIR 2018, equations (1) and (3).

    Args:
        config: RecBole's ``Config``; the tower's keys and ``click_field``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Attributes:
        task: what :meth:`predict` gives, one of CTR, CVR and CTCVR. It is CTCVR, the probability
            that the label is 1, unless it is set.

    Raises:
        UsageError: ``click_field`` is not set, or see the tower.
    """

    paper: ClassVar[str] = "Ma et al., SIGIR 2018"
    tower: ClassVar[type[ScenarioRecommender]]

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the tower's settings; see :meth:`ScenarioRecommender.check_sizes`."""
        cls.tower.check_sizes(settings, layer_sizes)

    def __init__(self, config: Any, dataset: TrainingFields) -> None:
        super().__init__(config, dataset)
        if not config["click_field"]:
            raise UsageError(
                f"click_field: {type(self).__name__} needs the field that says which rows were "
                "clicked, expected the name of a float field of 0 and 1."
            )

        # load parameters info
        self.click_field: str = config["click_field"]

        self.task = "CTCVR"

        # define layers
        self.click = self._new_tower(config, dataset)
        self.conversion = self._new_tower(config, dataset)
        for table in _TABLES:
            if hasattr(self, table):
                getattr(self, table).apply(initialize_module)

    def _new_tower(self, config: Any, dataset: TrainingFields) -> ScenarioRecommender:
        """A tower that reads this model's embeddings in place of its own."""
        tower = self.tower(config, dataset)
        for table in _TABLES:
            if hasattr(tower, table):
                delattr(tower, table)
        tower.embed = self.embed  # type: ignore[method-assign]
        return tower

    def forward(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Compute the logits of CTR and of CVR, ``(B,)`` each."""
        return self.click(interaction), self.conversion(interaction)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Compute the entropies of clicks and of purchases, then the towers' further terms."""
        clicks, click_terms = self.click.logits_and_terms(interaction)
        conversions, conversion_terms = self.conversion.logits_and_terms(interaction)
        weight = self.click.entropy_weight
        return (
            weight * binary_cross_entropy(clicks, interaction[self.click_field]),
            weight * joint_cross_entropy(clicks, conversions, interaction[self.LABEL]),
            *click_terms,
            *conversion_terms,
        )

    def tasks(self, interaction: Interaction) -> dict[str, Tensor]:
        """Compute the probabilities of each task: CTR, CVR and CTCVR, ``(B,)`` each."""
        clicks, conversions = (torch.sigmoid(logits) for logits in self.forward(interaction))
        return {"CTR": clicks, "CVR": conversions, "CTCVR": clicks * conversions}

    def predict(self, interaction: Interaction) -> Tensor:
        """Compute the probabilities ``(B,)`` of :attr:`task`."""
        return self.tasks(interaction)[self.task]

    def remarks(self) -> list[str]:
        """The remarks of both towers."""
        return self._of_towers(lambda _, tower: tower.remarks())

    def remarks_on_loss(self, terms: Mapping[str, float]) -> list[str]:
        """The remarks of both towers on their own terms."""
        return self._of_towers(
            lambda name, tower: tower.remarks_on_loss(
                {
                    term.removeprefix(f"{name} "): value
                    for term, value in terms.items()
                    if term.startswith(f"{name} ")
                }
            )
        )

    def remarks_on_length(self, passes: float) -> list[str]:
        """The remarks of both towers."""
        return self._of_towers(lambda _, tower: tower.remarks_on_length(passes))

    def _of_towers(self, remarks: Callable[[str, ScenarioRecommender], list[str]]) -> list[str]:
        """What there is to remark of each tower, by its task's name."""
        return [
            f"{name}: {remark}"
            for name, tower in (("CTR", self.click), ("CVR", self.conversion))
            for remark in remarks(name, tower)
        ]


@functools.cache
def entire_space_model(tower: str) -> type[EntireSpaceModel]:
    """The class of the entire-space model with towers of a model, as ``ESMM_MIDPG``.

    Args:
        tower: the model's name, one of :data:`TOWERS`.
    """
    tower_class = TOWERS[tower]
    _, *terms = tower_class.loss_names
    rules: Rules = tower_class.rules
    return type(
        f"ESMM_{tower}",
        (EntireSpaceModel,),
        {
            "__module__": __name__,
            "__doc__": EntireSpaceModel.__doc__,
            "tower": tower_class,
            "rules": rules,
            "needs_scenario": tower_class.needs_scenario,
            "loss_names": (
                *("CTR bce", "CTCVR bce"),
                *(f"{task} {term}" for task in ("CTR", "CVR") for term in terms),
            ),
        },
    )
