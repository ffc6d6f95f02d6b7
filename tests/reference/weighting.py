"""The weighting of MI-DPG as its formulas read: loops, indices and whole B x N x M tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def tile(matrix: Tensor, n_inputs: int, n_outputs: int) -> Tensor:
    """Repeat one ``(n, m)`` matrix over ``(N, M)``, entry by entry."""
    n_rows, n_columns = matrix.shape
    tiled = torch.empty(n_inputs, n_outputs, dtype=matrix.dtype)
    for i in range(n_inputs):
        for j in range(n_outputs):
            tiled[i, j] = matrix[i % n_rows, j % n_columns]
    return tiled


def tile_batch(matrix: Tensor, n_inputs: int, n_outputs: int) -> Tensor:
    """Repeat ``(B, n, m)`` matrices over ``(B, N, M)`` by indices; differentiable."""
    rows = torch.arange(n_inputs) % matrix.shape[1]
    columns = torch.arange(n_outputs) % matrix.shape[2]
    return matrix[:, rows][:, :, columns]


def materialised_product(inputs: Tensor, weight: Tensor, matrix: Tensor) -> Tensor:
    """The product with every sample's own ``(N, M)`` weight, all of them in memory."""
    per_sample = weight * tile_batch(matrix, *weight.shape)
    return torch.einsum("bi,bij->bj", inputs, per_sample)


def product_by_loops(inputs: Tensor, weight: Tensor, matrix: Tensor) -> Tensor:
    """The product, one multiplication at a time."""
    n_inputs, n_outputs = weight.shape
    outputs = torch.zeros(len(inputs), n_outputs, dtype=inputs.dtype)
    for b in range(len(inputs)):
        tiled = tile(matrix[b], n_inputs, n_outputs)
        for j in range(n_outputs):
            for i in range(n_inputs):
                outputs[b, j] += inputs[b, i] * weight[i, j] * tiled[i, j]
    return outputs


@torch.no_grad()
def gated_factors(row_factor: Tensor, column_factor: Tensor, gate_scale: float = 1.0) -> Tensor:
    """One sample's matrix from ``U (n, k)`` and ``V (k, m)``, entry by entry."""
    n_rows, rank = row_factor.shape
    n_columns = column_factor.shape[1]
    matrix = torch.empty(n_rows, n_columns, dtype=row_factor.dtype)
    for a in range(n_rows):
        for b in range(n_columns):
            logit = sum(float(row_factor[a, r] * column_factor[r, b]) for r in range(rank))
            matrix[a, b] = gate_scale / (1 + math.exp(-logit))
    return matrix
