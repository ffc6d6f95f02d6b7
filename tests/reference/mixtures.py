"""SharedBottom, MMoE and HMoE as their formulas read: a row and a scenario at a time."""

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


def hmoe_logits(model, inputs: Tensor, ids: Tensor) -> Tensor:
    """HMoE's logits: every scenario's, the others' detached, by the row's own relation weights."""
    return torch.stack(
        [_hmoe_row(model, row, slot) for row, slot in zip(inputs, ids.tolist(), strict=True)]
    )


def relation_weights(model, row: Tensor, scenario: int) -> dict[int, Tensor]:
    """The weight of each scenario that is mixed for a row of a scenario."""
    scores = own_network(row, model.label_mixture.weights, scenario)
    mixed = range(model.n_scenarios) if scenario == 0 else range(1, model.n_scenarios)
    total = sum(scores[j].exp() for j in mixed)
    return {j: scores[j].exp() / total for j in mixed}


def _hmoe_row(model, row: Tensor, scenario: int) -> Tensor:
    weights = relation_weights(model, row, scenario)
    space = model.label_mixture.space
    *hidden_layers, last = model.towers.layers
    total = 0
    for j, weight in weights.items():
        value = mixture(row, model.mixture, j)
        for layer in hidden_layers:
            value = torch.relu(value @ layer.weight[j] + layer.bias[j])
        if space != "hidden":
            value = (value @ last.weight[j] + last.bias[j]).squeeze()
        value = value if j == scenario else value.detach()
        total = total + weight * (1 / (1 + torch.exp(-value)) if space == "probability" else value)
    if space == "hidden":
        return (total @ last.weight[scenario] + last.bias[scenario]).squeeze()
    return torch.log(total / (1 - total)) if space == "probability" else total
