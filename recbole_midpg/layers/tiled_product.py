r"""The linear map whose weight every sample scales by a small matrix, repeated over it.

Source: Cheng et al., MI-DPG, CIKM 2023, equations (1) and (3)-(5).

Shapes: ``B`` samples; a weight ``W`` has ``N`` inputs and ``M`` outputs; a matrix ``S`` is
``n x m``, and ``tile(S)[i, j] = S[i mod n, j mod m]``. Samples are the last axis of every tensor
that has one, so that scaling by ``S`` runs over whole rows of memory and not over ``m`` numbers at
a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from recbole_midpg.layers.precision import at_least_float32


def weighted_linear(inputs: Tensor, weight: Tensor, bias: Tensor, matrix: Tensor) -> Tensor:
    r"""Linear map with a weight that every sample scales by its own tiled matrix.

    .. math:: y_j = b_j + \sum_i x_i \, W_{ij} \, S[i \bmod n,\; j \bmod m]

    The ``N x M x B`` tensor of weights per sample is never built, except where ``S`` itself has
    that size. Inputs (or outputs) that share a row (or column) of ``S`` are summed first, whichever
    leaves the smaller intermediate: see :func:`product_size`.

    Args:
        inputs: ``x``, ``(N, B)``.
        weight: ``W``, ``(N, M)``.
        bias: ``b``, ``(M,)``.
        matrix: ``S``, ``(n, m, B)`` with ``n <= N`` and ``m <= M``. Where ``n`` does not divide
            ``N``, or ``m`` not ``M``, the tiles are cut at the edge.

    Returns:
        ``y``, ``(M, B)``.
    """
    n_inputs, n_outputs = weight.shape
    n_rows, n_columns, _ = matrix.shape
    # Zeros fill W up to whole tiles: they add nothing to a sum.
    missing_rows, missing_columns = -n_inputs % n_rows, -n_outputs % n_columns
    if missing_rows:
        inputs = pad(inputs, (0, 0, 0, missing_rows))
    if missing_rows or missing_columns:
        weight = pad(weight, (0, missing_columns, 0, missing_rows))
        bias = pad(bias, (0, missing_columns))
    # Under autocast the others may come in a smaller type; weights are multiplied in their own.
    inputs, matrix = inputs.to(weight.dtype), matrix.to(weight.dtype)
    rows_first = n_rows * n_outputs <= n_columns * n_inputs
    way = _ContractThenScale if rows_first else _ScaleThenContract
    with torch.autocast(weight.device.type, enabled=False):
        outputs = way.apply(inputs, weight, bias, matrix)
    return outputs[:n_outputs] if missing_columns else outputs


def gated_linear(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    values: Tensor,
    shared: Tensor | None,
    gate_scale: float,
) -> tuple[Tensor, Tensor]:
    r"""Linear map with a weight that every sample scales by gates of its own.

    .. math:: S = \text{gate\_scale} \cdot \sigma(U V), \quad
        y_j = b_j + \sum_i x_i \, W_{ij} \, S[i \bmod n,\; j \bmod m]

    Args:
        inputs: ``x``, ``(N, B)``.
        weight: ``W``, ``(N, M)``.
        bias: ``b``, ``(M,)``.
        values: the row factors ``U``, ``(n, k, B)``; or, where there are no factors, the logits of
            the gates themselves, ``(n, m, B)``.
        shared: the column factor ``V`` of all samples, ``(k, m)``; or None.
        gate_scale: upper end of the gates' range.

    Returns:
        ``y``, ``(M, B)``, and ``S``, ``(n, m, B)``.
    """
    matrix = gates(values, shared, gate_scale)
    return weighted_linear(inputs, weight, bias, matrix), matrix


def gates(values: Tensor, shared: Tensor | None, gate_scale: float) -> Tensor:
    """The matrices ``S``, ``(n, m, B)``, of :func:`gated_linear`, from the same arguments."""
    logits = values
    if shared is not None:
        logits = torch.bmm(shared.T.expand(len(values), -1, -1), values)
    # Not in autocast's smaller types: next to a half, where gates start, they round all to one.
    gated = torch.sigmoid(at_least_float32(logits))
    return gated if gate_scale == 1.0 else gate_scale * gated


def product_size(n_inputs: int, n_outputs: int, n_rows: int, n_columns: int) -> int:
    """Numbers that :func:`weighted_linear` makes for a sample between inputs and outputs."""
    return min(n_rows * n_outputs, n_columns * n_inputs)


def fold(weight: Tensor, matrix: Tensor) -> Tensor:
    r"""The plain weights that matrices make of one weight: :math:`W \odot \text{tile}(S)`.

    Args:
        weight: ``W``, ``(N, M)``.
        matrix: ``S``, ``(n, m, B)``.

    Returns:
        ``(B, N, M)``.
    """
    n_inputs, n_outputs = weight.shape
    n_rows, n_columns, _ = matrix.shape
    # Repeated along the columns first: the product then runs over whole rows of W.
    wide = matrix.permute(2, 0, 1).repeat(1, 1, -(-n_outputs // n_columns))[:, :, :n_outputs]
    filled = pad(weight, (0, 0, 0, -n_inputs % n_rows)).view(-1, n_rows, n_outputs)
    return (filled * wide.unsqueeze(1)).flatten(1, 2)[:, :n_inputs]


# Both ways of the product stand between an outer side, whose N places are summed within each of the
# n classes ``i mod n``, and an inner side of M places. They are each other's transpose: what one
# does forward, the other does backward.


def _contract(outer: Tensor, weight: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    r"""Sum each class of the outer side, then scale.

    Args:
        outer: ``x``, ``(N, B)``.
        weight: ``(N, M)``.
        matrix: ``(n, m, B)``.

    Returns:
        The sums :math:`P_a = \sum_{i \equiv a} W_{ij} x_i`, ``(n, M, B)``, and
        :math:`y_j = \sum_a S_{a,\, j \bmod m} P_{a j}`, ``(M, B)``.
    """
    by_class = _classes(weight, len(matrix)).transpose(1, 2)
    sums = torch.bmm(by_class, _classes(outer, len(matrix)))
    inner = _sum_of_products(_tiles(sums, matrix.shape[1]), matrix)
    return sums, inner.reshape(weight.shape[1], outer.shape[1])


def _expand(inner: Tensor, weight: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    r"""Scale the inner side for each class, then multiply: the transpose of :func:`_contract`.

    Args:
        inner: ``y``, ``(M, B)``.
        weight: ``(N, M)``.
        matrix: ``(n, m, B)``.

    Returns:
        The scaled sides :math:`Q_{a j} = S_{a,\, j \bmod m} y_j`, ``(n, M, B)``, and
        :math:`x_i = \sum_j W_{ij} Q_{i \bmod n,\, j}`, ``(N, B)``.
    """
    scaled = matrix.unsqueeze(1) * _tiles(inner, matrix.shape[1])
    scaled = scaled.reshape(len(matrix), *inner.shape)
    outer = torch.bmm(_classes(weight, len(matrix)), scaled)
    return scaled, outer.transpose(0, 1).reshape(len(weight), inner.shape[1])


def _weight_gradient(outer: Tensor, scaled: Tensor) -> Tensor:
    """The gradient of ``W`` by class, ``(n, M, N / n)``, from ``(N, B)`` and ``Q``."""
    return torch.bmm(scaled, _classes(outer, len(scaled)).transpose(1, 2))


def _matrix_gradient(sums: Tensor, inner: Tensor, n_columns: int) -> Tensor:
    """The gradient of ``S``, ``(n, m, B)``, from ``P`` and ``(M, B)``."""
    return _sum_of_products(_tiles(sums, n_columns).transpose(0, 1), _tiles(inner, n_columns))


def _sum_of_products(first: Tensor, second: Tensor) -> Tensor:
    """Sum over the first axis of both, without a tensor of all products."""
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total.addcmul_(a, b)
    return total


def _classes(values: Tensor, n_rows: int) -> Tensor:
    """Places ``i`` of ``(N, ...)`` by class ``i mod n``: ``(n, N / n, ...)``, without a copy."""
    return values.view(len(values) // n_rows, n_rows, values.shape[1]).transpose(0, 1)


def _tiles(values: Tensor, n_columns: int) -> Tensor:
    """Places ``j`` of ``(..., M, B)`` by tile: ``(..., M / m, m, B)``, without a copy."""
    *leading, n_places, n_samples = values.shape
    return values.view(*leading, n_places // n_columns, n_columns, n_samples)


class _ContractThenScale(torch.autograd.Function):
    """The product by way of ``(n, M, B)``: the inputs are the outer side."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, matrix: Tensor) -> Tensor:
        inputs, weight, matrix = inputs.contiguous(), weight.contiguous(), matrix.contiguous()
        sums, outputs = _contract(inputs, weight, matrix)
        ctx.save_for_backward(inputs, weight, matrix, sums)
        return outputs.add_(bias.unsqueeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        inputs, weight, matrix, sums = ctx.saved_tensors
        gradient = gradient.contiguous()
        scaled, to_inputs = _expand(gradient, weight, matrix)
        to_weight = _weight_gradient(inputs, scaled).permute(2, 0, 1).reshape(weight.shape)
        to_matrix = _matrix_gradient(sums, gradient, matrix.shape[1])
        return to_inputs, to_weight, gradient.sum(1), to_matrix


class _ScaleThenContract(torch.autograd.Function):
    """The product by way of ``(m, N, B)``: the outputs are the outer side."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, matrix: Tensor) -> Tensor:
        inputs, weight = inputs.contiguous(), weight.T.contiguous()
        matrix = matrix.transpose(0, 1).contiguous()
        scaled, outputs = _expand(inputs, weight, matrix)
        ctx.save_for_backward(inputs, weight, matrix, scaled)
        return outputs.add_(bias.unsqueeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        inputs, weight, matrix, scaled = ctx.saved_tensors
        gradient = gradient.contiguous()
        sums, to_inputs = _contract(gradient, weight, matrix)
        to_weight = _weight_gradient(gradient, scaled).permute(1, 2, 0).reshape(weight.T.shape)
        to_matrix = _matrix_gradient(sums, inputs, matrix.shape[1]).transpose(0, 1)
        return to_inputs, to_weight, gradient.sum(1), to_matrix
