r"""Experts that all scenarios share, and a gate of each scenario that mixes them.

Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018, section 4.2, with a scenario in a task's place.

Shapes: ``B`` rows of a batch, ``S`` scenarios, ``N`` inputs of an expert, ``M`` its outputs, ``n``
experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_midpg.layers.mlp import hidden_layers
from recbole_midpg.layers.scenario_grouping import GroupedMLP, ScenarioLayout


class SharedExperts(nn.Module):
    r"""Networks of the same widths that read the same rows.

    .. math:: h_i^l = \phi(h_i^{l-1} W_i^l + b_i^l), \qquad h_i^0 = x, \qquad f_i(x) = h_i^L

    Each is computed by itself: on a CPU its values stay in cache from layer to layer, and a step is
    faster than with all first layers as one product.

    Args:
        input_size: ``N``.
        hidden_sizes: widths of an expert's layers, the last one ``M``; at least one.
        n_experts: ``n``.
        activation: name of :math:`\phi`, a key of :data:`~recbole_midpg.layers.mlp.ACTIVATIONS`.
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
        self.networks = nn.ModuleList(
            nn.Sequential(*hidden_layers(input_size, hidden_sizes, activation, dropout))
            for _ in range(n_experts)
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Map rows ``(B, N)`` to each expert's output, ``(B, M)``."""
        return [network(inputs) for network in self.networks]


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
        activation: name of the activation of experts and gates, a key of
            :data:`~recbole_midpg.layers.mlp.ACTIVATIONS`.
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
            n_scenarios,
            input_size,
            gate_hidden_sizes,
            n_experts,
            activation,
            dropout=0.0,
            output_bias=False,
        )

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the experts' and gates': those of the mixture."""
        return self.n_values

    def forward(self, inputs: Tensor, groups: ScenarioLayout) -> tuple[Tensor, list[Tensor]]:
        """Compute the mixture.

        Args:
            inputs: ``x``, ``(B, N)``.
            groups: the layout of the batch.

        Returns:
            ``u``, ``(B, M)``, and each expert's output, ``(B, M)``.
        """
        experts = self.experts(inputs)
        # By the layout: to read each row's gate weights takes up to 3.5 times as long on a CPU.
        gates = groups.pick_up(self.gates(groups.lay_out(inputs), groups))
        return weighted_sum(gates.softmax(-1), experts), experts


def weighted_sum(weights: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Sum ``n`` parts, ``(B, M)`` each, by a row's weights ``(B, n)``, to ``(B, M)``."""
    first, *others = zip(weights.split(1, dim=1), parts, strict=True)
    total = first[0] * first[1]
    for weight, part in others:
        total = torch.addcmul(total, weight, part)
    return total
