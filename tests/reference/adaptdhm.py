"""AdaptDHM as its formulas read: one row, one cluster and one number at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recbole_midpg.layers.cluster_routing import TIED


def moved_centres(routing, inputs: Tensor) -> Tensor:
    """The centres after a training batch, ``(Q, N)``."""
    rows = [row.tolist() for row in inputs.detach()]
    if routing.similarity == "cosine":
        rows = [_unit(row) for row in rows]
    centres = [centre.tolist() for centre in routing.centres]
    targets = centres
    for _ in range(routing.steps):
        sums = [[0.0] * len(centre) for centre in centres]
        for row in rows:
            weights = [math.exp(_dot(row, target) / routing.temperature) for target in targets]
            for total, weight in zip(sums, weights, strict=True):
                for place, value in enumerate(row):
                    total[place] += weight / sum(weights) * value
        targets = [
            _unit(total) if any(total) else target
            for total, target in zip(sums, targets, strict=True)
        ]
    beta = routing.momentum
    moved = [
        _unit([beta * c + (1 - beta) * t for c, t in zip(centre, target, strict=True)])
        if any(total)
        else centre
        for centre, target, total in zip(centres, targets, sums, strict=True)
    ]
    return torch.tensor(moved, dtype=inputs.dtype)


def clusters_of(centres: Tensor, inputs: Tensor) -> list[int]:
    """The cluster of each row: the first of those that it is most similar to, up to a little."""
    clusters = []
    for row in inputs.detach().tolist():
        similarities = [_dot(row, centre) for centre in centres.tolist()]
        little = TIED * math.sqrt(_dot(row, row))
        near = [similarity >= max(similarities) - little for similarity in similarities]
        clusters.append(near.index(True))
    return clusters


def adaptdhm_logits(model, inputs: Tensor, clusters: list[int]) -> Tensor:
    """AdaptDHM's logits of rows whose clusters are known."""
    logits = []
    for row, cluster in zip(inputs, clusters, strict=True):
        for depth, layer in enumerate(model.backbone.layers):
            weight = layer.shared_weight * (1 + layer.specific_weight[cluster])
            row = (row if depth == 0 else torch.relu(row)) @ weight  # noqa: PLW2901
            row = row + layer.shared_bias + layer.specific_bias[cluster]  # noqa: PLW2901
        logits.append(row.squeeze())
    return torch.stack(logits)


def _dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _unit(values: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values] if length else values
