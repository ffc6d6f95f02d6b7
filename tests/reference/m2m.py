"""M2M as its formulas read: one row at a time, its weights generated and reshaped for it alone."""

from __future__ import annotations

import torch
from torch import Tensor


def leaky_relu(values: Tensor) -> Tensor:
    """With the slope 0.01 below zero."""
    return torch.where(values > 0, values, 0.01 * values)


def meta_unit(hidden: Tensor, knowledge: Tensor, unit) -> Tensor:
    """``Meta(h; q)`` of one vector: the weight's values in rows, ``W[n, m] = out[n N + m]``."""
    for layer in unit.layers:
        size = len(hidden)
        n_values = size * size
        generated = layer.weight_start.reshape(n_values)
        matrix = layer.weight_map.reshape(n_values, len(knowledge))  # V, output before input
        generated = torch.stack(
            [row @ knowledge + start for row, start in zip(matrix, generated, strict=True)]
        )
        weight = generated.reshape(size, size)
        bias = layer.bias_map @ knowledge + layer.bias_start
        hidden = leaky_relu(hidden @ weight + bias)
    return hidden


def expert(row: Tensor, network) -> Tensor:
    """One expert of one row, relu after each layer."""
    for layer in network[::3]:
        row = torch.relu(layer.weight @ row + layer.bias)
    return row


def m2m_logits(model, inputs: Tensor, known: Tensor) -> Tensor:
    """M2M's logits.

    Args:
        model: the model.
        inputs: all embeddings, ``(B, d_0)``.
        known: those that the scenario knowledge is made of, ``(B, d_q)``.
    """
    logits = []
    for row, of_row in zip(inputs, known, strict=True):
        view = model.scenario_view
        knowledge = leaky_relu(view.weight @ of_row + view.bias)
        experts = [expert(row, network) for network in model.experts.networks]
        attention = model.attention
        scores = [
            meta_unit(torch.cat([output, attention.task]), knowledge, attention.unit)
            @ attention.score.weight[0]
            for output in experts
        ]
        exponentials = [score.exp() for score in scores]
        hidden = sum(e * output for e, output in zip(exponentials, experts, strict=True))
        hidden = hidden / sum(exponentials)
        for unit in model.tower.units:
            hidden = leaky_relu(meta_unit(hidden, knowledge, unit) + hidden)
        logits.append(model.output.weight[0] @ hidden + model.output.bias[0])
    return torch.stack(logits)
