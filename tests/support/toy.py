"""Small stand-ins for RecBole's config, dataset and batches, for tests of single models.

A model asks a config for values by key and a dataset for its fields, their types and their sizes;
the toys answer just that. Batches are RecBole's own ``Interaction``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
import torch
import yaml
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_midpg.common.rules import check_settings
from recbole_midpg.models.base import ScenarioRecommender

if not hasattr(np, "long"):
    np.long = np.int64  # RecBole's models ask numpy for it, and numpy 1.24 to 1.26 lack it

LABEL = "label"
SCENARIO = "scenario"


class ToyConfig(dict[str, Any]):
    """A config: a missing key has no value, as in RecBole."""

    def __missing__(self, key: str) -> None:
        return None


@dataclass
class ToyDataset:
    """A dataset's fields: how many tokens each has, padding included, and its type."""

    sizes: dict[str, int]
    types: dict[str, FeatureType] = field(default_factory=dict)
    inter_num: int = 1000

    @property
    def field2type(self) -> dict[str, FeatureType]:
        return {LABEL: FeatureType.FLOAT} | {
            name: self.types.get(name, FeatureType.TOKEN) for name in self.sizes
        }

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        return [*self.sizes, LABEL]

    def num(self, name: str) -> int:
        return self.sizes[name]


def toy_dataset(
    scenarios: int = 4, mixed_types: bool = False, sizes: dict[str, int] | None = None
) -> ToyDataset:
    """A dataset of four token fields.

    Args:
        scenarios: tokens of the field ``scenario``, token 0 (padding) included.
        mixed_types: whether to add a ``token_seq``, a ``float`` and a ``float_seq`` field.
        sizes: tokens of the other fields, instead of ``user_id``, ``item_id`` and ``shop_id``.
    """
    sizes = dict(sizes or {"user_id": 12, "item_id": 9, "shop_id": 5})
    types = {}
    if mixed_types:
        sizes |= {"tags": 7, "price": 1, "levels": 3}
        types = {
            "tags": FeatureType.TOKEN_SEQ,
            "price": FeatureType.FLOAT,
            "levels": FeatureType.FLOAT_SEQ,
        }
    return ToyDataset({**sizes, SCENARIO: scenarios}, types)


def toy_config(model_class: type[ScenarioRecommender], **overrides: Any) -> ToyConfig:
    """The model's own defaults with small widths, checked by the model's own rules."""
    defaults = files("recbole_midpg") / "properties" / "model" / f"{model_class.__name__}.yaml"
    config = ToyConfig(
        LABEL_FIELD=LABEL,
        USER_ID_FIELD="user_id",
        ITEM_ID_FIELD="item_id",
        device=torch.device("cpu"),
        train_batch_size=100,
        numerical_features=["price", "levels"],
        scenario_fields=[SCENARIO],
        scenario_id_field=SCENARIO,
    )
    config.update(yaml.safe_load(defaults.read_text(encoding="utf-8")))
    config.update({"embedding_size": 4, "mlp_hidden_size": [8, 6, 4]}, **overrides)
    check_settings(config, model_class.rules)
    return config


def toy_model(
    model_class: type[ScenarioRecommender],
    dataset: ToyDataset | None = None,
    seed: int = 0,
    **overrides: Any,
) -> Any:
    """A small model, in training mode; ``overrides`` are config keys."""
    torch.manual_seed(seed)
    return model_class(toy_config(model_class, **overrides), dataset or toy_dataset())


def toy_batch(
    rows: int,
    seed: int = 0,
    dataset: ToyDataset | None = None,
    scenarios: Sequence[int] | None = None,
) -> Interaction:
    """A batch of random rows.

    Args:
        rows: how many.
        seed: of the generator; PyTorch's own state stays as it is.
        dataset: whose fields are filled; :func:`toy_dataset` by default.
        scenarios: tokens of the field ``scenario``, repeated in turn; random from 1 up by default.
    """
    dataset = dataset or toy_dataset()
    generator = torch.Generator().manual_seed(seed)
    columns = {}
    for name, size in dataset.sizes.items():
        kind = dataset.field2type[name]
        if kind is FeatureType.TOKEN:
            columns[name] = torch.randint(min(1, size - 1), size, (rows,), generator=generator)
        elif kind is FeatureType.TOKEN_SEQ:
            columns[name] = torch.randint(0, size, (rows, 3), generator=generator)
        elif kind is FeatureType.FLOAT:
            # RecBole keeps a number as (value, index of its embedding).
            values = torch.rand(rows, 1, generator=generator)
            columns[name] = torch.stack([values, torch.zeros(rows, 1)], dim=2)
        else:
            values = torch.rand(rows, 2, generator=generator)
            indices = torch.randint(0, size, (rows, 2), generator=generator)
            columns[name] = torch.stack([values, indices], dim=2)
    if scenarios is not None:
        turns = torch.arange(rows) % max(len(scenarios), 1)
        columns[SCENARIO] = torch.tensor(scenarios)[turns]
    columns[LABEL] = torch.randint(0, 2, (rows,), generator=generator).float()
    return Interaction(columns)


def train_step(model: Any, batch: Interaction, optimizer: torch.optim.Optimizer) -> float:
    """One step on a batch; returns the loss."""
    model.train()
    optimizer.zero_grad()
    losses = model.calculate_loss(batch)
    loss = sum(losses) if isinstance(losses, tuple) else losses
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def scrambled(model: Any, seed: int = 1) -> Any:
    """Move every parameter away from its start, so that none is at a special value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model
