"""Models at the widths of the papers' comparison, and what one prediction of theirs costs."""

from __future__ import annotations

from typing import Any

import torch

from recbole_midpg.integration.models.flops import count_flops
from recbole_midpg.models.base import ScenarioRecommender
from tests.support.toy import SCENARIO, ToyDataset, toy_batch, toy_model

N_FIELDS, EMBEDDING_SIZE = 8, 10
INPUT_SIZE = N_FIELDS * EMBEDDING_SIZE
"""Width ``d_0`` of the input."""
DNN_MULTIPLICATIONS = 128 * INPUT_SIZE + 128 * 64 + 64 * 32 + 32
"""What the plain network of 128-64-32 multiplies for a row."""
DNN_PARAMETERS = DNN_MULTIPLICATIONS + 128 + 64 + 32 + 1
"""Its parameters without embeddings."""


def full_size_model(
    model_class: type[ScenarioRecommender], scenarios: int, **overrides: Any
) -> Any:
    """A model of 128-64-32 neurons on eight fields of width 10.

    Args:
        model_class: its class.
        scenarios: ``S``, token 0 included.
        overrides: further config keys.
    """
    names = ["user_id", "item_id", *(f"field_{i}" for i in range(N_FIELDS - 3))]
    dataset = ToyDataset({**dict.fromkeys(names, 3), SCENARIO: scenarios})
    sizes = {"embedding_size": EMBEDDING_SIZE, "mlp_hidden_size": [128, 64, 32]}
    return toy_model(model_class, dataset, **sizes, **overrides)


def multiplications(model: ScenarioRecommender) -> int:
    """What a model of :func:`full_size_model` multiplies for a row, beside what it embeds."""
    names = [field for field in model.embedded_fields if field != SCENARIO]
    dataset = ToyDataset({**dict.fromkeys(names, 3), SCENARIO: 2})
    row = toy_batch(1, dataset=dataset)
    counted = count_flops(model, row, torch.device("cpu"), lambda _, given: given)
    return round(counted) - INPUT_SIZE
