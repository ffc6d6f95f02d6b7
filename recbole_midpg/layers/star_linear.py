r"""STAR's star-topology fully connected network.

Source: Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain
CTR Prediction", CIKM 2021, section 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_midpg.layers.mlp import ACTIVATIONS
from recbole_midpg.layers.scenario_grouping import ScenarioLayout, grouped_linear


class StarLinear(nn.Module):
    r"""A linear layer whose shared weight every scenario scales by its own.

    .. math:: y = x \, (W \odot W_s) + b + b_s

    :math:`W_s = 1` and :math:`b_s = 0` at the start, so that every scenario starts from the shared
    layer; were both factors drawn at random, their product would start near zero. The parameter
    ``specific_weight`` holds :math:`W_s - 1`: the model and its gradients are the same, and weight
    decay pulls a scenario towards the shared layer instead of switching it off. Parameters:
    ``(S + 1)(N M + M)``.

    Args:
        n_scenarios: ``S``.
        input_size: ``N``.
        output_size: ``M``.
    """

    def __init__(self, n_scenarios: int, input_size: int, output_size: int) -> None:
        super().__init__()
        self.shared_weight = nn.Parameter(torch.empty(input_size, output_size))
        self.shared_bias = nn.Parameter(torch.zeros(output_size))
        self.specific_weight = nn.Parameter(torch.zeros(n_scenarios, input_size, output_size))
        self.specific_bias = nn.Parameter(torch.zeros(n_scenarios, output_size))
        nn.init.xavier_normal_(self.shared_weight)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: ``N M``; a scenario's product of weights is made once."""
        return self.shared_weight.numel()

    def forward(self, inputs: Tensor, groups: ScenarioLayout) -> Tensor:
        """Map ``(R, N)`` to ``(R, M)``, both in the layout of ``groups``."""
        bias = self.specific_bias + self.shared_bias
        return grouped_linear(inputs, self.specific_weight, bias, groups, self.shared_weight)


class StarMLP(nn.Module):
    """Star layers with an activation and dropout after each, then one star layer for the logit.

    Args:
        n_scenarios: ``S``.
        input_size: ``d_0``.
        hidden_sizes: widths of the hidden layers.
        activation: name of the activation, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        hidden_sizes: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        sizes = [input_size, *hidden_sizes, 1]
        self.layers = nn.ModuleList(
            StarLinear(n_scenarios, fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)
        )
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, groups: ScenarioLayout) -> Tensor:
        """Map ``(R, d_0)`` in the layout of ``groups`` to logits ``(R, 1)``."""
        for depth, layer in enumerate(self.layers):
            if depth > 0:
                hidden = groups.drop_out(self.activation(hidden), self.dropout)
            hidden = layer(hidden, groups)
        return hidden
