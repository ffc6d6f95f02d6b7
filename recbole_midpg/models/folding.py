r"""Plain networks made of a trained DPG or MIDPG, one for each scenario, to predict with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.scenario_grouping import GroupedMLP
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.dpg import DPG

MAX_SCENARIOS = 10_000


@dataclass(frozen=True)
class EmbeddedFields:
    """What a model asks a dataset for: the fields that it embeds.

    Attributes:
        types: the type of each field, a name of RecBole's ``FeatureType``.
        sizes: how many tokens each field has, padding included.
    """

    types: dict[str, str]
    sizes: dict[str, int]

    @property
    def field2type(self) -> dict[str, FeatureType]:
        """The type of each field, as RecBole's ``Dataset`` has it."""
        return {field: FeatureType[name] for field, name in self.types.items()}

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        """The fields, of whatever type and wherever they are from."""
        return list(self.types)

    def num(self, field: str) -> int:
        """How many tokens a field has."""
        return self.sizes[field]


class FoldedModel(ScenarioRecommender):
    r"""One plain network a scenario, on the embeddings of the model that it was folded from.

    .. math:: h^l = \phi(h^{l-1} W^l_s + b^l), \qquad W^l_s = W^l \odot \text{tile}(S^l(s))

    A scenario is a combination of tokens of the scenario fields, token 0 (padding, unknown)
    included: every row that the model could score has one.

    Args:
        config: the settings that shape the network, a mapping.
        dataset: the fields that are embedded.

    Raises:
        UsageError: there are more than :data:`MAX_SCENARIOS` scenarios.
    """

    paper: ClassVar[str] = DPG.paper

    def __init__(self, config: Mapping[str, Any], dataset: EmbeddedFields) -> None:
        super().__init__(_Settings(config), dataset)
        self.config, self.dataset = dict(config), dataset
        self.scenario_sizes = [dataset.num(field) for field in self.scenario_fields]
        n_scenarios = prod(self.scenario_sizes)
        if n_scenarios > MAX_SCENARIOS:
            raise UsageError(
                f"scenario_fields: {', '.join(self.scenario_fields)} have {n_scenarios} "
                f"combinations of tokens, expected at most {MAX_SCENARIOS} to fold."
            )
        self.backbone = GroupedMLP(
            n_scenarios, self.input_size, self.hidden_sizes, 1, self.activation, dropout=0.0
        )
        # Not trained: it is what a trained model computes, and the file holds just that.
        self.requires_grad_(False)

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        numbers = torch.zeros_like(interaction[self.scenario_fields[0]])
        for field, size in zip(self.scenario_fields, self.scenario_sizes, strict=True):
            numbers = numbers * size + interaction[field]
        groups = self.groups(numbers, prod(self.scenario_sizes))
        return groups.pick_up(self.backbone(groups.lay_out(inputs), groups)).squeeze(-1)

    def to_plain(self) -> dict[str, Any]:
        """The model as plain values and tensors."""
        return {"config": self.config, **asdict(self.dataset), "state_dict": self.state_dict()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> FoldedModel:
        """Rebuild a model from :meth:`to_plain`'s values, on the CPU."""
        model = cls(plain["config"], EmbeddedFields(plain["types"], plain["sizes"]))
        model.load_state_dict(plain["state_dict"])
        return model.eval()


class _Settings(dict[str, Any]):
    """A config of few keys: the others have no value, as in RecBole."""

    def __missing__(self, key: str) -> None:
        return None


@torch.no_grad()
def fold_model(model: DPG) -> FoldedModel:
    """Fold a trained model.

    Args:
        model: a DPG or MIDPG whose weighting matrices depend on the scenario alone.

    Returns:
        The network that predicts the same, on the CPU.

    Raises:
        UsageError: the matrices depend on more than the scenario, or there are too many scenarios.
    """
    backbone = model.backbone
    if backbone.generator_sees_input:
        raise UsageError(
            "generator_input: scenario_and_input makes a weighting matrix a row, expected a model "
            "trained with generator_input: scenario."
        )
    folded = FoldedModel(_kept_settings(model), _embedded_fields(model))
    embeddings = {
        name: value for name, value in model.state_dict().items() if "embedding_table" in name
    }
    folded.load_state_dict({**folded.state_dict(), **embeddings})

    tokens = torch.cartesian_prod(*(torch.arange(size) for size in folded.scenario_sizes))
    condition = _scenario_embedding(model, tokens.view(len(tokens), -1)).T
    layers, weights = list(backbone.layers), backbone.folded(condition)
    if not backbone.weight_output_layer:
        layers.append(backbone.output)
        weights.append(backbone.output.weight.T)
    for place, layer, weight in zip(folded.backbone.layers, layers, weights, strict=True):
        place.weight.copy_(weight)
        place.bias.copy_(layer.bias)
    return folded.eval()


def _kept_settings(model: DPG) -> dict[str, Any]:
    return {
        "LABEL_FIELD": model.LABEL,
        "embedding_size": model.embedding_size,
        "mlp_hidden_size": model.hidden_sizes,
        "activation": model.activation,
        "numerical_features": [*model.float_seq_field_names, *model.float_field_names],
        "scenario_fields": model.scenario_fields,
        "scenario_id_field": model.scenario_id_field,
    }


def _embedded_fields(model: DPG) -> EmbeddedFields:
    kinds = {
        FeatureType.TOKEN: (model.token_field_names, model.token_field_dims),
        FeatureType.TOKEN_SEQ: (model.token_seq_field_names, model.token_seq_field_dims),
        FeatureType.FLOAT: (model.float_field_names, model.float_field_dims),
        FeatureType.FLOAT_SEQ: (model.float_seq_field_names, model.float_seq_field_dims),
    }
    types, sizes = {}, {}
    for kind, (names, dims) in kinds.items():
        for name, size in zip(names, dims, strict=True):
            types[name], sizes[name] = kind.name, int(size)
    return EmbeddedFields(types, sizes)


def _scenario_embedding(model: DPG, tokens: Tensor) -> Tensor:
    """The embedding ``s``, ``(K, d_s)``, of the scenario fields' tokens, ``(K, fields)``."""
    places = [model.token_field_names.index(field) for field in model.scenario_fields]
    offsets = torch.tensor([int(model.token_field_offsets[place]) for place in places])
    table = model.token_embedding_table.embedding
    return table((tokens + offsets).to(table.weight.device)).flatten(1)
