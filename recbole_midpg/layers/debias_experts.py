r"""SAR-Net's scenario transformation, and its shared and specific experts under one gate.

Source: Shen et al., "SAR-Net: A Scenario-Aware Ranking Network for Personalized Fair Recommendation
in Hundreds of Travel Scenarios", CIKM 2021.

Shapes: ``B`` rows of a batch, ``R`` places of its layout, ``S`` scenario slots, ``N`` inputs of an
expert, ``M`` its outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_midpg.layers.across_processes import is_shared
from recbole_midpg.layers.mixture import SharedExperts, weighted_sum
from recbole_midpg.layers.mlp import ACTIVATIONS
from recbole_midpg.layers.scenario_grouping import GroupedMLP, ScenarioLayout


class ScenarioTransform(nn.Module):
    r"""Scale and shift each value by the row's own scenario.

    .. math:: x' = x \odot a_s + c_s

    :math:`a_s = 1` and :math:`c_s = 0` at the start. The parameter ``specific_scale`` holds
    :math:`a_s - 1`, so that weight decay pulls a scenario to no change at all. Parameters:
    ``2 S N``.

    Args:
        n_scenarios: ``S``.
        size: ``N``.
    """

    def __init__(self, n_scenarios: int, size: int) -> None:
        super().__init__()
        self.specific_scale = nn.Parameter(torch.zeros(n_scenarios, size))
        self.specific_shift = nn.Parameter(torch.zeros(n_scenarios, size))

    def multiply_adds(self) -> int:
        """Multiplications of one sample: one for each value."""
        return self.specific_scale.shape[1]

    def forward(self, inputs: Tensor, scenario_ids: Tensor) -> Tensor:
        """Transform rows ``(B, N)`` whose scenario slots are ``(B,)``."""
        scale = functional.embedding(scenario_ids, self.specific_scale)
        shift = functional.embedding(scenario_ids, self.specific_shift)
        return torch.addcmul(inputs + shift, inputs, scale)


class DebiasExperts(nn.Module):
    r"""Experts that all scenarios share beside the row's own scenario's, under one gate for all.

    .. math::
        u = \sum_i g_i \, e_i, \qquad g = \text{softmax}(x W_g + b_g), \qquad
        e = (f_1(x), \dots, f_{n_\text{sh}}(x), f_{s,1}(x), \dots, f_{s,n_\text{sp}}(x))

    with activation and dropout after each layer of an expert, the last one too. A row is computed
    by its own scenario's specific experts only. Parameters, with those of one expert :math:`P`:
    :math:`(n_\text{sh} + S n_\text{sp}) P + (N + 1) (n_\text{sh} + n_\text{sp})`.

    Args:
        n_scenarios: ``S``.
        input_size: ``N``.
        hidden_sizes: widths of an expert's layers, the last one ``M``; at least one.
        n_shared: :math:`n_\text{sh}`.
        n_specific: :math:`n_\text{sp}`.
        activation: a key of :data:`~recbole_midpg.layers.mlp.ACTIVATIONS`.
        dropout: probability that a value is zeroed in training.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        hidden_sizes: Sequence[int],
        n_shared: int,
        n_specific: int,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.shared = SharedExperts(input_size, hidden_sizes, n_shared, activation, dropout)
        *below, self.output_size = hidden_sizes
        self.specific = nn.ModuleList(
            GroupedMLP(n_scenarios, input_size, below, self.output_size, activation, dropout)
            for _ in range(n_specific)
        )
        self.gate = nn.Linear(input_size, n_shared + n_specific)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the experts' and the gate's: the mixture's."""
        return self.gate.out_features * self.output_size

    def forward(self, inputs: Tensor, groups: ScenarioLayout | None) -> Tensor:
        """Compute the mixture.

        Args:
            inputs: ``x``, ``(B, N)``.
            groups: the layout of the batch; without specific experts there may be none.

        Returns:
            ``u``, ``(B, M)``.
        """
        experts = self.shared(inputs)
        if groups is not None:
            laid_out = groups.lay_out(inputs)
            for network in self.specific:
                outputs = self.activation(network(laid_out, groups))
                experts.append(groups.pick_up(groups.drop_out(outputs, self.dropout)))
        return weighted_sum(self.gate(inputs).softmax(-1), experts)


def normalise_batch(inputs: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Normalise rows ``(B, N)`` by a batch normalisation, in training a single row too.

    One row has no variance: ``nn.BatchNorm1d`` refuses it. Like an empty batch, it is normalised by
    the running statistics, which stay as they are.
    """
    if norm.training and not is_shared() and inputs.shape[0] <= 1:
        return functional.batch_norm(
            inputs, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
    return norm(inputs)
