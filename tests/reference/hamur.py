"""HAMUR as its formulas read: weights of an adapter formed for each row, one row at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.baselines import linear, mlp, partitioned_norm


def hamur_logits(model, inputs: Tensor, ids: Tensor, training: bool) -> Tensor:
    """HAMUR's logits."""
    adapters = model.backbone.adapters
    n_layers = len(model.hidden_sizes)
    rows = list(inputs)
    for depth in range(n_layers):
        rows = [
            torch.relu(backbone_layer(model, depth, row, scenario))
            for row, scenario in zip(rows, ids.tolist(), strict=True)
        ]
        position = depth - (n_layers - len(adapters))
        if position >= 0 and rows:
            adapter = adapters[position]
            added = [
                cell_output(adapter.cell, hidden, instance_matrix(model, row))
                for hidden, row in zip(rows, inputs, strict=True)
            ]
            normalised = partitioned_norm(torch.stack(added), ids, adapter.norm, training)
            rows = [hidden + more for hidden, more in zip(rows, normalised, strict=True)]
    logits = [
        backbone_layer(model, n_layers, row, scenario).squeeze()
        for row, scenario in zip(rows, ids.tolist(), strict=True)
    ]
    return torch.stack(logits) if logits else inputs.new_zeros(0)


def backbone_layer(model, depth: int, row: Tensor, scenario: int) -> Tensor:
    """A linear layer of the backbone, the last one the logit's."""
    backbone = model.backbone
    if not hasattr(backbone, "output"):
        layer = backbone.layers[depth]
        return row @ layer.weight[scenario] + layer.bias[scenario]
    return linear(row, [*backbone.layers, backbone.output][depth])


def instance_matrix(model, row: Tensor) -> Tensor:
    """The matrix ``I`` that the hyper-network makes for a row."""
    values = mlp(row, model.hyper_network.layers[::3])
    k = model.rank
    return torch.stack([values[k * i : k * (i + 1)] for i in range(k)])


def cell_output(cell, hidden: Tensor, instance: Tensor) -> Tensor:
    """A cell's output of a row, by the whole weights ``U I V``."""
    first = cell.first_input_factor.T @ instance @ cell.first_output_factor
    second = cell.second_input_factor.T @ instance @ cell.second_output_factor
    inner = 1 / (1 + torch.exp(-(hidden @ first + cell.first_bias)))
    return inner @ second + cell.second_bias
