r"""Triton kernels of the gated linear map: factors, gate and tiled product, forward and backward.

What they compute is :func:`recbole_midpg.layers.tiled_product.gated_linear`, with its notation:
``B`` samples, last in every tensor; ``N`` inputs, ``M`` outputs; gates ``S`` of ``n x m``, of rank
``k``; the inputs ``i`` of class ``a`` are those with ``i mod n = a``, and

.. math::
    P_{aj} = \sum_{i \equiv a} W_{ij} x_i, \quad
    S = g \, \sigma(U V), \quad
    y_j = b_j + \sum_a S_{a,\, j \bmod m} P_{aj}.

Three kernels, each of which makes what it needs of :math:`P` and of :math:`S \odot \partial y` in
registers, class by class:

- forward: a block of samples by a block of outputs, over all classes; gives ``y`` and ``S``;
- backward to the samples: a block of samples by a class; gives the gradients of ``x`` and ``U``,
  and parts of that of ``V``;
- backward to the weight: a class by a block of outputs by a share of the batch; gives parts of the
  gradients of ``W`` and ``b``.

Parts are summed by a second kernel, torch's. No value is added to by two programs, so that the same
inputs give the same bits. Grids and the sizes of all that is allocated depend on shapes alone, and
nothing is read by the host, so that the three can be captured in a CUDA graph, once each has been
compiled by a first call.

The linear map of the generator is left to cuBLAS: it is a plain product that makes ``n k`` numbers
a sample, and a generator may have hidden layers.

What is saved, counted and not measured, in float32 for ``N = 112, M = 128, n = m = 8, k = 4``: from
``x`` and ``U`` to all gradients the plain form launches 41 kernels, which read and write about
11,000 numbers a sample, or 45 KB, most of them :math:`P`, :math:`S \odot \partial y` and sums that
are added up in memory. Here it is 3 kernels and 2 sums; they read and write ``x``, ``y``, ``U``,
``S`` and their gradients, 1,120 numbers or 4.5 KB, as far as the cache holds what neighbouring
programs read again.

Classes are filled up to blocks of 16 inputs: with ``n`` above ``N / 16`` a part of the arithmetic
is on zeros. It stays correct, and the traffic small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_midpg.layers import tiled_product


@dataclass(frozen=True)
class Block:
    """How much of a layer one program handles at a time, in powers of two of at least 16.

    Attributes:
        samples: samples.
        outputs: outputs, at most; where ``m`` is larger, ``m`` filled up to a power of two.
        inputs: inputs of a class, at most.
        warps: warps of a program.
    """

    samples: int
    outputs: int
    inputs: int
    warps: int


@dataclass(frozen=True)
class Blocks:
    """The blocks of the three kernels."""

    forward: Block
    to_samples: Block
    to_weight: Block


# To be tuned on a GPU, by benchmarks/kernels.py. So far chosen so that a layer makes 64 to 128
# programs of a batch of 512, and that ptxas reports no values spilled from registers for sm_90.
NARROW_GATES = Blocks(Block(32, 32, 16, 4), Block(32, 64, 16, 4), Block(32, 64, 32, 4))
WIDE_GATES = Blocks(Block(16, 128, 16, 8), Block(16, 128, 16, 8), Block(16, 128, 16, 8))
# Columns m from which gates are wide, and the most for which registers do: of 256 columns ptxas
# spills some 300 bytes a thread.
WIDE_FROM, MOST_COLUMNS = 33, 128
# Programs among which the gradient of the weight is divided, and samples of each at least.
WEIGHT_PROGRAMS, LEAST_SHARE = 512, 64
# The least size that a side of a product can have in tl.dot.
SMALLEST = 16


# --- inside of a kernel ---------------------------------------------------------------------------


@triton.jit
def _outputs_of(
    first_tile: tl.tensor,
    M: tl.constexpr,
    m: tl.constexpr,
    TILES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """The outputs of some tiles, each filled up to a power of two of columns, and which exist."""
    tiles = first_tile + tl.arange(0, TILES)
    columns = tl.arange(0, COLUMNS)
    outputs = tiles[:, None] * m + columns[None, :]
    exist = (columns[None, :] < m) & (outputs < M)
    return tl.reshape(outputs, [TILES * COLUMNS]), tl.reshape(exist, [TILES * COLUMNS])


@triton.jit
def _load(
    values: tl.tensor, rows: tl.tensor, rows_exist: tl.tensor, samples: tl.tensor, B: int
) -> tl.tensor:
    """Some rows of ``(..., B)`` for some samples; zeros where there is none."""
    places = rows.to(tl.int64)[:, None] * B + samples[None, :]
    return tl.load(values + places, mask=rows_exist[:, None] & (samples < B)[None, :], other=0.0)


@triton.jit
def _store(
    values: tl.tensor,
    rows: tl.tensor,
    rows_exist: tl.tensor,
    samples: tl.tensor,
    B: int,
    block: tl.tensor,
) -> None:
    """Store some rows of ``(..., B)`` for some samples, as far as they exist."""
    places = rows.to(tl.int64)[:, None] * B + samples[None, :]
    tl.store(values + places, block, mask=rows_exist[:, None] & (samples < B)[None, :])


@triton.jit
def _weights_of(
    weight: tl.tensor,
    inputs: tl.tensor,
    outputs: tl.tensor,
    exist: tl.tensor,
    M: tl.constexpr,
) -> tl.tensor:
    """Entries of ``W`` by inputs and outputs, which are spread over different axes."""
    return tl.load(weight + inputs * M + outputs, mask=exist, other=0.0)


@triton.jit
def _class_sums(
    x: tl.tensor,
    weight: tl.tensor,
    a: tl.tensor,
    outputs: tl.tensor,
    outputs_exist: tl.tensor,
    samples: tl.tensor,
    B: int,
    N: tl.constexpr,
    M: tl.constexpr,
    n: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    SAMPLES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """``P`` of class ``a``, ``(OUTPUTS, SAMPLES)``: the sum over the class's inputs."""
    sums = tl.zeros([OUTPUTS, SAMPLES], tl.float32)
    for first in range(0, (N + n - 1) // n, INPUTS):
        inputs = a + n * (first + tl.arange(0, INPUTS))
        block = _load(x, inputs, inputs < N, samples, B)
        exist = outputs_exist[:, None] & (inputs < N)[None, :]
        weights = _weights_of(weight, inputs[None, :], outputs[:, None], exist, M)
        sums = tl.dot(weights, block, sums, input_precision=PRECISION)
    return sums


# --- the kernels ----------------------------------------------------------------------------------


@triton.jit
def forward_kernel(
    x: tl.tensor,  # (N, B)
    weight: tl.tensor,  # (N, M)
    bias: tl.tensor,  # (M,)
    values: tl.tensor,  # U (n, k, B); or the gates' logits (n, m, B) where RANK is 0
    shared: tl.tensor,  # V (k, m); not read where RANK is 0
    y: tl.tensor,  # (M, B)
    gates: tl.tensor,  # S (n, m, B)
    gate_scale: float,
    B: int,
    N: tl.constexpr,
    M: tl.constexpr,
    n: tl.constexpr,
    m: tl.constexpr,
    RANK: tl.constexpr,
    INPUTS: tl.constexpr,
    TILES: tl.constexpr,
    COLUMNS: tl.constexpr,
    SAMPLES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Outputs and gates; program ``(block of samples, block of tiles)``."""
    samples = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    columns = tl.arange(0, COLUMNS)
    outputs, exist = _outputs_of(tl.program_id(1) * TILES, M, m, TILES, COLUMNS)
    total = tl.zeros([TILES, COLUMNS, SAMPLES], tl.float32)
    one = tl.arange(0, 1)
    for a in range(n):
        if RANK == 0:
            logits = _load(values, a * m + columns, columns < m, samples, B)
        else:
            logits = tl.zeros([COLUMNS, SAMPLES], tl.float32)
            for r in range(RANK):
                u = _load(values, a * RANK + r + one, one == 0, samples, B)
                v = tl.load(shared + r * m + columns, mask=columns < m, other=0.0)
                logits += v[:, None] * u
        gate = gate_scale * tl.sigmoid(logits)
        if tl.program_id(1) == 0:
            _store(gates, a * m + columns, columns < m, samples, B, gate)
        sums = _class_sums(
            x, weight, a, outputs, exist, samples, B,
            N, M, n, INPUTS, TILES * COLUMNS, SAMPLES, PRECISION,
        )  # fmt: skip
        total += tl.reshape(sums, [TILES, COLUMNS, SAMPLES]) * gate[None, :, :]
    added = tl.load(bias + outputs, mask=exist, other=0.0)
    block = tl.reshape(total, [TILES * COLUMNS, SAMPLES]) + added[:, None]
    _store(y, outputs, exist, samples, B, block)


@triton.jit
def to_samples_kernel(
    x: tl.tensor,  # (N, B)
    weight: tl.tensor,  # (N, M)
    values: tl.tensor,  # U (n, k, B); not read where RANK is 0
    shared: tl.tensor,  # V (k, m); not read where RANK is 0
    gates: tl.tensor,  # S (n, m, B)
    to_y: tl.tensor,  # (M, B)
    to_gates: tl.tensor,  # (n, m, B); not read unless GATES_ARE_USED
    to_x: tl.tensor,  # (N, B)
    to_values: tl.tensor,  # as values
    to_shared: tl.tensor,  # (blocks of samples, n, k, m)
    gate_scale: float,
    B: int,
    N: tl.constexpr,
    M: tl.constexpr,
    n: tl.constexpr,
    m: tl.constexpr,
    RANK: tl.constexpr,
    GATES_ARE_USED: tl.constexpr,
    INPUTS: tl.constexpr,
    TILES: tl.constexpr,
    COLUMNS: tl.constexpr,
    SAMPLES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradients of all that samples have of their own; program ``(block of samples, class)``."""
    samples = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    a = tl.program_id(1)
    columns = tl.arange(0, COLUMNS)
    gate = _load(gates, a * m + columns, columns < m, samples, B)

    to_gate = tl.zeros([COLUMNS, SAMPLES], tl.float32)
    if GATES_ARE_USED:
        to_gate += _load(to_gates, a * m + columns, columns < m, samples, B)
    for first_tile in range(0, (M + m - 1) // m, TILES):
        outputs, exist = _outputs_of(first_tile, M, m, TILES, COLUMNS)
        sums = _class_sums(
            x, weight, a, outputs, exist, samples, B,
            N, M, n, INPUTS, TILES * COLUMNS, SAMPLES, PRECISION,
        )  # fmt: skip
        products = sums * _load(to_y, outputs, exist, samples, B)
        to_gate += tl.sum(tl.reshape(products, [TILES, COLUMNS, SAMPLES]), axis=0)

    to_logits = to_gate * gate * (1.0 - gate / gate_scale)
    if RANK == 0:
        _store(to_values, a * m + columns, columns < m, samples, B, to_logits)
    else:
        one = tl.arange(0, 1)
        parts = to_shared + (tl.program_id(0) * n + a).to(tl.int64) * RANK * m
        for r in range(RANK):
            u = _load(values, a * RANK + r + one, one == 0, samples, B)
            v = tl.load(shared + r * m + columns, mask=columns < m, other=0.0)
            to_u = tl.sum(to_logits * v[:, None], axis=0)[None, :]
            _store(to_values, a * RANK + r + one, one == 0, samples, B, to_u)
            to_v = tl.sum(to_logits * u, axis=1)
            tl.store(parts + r * m + columns, to_v, mask=columns < m)

    for first in range(0, (N + n - 1) // n, INPUTS):
        inputs = a + n * (first + tl.arange(0, INPUTS))
        block = tl.zeros([INPUTS, SAMPLES], tl.float32)
        for first_tile in range(0, (M + m - 1) // m, TILES):
            outputs, exist = _outputs_of(first_tile, M, m, TILES, COLUMNS)
            scaled = _scaled(to_y, gate, outputs, exist, samples, B, TILES, COLUMNS, SAMPLES)
            both = (inputs < N)[:, None] & exist[None, :]
            weights = _weights_of(weight, inputs[:, None], outputs[None, :], both, M)
            block = tl.dot(weights, scaled, block, input_precision=PRECISION)
        _store(to_x, inputs, inputs < N, samples, B, block)


@triton.jit
def _scaled(
    to_y: tl.tensor,
    gate: tl.tensor,
    outputs: tl.tensor,
    outputs_exist: tl.tensor,
    samples: tl.tensor,
    B: int,
    TILES: tl.constexpr,
    COLUMNS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> tl.tensor:
    """The gradients of some outputs, times a class's gates, ``(TILES * COLUMNS, SAMPLES)``."""
    block = _load(to_y, outputs, outputs_exist, samples, B)
    by_tile = tl.reshape(block, [TILES, COLUMNS, SAMPLES]) * gate[None, :, :]
    return tl.reshape(by_tile, [TILES * COLUMNS, SAMPLES])


@triton.jit
def to_weight_kernel(
    x: tl.tensor,  # (N, B)
    gates: tl.tensor,  # S (n, m, B)
    to_y: tl.tensor,  # (M, B)
    parts: tl.tensor,  # (shares of the batch, N + 1, M): those of W, and in the last row of b
    B: int,
    N: tl.constexpr,
    M: tl.constexpr,
    n: tl.constexpr,
    m: tl.constexpr,
    INPUTS: tl.constexpr,
    TILES: tl.constexpr,
    COLUMNS: tl.constexpr,
    SAMPLES: tl.constexpr,
    STEPS: tl.constexpr,  # blocks of samples that make a share
    PRECISION: tl.constexpr,
) -> None:
    """Parts of the gradients of ``W`` and ``b``; program ``(inputs of a class, tiles, share)``."""
    a = tl.program_id(0) % n
    first = tl.program_id(0) // n * INPUTS
    inputs = a + n * (first + tl.arange(0, INPUTS))
    columns = tl.arange(0, COLUMNS)
    outputs, exist = _outputs_of(tl.program_id(1) * TILES, M, m, TILES, COLUMNS)
    total = tl.zeros([TILES * COLUMNS, INPUTS], tl.float32)
    to_bias = tl.zeros([TILES * COLUMNS], tl.float32)
    for step in range(STEPS):
        samples = (tl.program_id(2) * STEPS + step) * SAMPLES + tl.arange(0, SAMPLES)
        gate = _load(gates, a * m + columns, columns < m, samples, B)
        scaled = _scaled(to_y, gate, outputs, exist, samples, B, TILES, COLUMNS, SAMPLES)
        places = inputs.to(tl.int64)[None, :] * B + samples[:, None]
        both = (inputs < N)[None, :] & (samples < B)[:, None]
        block = tl.load(x + places, mask=both, other=0.0)
        total = tl.dot(scaled, block, total, input_precision=PRECISION)
        to_bias += tl.sum(_load(to_y, outputs, exist, samples, B), axis=1)
    part = parts + tl.program_id(2).to(tl.int64) * (N + 1) * M
    both = (inputs < N)[None, :] & exist[:, None]
    tl.store(part + inputs[None, :] * M + outputs[:, None], total, mask=both)
    if tl.program_id(0) == 0:
        tl.store(part + N * M + outputs, to_bias, mask=exist)


# --- outside of it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """The sizes of a layer.

    Attributes:
        N: inputs.
        M: outputs.
        n: rows of the gates.
        m: columns of the gates.
        k: rank of their factors; 0 where the logits come as they are.
    """

    N: int
    M: int
    n: int
    m: int
    k: int

    @property
    def blocks(self) -> Blocks:
        """The blocks by which the kernels go."""
        return WIDE_GATES if self.m >= WIDE_FROM else NARROW_GATES

    def constants(self, block: Block) -> dict[str, int]:
        """The compile-time arguments of any kernel, for one that goes by ``block``."""
        columns = triton.next_power_of_2(self.m)
        n_tiles = triton.next_power_of_2(triton.cdiv(self.M, self.m))
        n_inputs = triton.next_power_of_2(triton.cdiv(self.N, self.n))
        return {
            "N": self.N,
            "M": self.M,
            "n": self.n,
            "m": self.m,
            "INPUTS": max(min(n_inputs, block.inputs), SMALLEST),
            "TILES": max(min(n_tiles, block.outputs // columns), SMALLEST // columns, 1),
            "COLUMNS": columns,
            "SAMPLES": block.samples,
        }


class _GatedLinear(torch.autograd.Function):
    """Outputs and gates, with the gradients of both."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        values: Tensor,
        shared: Tensor | None,
        gate_scale: float,
    ) -> tuple[Tensor, Tensor]:
        (N, B), M, n = x.shape, weight.shape[1], len(values)
        m = values.shape[1] if shared is None else shared.shape[1]
        sizes = Sizes(N, M, n, m, 0 if shared is None else len(shared))
        y, gates = x.new_empty(M, B), x.new_empty(n, m, B)
        block = sizes.blocks.forward
        constants = sizes.constants(block)
        n_tiles = triton.cdiv(triton.cdiv(M, m), constants["TILES"])
        forward_kernel[triton.cdiv(B, block.samples), n_tiles](
            x, weight, bias, values, x if shared is None else shared, y, gates, gate_scale, B,
            **constants, RANK=sizes.k, PRECISION=product_precision(), num_warps=block.warps,
        )  # fmt: skip
        ctx.save_for_backward(x, weight, values, shared, gates)
        ctx.sizes, ctx.gate_scale = sizes, gate_scale
        ctx.set_materialize_grads(False)
        return y, gates

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_y: Tensor | None, to_gates: Tensor | None) -> tuple[Any, ...]:
        x, weight, values, shared, gates = ctx.saved_tensors
        to_y = torch.zeros_like(x[:1]).expand(ctx.sizes.M, -1) if to_y is None else to_y
        saved = (x, weight, values, shared, gates, to_y.contiguous())
        to_x, to_values, to_shared = _to_samples(*saved, to_gates, ctx.sizes, ctx.gate_scale)
        to_weight = _to_weight(x, gates, to_y.contiguous(), ctx.sizes)
        return to_x, to_weight[:-1], to_weight[-1], to_values, to_shared, None


def _to_samples(
    x: Tensor,
    weight: Tensor,
    values: Tensor,
    shared: Tensor | None,
    gates: Tensor,
    to_y: Tensor,
    to_gates: Tensor | None,
    sizes: Sizes,
    gate_scale: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of the inputs, and of the factors or the logits."""
    B, block = x.shape[1], sizes.blocks.to_samples
    n_blocks = triton.cdiv(B, block.samples)
    to_x, to_values = torch.empty_like(x), torch.empty_like(values)
    parts = x.new_empty(n_blocks * sizes.n, sizes.k, sizes.m)
    to_samples_kernel[n_blocks, sizes.n](
        x, weight, values, x if shared is None else shared, gates, to_y,
        x if to_gates is None else to_gates.contiguous(), to_x, to_values, parts, gate_scale, B,
        **sizes.constants(block), RANK=sizes.k, GATES_ARE_USED=to_gates is not None,
        PRECISION=product_precision(), num_warps=block.warps,
    )  # fmt: skip
    return to_x, to_values, None if shared is None else parts.sum(0)


def _to_weight(x: Tensor, gates: Tensor, to_y: Tensor, sizes: Sizes) -> Tensor:
    """The gradients of the weight and, in the last row, of the bias: ``(N + 1, M)``."""
    B, block = x.shape[1], sizes.blocks.to_weight
    constants = sizes.constants(block)
    n_blocks = sizes.n * triton.cdiv(triton.cdiv(sizes.N, sizes.n), constants["INPUTS"])
    n_tiles = triton.cdiv(triton.cdiv(sizes.M, sizes.m), constants["TILES"])
    most_shares = max(WEIGHT_PROGRAMS // (n_blocks * n_tiles), 1)
    # A power of two, as each number is compiled for itself.
    share = max(triton.next_power_of_2(triton.cdiv(B, most_shares)), LEAST_SHARE)
    n_shares = triton.cdiv(B, share)
    parts = x.new_empty(n_shares, sizes.N + 1, sizes.M)
    to_weight_kernel[n_blocks, n_tiles, n_shares](
        x, gates, to_y, parts, B,
        **constants, STEPS=share // block.samples, PRECISION=product_precision(),
        num_warps=block.warps,
    )  # fmt: skip
    return parts[0] if n_shares == 1 else parts.sum(0)


def product_precision() -> str:
    """The arithmetic of products of float32: TF32 only where torch is set to use it as well."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def gated_linear(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    values: Tensor,
    shared: Tensor | None,
    gate_scale: float,
) -> tuple[Tensor, Tensor]:
    """Compute :func:`recbole_midpg.layers.tiled_product.gated_linear` by the kernels.

    An empty batch, and weights in another type than float32, go the plain way. Gates have at most
    :data:`MOST_COLUMNS` columns.
    """
    if weight.dtype != torch.float32 or not inputs.shape[1]:
        return tiled_product.gated_linear(inputs, weight, bias, values, shared, gate_scale)
    # Under autocast these may come in a smaller type; weights are multiplied in their own.
    inputs, values = inputs.to(weight.dtype), values.to(weight.dtype)
    shared = None if shared is None else shared.contiguous()
    return _GatedLinear.apply(
        inputs.contiguous(), weight.contiguous(), bias, values.contiguous(), shared, gate_scale
    )
