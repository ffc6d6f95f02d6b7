"""SharedBottom and MMoE as their formulas read: one row at a time, by its own scenario's parts."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.baselines import linear


def hidden(row: Tensor, layers) -> Tensor:
    """Linear layers of a ``Sequential`` of linear layer, activation, dropout: relu after each."""
    for layer in layers[::3]:
        row = torch.relu(linear(row, layer))
    return row


def own_network(row: Tensor, network, scenario: int) -> Tensor:
    """A scenario's network of a ``GroupedMLP``: relu between layers, none after the last."""
    for depth, layer in enumerate(network.layers):
        row = (row if depth == 0 else torch.relu(row)) @ layer.weight[scenario]
        row = row if layer.bias is None else row + layer.bias[scenario]
    return row


def mixture(row: Tensor, part, scenario: int) -> Tensor:
    """MMoE's mixture of one row: its experts by the gate of a scenario."""
    gate = own_network(row, part.gates, scenario)
    weights = gate.exp() / gate.exp().sum()
    outputs = [hidden(row, network) for network in part.experts.networks]
    return sum(weight * output for weight, output in zip(weights, outputs, strict=True))


def sharedbottom_logits(model, inputs: Tensor, ids: Tensor) -> Tensor:
    """SharedBottom's logits."""
    rows = zip(inputs, ids.tolist(), strict=True)
    return torch.stack(
        [own_network(hidden(row, model.bottom), model.towers, slot).squeeze() for row, slot in rows]
    )


def mmoe_logits(model, inputs: Tensor, ids: Tensor) -> Tensor:
    """MMoE's logits."""
    rows = zip(inputs, ids.tolist(), strict=True)
    return torch.stack(
        [
            own_network(mixture(row, model.mixture, slot), model.towers, slot).squeeze()
            for row, slot in rows
        ]
    )
