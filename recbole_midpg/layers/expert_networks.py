r"""Several networks of the same widths on the same input, computed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_midpg.layers.experts import map_rows
from recbole_midpg.layers.mlp import ACTIVATIONS
from recbole_midpg.layers.scenario_grouping import xavier_normal_each_


class ExpertNetworks(nn.Module):
    r"""``n`` networks of the same widths, activation and dropout after every layer.

    .. math:: h_i^l = \phi(h_i^{l-1} W_i^l + b_i^l), \qquad h_i^0 = x, \qquad E_i = h_i^L

    The first layers are one linear map, the others a batched product each. Xavier-normal weights,
    each matrix for itself, and zero biases. Parameters: ``n`` times those of one network.

    Args:
        n_experts: ``n``.
        input_size: width of ``x``.
        sizes: widths of the layers, at least one.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a value is zeroed in training.
    """

    def __init__(
        self,
        n_experts: int,
        input_size: int,
        sizes: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        # Output before input, as in nn.Linear: side by side, the first layers are one linear layer.
        self.weights = nn.ParameterList(
            torch.empty(n_experts, fan_out, fan_in)
            for fan_in, fan_out in pairwise([input_size, *sizes])
        )
        self.biases = nn.ParameterList(torch.zeros(n_experts, size) for size in sizes)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        for weight in self.weights:
            xavier_normal_each_(weight)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: all networks'."""
        return sum(weight.numel() for weight in self.weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute all networks: ``x``, ``(B, N)``, to ``E``, ``(B, n, M)``."""
        hidden = map_rows(inputs, self.weights[0], self.biases[0]).transpose(0, 1)  # (n, B, ...)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if depth > 0:
                hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight.transpose(1, 2))
            hidden = self.dropout(self.activation(hidden))
        return hidden.transpose(0, 1)
