r"""Experts that all scenarios share, and a gate of each scenario that mixes them.

Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018, section 4.2, with a scenario in a task's place.

Shapes: ``B`` rows of a batch, ``S`` scenarios, ``N`` inputs of an expert, ``M`` its outputs, ``n``
experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_midpg.layers.experts import map_each, map_rows, mix
from recbole_midpg.layers.mlp import ACTIVATIONS
from recbole_midpg.layers.scenario_grouping import (
    GroupedMLP,
    ScenarioLayout,
    xavier_normal_each_,
)


class SharedExperts(nn.Module):
    r"""Multi-layer perceptrons of the same widths that read the same rows.

    .. math:: h_i^l = \phi(h_i^{l-1} W_i^l + b_i^l), \qquad h_i^0 = x, \qquad f_i(x) = h_i^L

    The first layers of all experts are one product, the layers above one batched product each.
    Xavier-normal weights, each expert's matrix for itself, and zero biases. Parameters: ``n`` times
    those of one expert.

    Args:
        input_size: ``N``.
        hidden_sizes: widths of an expert's layers, the last one ``M``; at least one.
        n_experts: ``n``.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a value is zeroed in training, after each activation.
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        n_experts: int,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        # Output before input, as in nn.Linear: side by side, first layers are one linear layer.
        self.weights = nn.ParameterList(
            torch.empty(n_experts, fan_out, fan_in)
            for fan_in, fan_out in pairwise([input_size, *hidden_sizes])
        )
        self.biases = nn.ParameterList(torch.zeros(n_experts, size) for size in hidden_sizes)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        for weight in self.weights:
            xavier_normal_each_(weight)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: those of every expert's layers."""
        return sum(weight.numel() for weight in self.weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map rows ``(B, N)`` to every expert's output, ``(B, n, M)``."""
        hidden = map_rows(inputs, self.weights[0], self.biases[0])
        hidden = self.dropout(self.activation(hidden))
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden = self.dropout(self.activation(map_each(hidden, weight, bias)))
        return hidden


class ScenarioMixture(nn.Module):
    r"""Shared experts, mixed for each row by the gate of its own scenario.

    .. math:: u = \sum_{i=1}^n g_s(x)_i \, f_i(x), \qquad g_s(x) = \text{softmax}(x \, G_s)

    Only a row's own gate is computed. A gate is a linear map without bias, or a network with
    hidden layers whose last one has no bias. Parameters: the experts', and of gates without hidden
    layers ``S N n``.

    Args:
        n_scenarios: ``S``.
        input_size: ``N``.
        hidden_sizes: widths of an expert's layers, the last one ``M``; at least one.
        n_experts: ``n``.
        gate_hidden_sizes: widths of a gate's hidden layers; empty makes it linear.
        activation: name of the activation of experts and gates, a key of :data:`ACTIVATIONS`.
        dropout: probability that a value of an expert is zeroed in training.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        hidden_sizes: Sequence[int],
        n_experts: int,
        gate_hidden_sizes: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.n_values = n_experts * hidden_sizes[-1]
        self.experts = SharedExperts(input_size, hidden_sizes, n_experts, activation, dropout)
        self.gates = GroupedMLP(
            n_scenarios, input_size, gate_hidden_sizes, n_experts, activation, 0.0, False
        )

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the experts' and gates': those of the mixture."""
        return self.n_values

    def forward(self, inputs: Tensor, groups: ScenarioLayout) -> tuple[Tensor, Tensor]:
        """Compute the mixture.

        Args:
            inputs: ``x``, ``(B, N)``.
            groups: the layout of the batch.

        Returns:
            ``u``, ``(B, M)``, and the experts' outputs, ``(B, n, M)``.
        """
        experts = self.experts(inputs)
        gates = groups.pick_up(self.gates(groups.lay_out(inputs), groups))
        return mix(gates.softmax(-1), experts), experts
