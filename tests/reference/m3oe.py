"""M3oE as its formulas read: a row at a time, an expert at a time, the others in a loop."""

from __future__ import annotations

import torch
from torch import Tensor


def normed(values: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """A row of outputs at mean 0 and variance 1, scaled and shifted, then relu."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return torch.relu(scale * (values - mean) / torch.sqrt(variance + 1e-5) + shift)


def normed_layer(row: Tensor, layer) -> Tensor:
    """Linear map and layer norm of a common space's half."""
    linear, norm = layer[0], layer[1]
    return normed(linear.weight @ row + linear.bias, norm.weight, norm.bias)


def expert(row: Tensor, experts, number: int) -> Tensor:
    """One expert's outputs, all of its layers."""
    layers = zip(experts.weights, experts.biases, experts.scales, experts.shifts, strict=True)
    for weight, bias, scale, shift in layers:
        mapped = weight[number] @ row + bias[number]
        row = normed(mapped, scale[number], shift[number])
    return row


def others_of(scenario: int, n_scenarios: int) -> list[int]:
    """The scenarios whose mean is mixed in: token 0 is none of them."""
    return [other for other in range(1, n_scenarios) if other != scenario]


def domain_part(row: Tensor, model, scenario: int) -> Tensor:
    """The own scenario's expert, and the others' mean where the model has a fusion."""
    own = expert(row, model.domain_experts, scenario)
    others = others_of(scenario, model.n_scenarios)
    if model.fusion is None or not others:
        return own
    beta = 1 / (1 + torch.exp(-model.fusion.balance))
    total = sum(expert(row, model.domain_experts, other) for other in others)
    return beta * own + (1 - beta) * total / len(others)


def m3oe_logits(model, inputs: Tensor, ids: Tensor) -> Tensor:
    """M3oE's logits."""
    return torch.stack(
        [_row(model, row, scenario) for row, scenario in zip(inputs, ids.tolist(), strict=True)]
    )


def _row(model, row: Tensor, scenario: int) -> Tensor:
    star = model.star
    weight = star.shared_weight * (1 + star.specific_weight[scenario])
    starred = row @ weight + star.shared_bias + star.specific_bias[scenario]
    common = normed_layer(starred, model.from_star) + normed_layer(row, model.from_input)
    read = common.detach() if model.gate_stops_gradient else common
    gate = torch.softmax(read @ model.gate.weight[scenario] + model.gate.bias[scenario], 0)
    shared = sum(g * expert(common, model.shared_experts, i) for i, g in enumerate(gate))
    alpha = 1 / (1 + torch.exp(-model.domain_balance))
    mixed = shared + alpha * domain_part(common, model, scenario)
    hidden, output = model.towers.layers
    mixed = torch.relu(mixed @ hidden.weight[scenario] + hidden.bias[scenario])
    return (mixed @ output.weight[scenario] + output.bias[scenario]).squeeze()
