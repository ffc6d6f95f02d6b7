r"""APG's low-rank layers, whose small inner matrix is generated for each sample.

Source: Yan et al., "APG: Adaptive Parameter Generation Network for Click-Through Rate Prediction",
NeurIPS 2022, sections 3.2-3.4. The paper multiplies columns and calls the factors U S V; here rows
are multiplied, and ``A`` is its V transposed, ``B`` its U transposed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.mlp import ACTIVATIONS, MLP

# Weights of a generator's last layer at the start, as a part of their usual size: together with a
# bias that is the identity matrix, they make the layer start as the static one h A B.
START_SCALE = 0.1


class LowRankLinear(nn.Module):
    r"""A layer :math:`y = ((x A) S) B + b` with ``A`` and ``B`` shared and ``S`` given per sample.

    In training :math:`A = A_1 A_2` and :math:`B = B_1 B_2` with an inner width ``P`` much larger
    than the rank ``K`` (over-parameterisation). The products are formed once a batch, so that
    training costs what the merged form does, and there is no second form to keep in step.

    Parameters: :math:`P (N + M + 2K) + M`, or :math:`K (N + M) + M` where ``P`` is 0.

    Args:
        input_size: ``N``.
        output_size: ``M``.
        rank: ``K``, at most ``min(N, M)``.
        inner_size: ``P``; 0 keeps ``A`` and ``B`` as they are.
    """

    def __init__(self, input_size: int, output_size: int, rank: int, inner_size: int) -> None:
        super().__init__()
        self.rank = rank
        inner = [inner_size] if inner_size else []
        self.input_factors = _chain([input_size, *inner, rank])
        self.output_factors = _chain([rank, *inner, output_size])
        self.bias = nn.Parameter(torch.zeros(output_size))

    def merged(self) -> tuple[Tensor, Tensor]:
        """``A``, ``(N, K)``, and ``B``, ``(K, M)``."""
        first, second = ([*factors] for factors in (self.input_factors, self.output_factors))
        return (
            first[0] if len(first) == 1 else first[0] @ first[1],
            second[0] if len(second) == 1 else second[0] @ second[1],
        )

    def multiply_adds(self) -> int:
        """Multiplications of one sample, in the merged form."""
        n_inputs, n_outputs = self.input_factors[0].shape[0], len(self.bias)
        return self.rank * (n_inputs + self.rank + n_outputs)

    def forward(self, inputs: Tensor, specific: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            inputs: ``x``, ``(B, N)``.
            specific: ``S``, ``(B, K, K)``.

        Returns:
            ``y``, ``(B, M)``.
        """
        first, second = self.merged()
        reduced = torch.bmm((inputs @ first).unsqueeze(1), specific).squeeze(1)
        return torch.addmm(self.bias, reduced, second)


def _chain(sizes: Sequence[int]) -> nn.ParameterList:
    """Xavier-normal matrices that multiply one after the other."""
    matrices = [torch.empty(rows, columns) for rows, columns in pairwise(sizes)]
    for matrix in matrices:
        nn.init.xavier_normal_(matrix)
    return nn.ParameterList(matrices)


class LowRankMLP(nn.Module):
    r"""Low-rank hidden layers with generated inner matrices, then one plain linear logit.

    .. math::
        S^l = \text{reshape}(f^l(c)), \qquad h^l = \phi(((h^{l-1} A^l) S^l) B^l + b^l), \qquad
        z = h^L w + b

    The condition ``c`` is given (group-wise or mix-wise), or the layer's input :math:`h^{l-1}`
    (self-wise). A generator starts near the identity matrix for every condition.

    Args:
        input_size: ``d_0``.
        condition_size: width of ``c``; 0 for the layer's own input.
        hidden_sizes: widths of the hidden layers.
        rank: ``K`` of every layer, or a share of each layer's width; see :func:`rank_of_layer`.
        inner_size: ``P``.
        generator_hidden_sizes: hidden widths of the generators :math:`f^l`; empty makes them
            linear.
        generate_bias: whether the generators also give a term added to the layers' biases.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training.
    """

    def __init__(
        self,
        input_size: int,
        condition_size: int,
        hidden_sizes: Sequence[int],
        rank: float,
        inner_size: int,
        generator_hidden_sizes: Sequence[int],
        generate_bias: bool,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        sizes = [input_size, *hidden_sizes]
        layers = [
            LowRankLinear(fan_in, fan_out, rank_of_layer(rank, fan_in, fan_out), inner_size)
            for fan_in, fan_out in pairwise(sizes)
        ]
        self.layers = nn.ModuleList(layers)
        self.generators = nn.ModuleList(
            MLP(
                condition_size or fan_in,
                generator_hidden_sizes,
                layer.rank**2 + (len(layer.bias) if generate_bias else 0),
                activation,
            )
            for fan_in, layer in zip(sizes[:-1], layers, strict=True)
        )
        self.output = nn.Linear(sizes[-1], 1)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def reset_generators(self) -> None:
        """Make every generator give the identity matrix, but for small differences."""
        for layer, generator in zip(self.layers, self.generators, strict=True):
            last = generator.layers[-1]
            nn.init.xavier_normal_(last.weight, gain=START_SCALE)
            nn.init.zeros_(last.bias)
            last.bias.detach()[: layer.rank**2] = torch.eye(layer.rank).flatten()

    def forward(self, hidden: Tensor, condition: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Compute the logits.

        Args:
            hidden: ``(B, d_0)``.
            condition: ``c``, ``(B, condition_size)``, or None for the layer's own input.

        Returns:
            The logits ``(B,)`` and, a layer each, the generated matrices ``(B, K, K)``.
        """
        matrices = []
        for layer, generator in zip(self.layers, self.generators, strict=True):
            generated = generator(hidden if condition is None else condition)
            matrix = generated[:, : layer.rank**2].view(-1, layer.rank, layer.rank)
            outputs = layer(hidden, matrix)
            if generated.shape[1] > layer.rank**2:
                outputs = outputs + generated[:, layer.rank**2 :]
            hidden = self.dropout(self.activation(outputs))
            matrices.append(matrix)
        return self.output(hidden).squeeze(-1), matrices


def rank_of_layer(rank: float, input_size: int, output_size: int) -> int:
    r"""The rank of a layer from ``N`` to ``M``.

    Args:
        rank: a whole number, the rank itself; or a share :math:`q` below 1 of the layer's narrower
            side, :math:`K = \lceil q \min(N, M) \rceil`.
        input_size: ``N``.
        output_size: ``M``.
    """
    if rank >= 1:
        return int(rank)
    # The share as it is written: 0.07 of 100 is 7, and as a product of floats a little more.
    return math.ceil(Decimal(str(rank)) * min(input_size, output_size))


def check_rank(layer_sizes: Sequence[int], rank: float) -> None:
    """Check that a rank fits every hidden layer; a share of the width always does.

    Args:
        layer_sizes: ``[d_0, hidden sizes ..., 1]``.
        rank: see :func:`rank_of_layer`.

    Raises:
        UsageError: the rank is larger than a hidden layer's input or output.
    """
    smallest = min(layer_sizes[:-1])
    if rank > smallest:
        raise UsageError(
            f"apg_rank: {rank} does not fit a layer of width {smallest}, "
            f"expected at most {smallest} (layer widths {list(layer_sizes)})."
        )
