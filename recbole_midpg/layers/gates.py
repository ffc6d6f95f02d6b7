r"""PEPNet's gate unit, which scales values by a factor between 0 and ``gamma``.

Source: Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with
Personalized Prior Information", KDD 2023, section 3.2 (Gate NU).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_midpg.layers.mlp import ACTIVATIONS

# Weights of a gate's second layer at the start, as a part of their usual size: together with a zero
# bias it keeps the gates near gamma / 2, so that the gated network starts as the ungated one.
START_SCALE = 0.1


class GateUnits(nn.Module):
    r"""Gates of several widths from the same input: one hidden layer and a scaled sigmoid each.

    .. math:: \delta_l = \gamma\,\sigma(\text{relu}([p; \text{sg}(x)] W_l + b_l) W'_l + b'_l)

    ``p`` is prior information, which learns through the gates; ``x`` is what is gated, and
    :math:`\text{sg}` stops the gradient: the gates do not change what they read. The first layers
    of all units are kept as one linear map, ``from_prior`` and ``from_stopped`` its two parts.

    Parameters: with ``p`` of width ``P``, ``x`` of ``N``, units of widths ``M_l`` and hidden widths
    ``H_l``: :math:`\sum_l (P + N + 1) H_l + (H_l + 1) M_l`.

    Args:
        prior_size: width of ``p``.
        stopped_size: width of ``x``.
        output_sizes: widths of the units.
        hidden_size: hidden width of each unit; 0 makes it the unit's own width.
        gamma: upper end of a gate's range.
    """

    def __init__(
        self,
        prior_size: int,
        stopped_size: int,
        output_sizes: Sequence[int],
        hidden_size: int = 0,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.hidden_sizes = [hidden_size or size for size in output_sizes]
        self.from_prior = nn.Linear(prior_size, sum(self.hidden_sizes))
        self.from_stopped = nn.Linear(stopped_size, sum(self.hidden_sizes), bias=False)
        self.outputs = nn.ModuleList(
            nn.Linear(hidden, size)
            for hidden, size in zip(self.hidden_sizes, output_sizes, strict=True)
        )

    def reset_parameters(self) -> None:
        """Initialise as one linear layer a unit would be, its second layer near zero.

        The first layers' weights are Xavier-normal, by the width of the whole input ``[p; x]`` and
        of the unit's own hidden layer; biases are zero.
        """
        start = 0
        for hidden, output in zip(self.hidden_sizes, self.outputs, strict=True):
            parts = [part.weight.detach() for part in (self.from_prior, self.from_stopped)]
            joined = torch.empty(hidden, sum(part.shape[1] for part in parts))
            nn.init.xavier_normal_(joined)
            for part, drawn in zip(
                parts, joined.split([part.shape[1] for part in parts], dim=1), strict=True
            ):
                part[start : start + hidden] = drawn
            start += hidden
            nn.init.xavier_normal_(output.weight, gain=START_SCALE)
            nn.init.zeros_(output.bias)
        nn.init.zeros_(self.from_prior.bias)

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the second layers': the first ones', and gamma's."""
        first = self.from_prior.weight.numel() + self.from_stopped.weight.numel()
        return first + sum(output.out_features for output in self.outputs)

    def forward(self, prior: Tensor, stopped: Tensor) -> list[Tensor]:
        """Compute the gates.

        Args:
            prior: ``p``, ``(B, P)``.
            stopped: ``x``, ``(B, N)``; gets no gradient from here.

        Returns:
            A gate ``(B, M_l)`` for each unit, with values in ``[0, gamma]``.
        """
        # A unit at a time: its hidden values are still in cache when its second layer reads them.
        stopped = stopped.detach()
        from_prior = self.from_prior.weight.split(self.hidden_sizes)
        from_stopped = self.from_stopped.weight.split(self.hidden_sizes)
        biases = self.from_prior.bias.split(self.hidden_sizes)
        gates = []
        for output, of_prior, of_stopped, bias in zip(
            self.outputs, from_prior, from_stopped, biases, strict=True
        ):
            hidden = functional.linear(prior, of_prior, bias)
            hidden = torch.addmm(hidden, stopped, of_stopped.T).relu_()
            gates.append(self.gamma * torch.sigmoid(output(hidden)))
        return gates


class GatedMLP(nn.Module):
    r"""A multi-layer perceptron whose layers' inputs are multiplied by gates.

    .. math:: h^{l+1} = \phi((\delta_l \odot h^l) W^l + b^l), \qquad z = (\delta_L \odot h^L) w + b

    Args:
        input_size: width of :math:`h^0`.
        hidden_sizes: widths of the hidden layers.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training, before its gate.
    """

    def __init__(
        self, input_size: int, hidden_sizes: Sequence[int], activation: str, dropout: float
    ) -> None:
        super().__init__()
        sizes = [input_size, *hidden_sizes, 1]
        self.layers = nn.ModuleList(
            nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)
        )
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, gates: Sequence[Tensor | None]) -> Tensor:
        """Compute the logits.

        Args:
            hidden: :math:`h^0`, ``(B, input_size)``.
            gates: one for each layer's input, of its width; None leaves the input as it is.

        Returns:
            ``(B,)``.
        """
        for depth, (layer, gate) in enumerate(zip(self.layers, gates, strict=True)):
            if depth > 0:
                hidden = self.dropout(self.activation(hidden))
            hidden = layer(hidden if gate is None else gate * hidden)
        return hidden.squeeze(-1)
