"""A model beside a slow reference, and the sizes that the specification's tables have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_midpg.integration.models.flops import count_flops
from tests.support.toy import SCENARIO, ToyDataset, toy_batch, toy_model

# Eight fields of ten numbers: d_0 = 80, of which the scenario has 10.
SEVEN_FIELDS = ["user_id", "item_id", "shop_id", "brand_id", "city_id", "hour_id", "page_id"]
SIZES = {"embedding_size": 10, "mlp_hidden_size": [128, 64, 32]}
DNN_MULTIPLICATIONS = 128 * 80 + 128 * 64 + 64 * 32 + 32
DNN_PARAMETERS = 128 * 80 + 10_497


def assert_equals_reference(model: nn.Module, logits: Tensor, expected: Tensor) -> None:
    """Values, and the gradients of every parameter, are those of a reference, to 1e-10.

    Args:
        model: in double precision.
        logits: the model's.
        expected: the reference's, made of the model's parameters.
    """
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    names, leaves = zip(*model.named_parameters(), strict=True)
    found = gradients(logits, leaves)
    for name, gradient, of_reference in zip(names, found, gradients(expected, leaves), strict=True):
        torch.testing.assert_close(gradient, of_reference, rtol=0, atol=1e-10, msg=name)


def gradients(logits: Tensor, leaves: Any) -> list[Tensor]:
    """Gradients of the logits' sum of squares; zero where nothing depends on a leaf."""
    found = torch.autograd.grad(logits.square().sum(), leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, found, strict=True)
    ]


def specified_model(model_class: Any, n_slots: int, **overrides: Any) -> Any:
    """The model at the sizes of the specification's tables, with token 0 among the slots."""
    sizes = {**dict.fromkeys(SEVEN_FIELDS, 3), SCENARIO: n_slots}
    return toy_model(model_class, ToyDataset(sizes), **{**SIZES, **overrides})


def multiplications(model: Any) -> float:
    """Multiplications of one row without the embeddings, as the start-up report counts them."""
    rows = toy_batch(1, dataset=ToyDataset({**dict.fromkeys(SEVEN_FIELDS, 3), SCENARIO: 3}))
    return count_flops(model, rows, torch.device("cpu"), lambda _, row: row) - model.input_size
