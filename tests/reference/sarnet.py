"""SARNet as its formulas read, one row and its own scenario at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.baselines import linear, mlp


def sarnet_logits(model, inputs: Tensor, ids: Tensor, training: bool = False) -> Tensor:
    """SARNet's logits."""
    transform = model.transform
    rows = [
        row * (1 + transform.specific_scale[scenario]) + transform.specific_shift[scenario]
        for row, scenario in zip(inputs, ids.tolist(), strict=True)
    ]
    if model.norm is not None:
        rows = batch_norm(rows, model.norm, training)
    return torch.stack(
        [_logit(model, row, scenario) for row, scenario in zip(rows, ids.tolist(), strict=True)]
    )


def batch_norm(rows: list[Tensor], norm, training: bool) -> list[Tensor]:
    """All rows of a batch by their mean and biased variance, or by the running ones."""
    mean, variance = norm.running_mean, norm.running_var
    if training:
        mean = sum(rows) / len(rows)
        variance = sum((row - mean) ** 2 for row in rows) / len(rows)
    return [
        norm.weight * (row - mean) / torch.sqrt(variance + norm.eps) + norm.bias for row in rows
    ]


def _logit(model, row: Tensor, scenario: int) -> Tensor:
    outputs = []
    for network in model.experts.shared.networks:
        outputs.append(torch.relu(mlp(row, network[::3])))
    for network in model.experts.specific:
        hidden = row
        for layer in network.layers:
            hidden = torch.relu(hidden @ layer.weight[scenario] + layer.bias[scenario])
        outputs.append(hidden)
    scores = torch.exp(linear(row, model.experts.gate))
    mixed = sum(score * output for score, output in zip(scores, outputs, strict=True))
    return mlp(mixed / scores.sum(), model.top.layers[::3]).squeeze()
