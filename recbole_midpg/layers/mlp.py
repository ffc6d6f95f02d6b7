"""The multi-layer perceptron that backbones, generators and discriminators are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_midpg.layers.precision import at_least_float32

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def hidden_layers(
    input_size: int, hidden_sizes: Sequence[int], activation: str, dropout: float
) -> list[nn.Module]:
    """Fully connected layers, with an activation and dropout after each.

    Args:
        input_size: width of the input.
        hidden_sizes: widths of the layers; there may be none.
        activation: a key of :data:`ACTIVATIONS`.
        dropout: probability that a value is zeroed in training, in ``[0, 1)``.

    Returns:
        Modules to be called in turn.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([input_size, *hidden_sizes]):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation](), nn.Dropout(dropout)]
    return layers


class MLP(nn.Module):
    r"""Fully connected layers, activation after each, then one linear map without activation.

    .. math:: h^l = \phi(h^{l-1} W^l + b^l), \qquad y = h^L W + b

    Dropout follows each activation.

    Args:
        input_size: width of the input.
        hidden_sizes: widths of the hidden layers; empty makes a single linear map.
        output_size: width of the output.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training, in ``[0, 1)``.

    Shapes:
        input ``(..., input_size)``, output ``(..., output_size)``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        output_size: int,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *hidden_layers(input_size, hidden_sizes, activation, dropout),
            nn.Linear([input_size, *hidden_sizes][-1], output_size),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(..., input_size)`` to ``(..., output_size)``."""
        return self.layers(hidden)


class SamplesLastMLP(MLP):
    """An :class:`MLP` on tensors whose last axis is the one of the samples.

    Shapes:
        input ``(input_size, B)``, output ``(output_size, B)``.
    """

    def multiply_adds(self) -> int:
        """Multiplications of one sample: those of every linear layer."""
        return sum(layer.weight.numel() for layer in self.layers if isinstance(layer, nn.Linear))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(input_size, B)`` to ``(output_size, B)``."""
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                hidden = torch.addmm(layer.bias.unsqueeze(1), layer.weight, hidden)
            else:
                hidden = layer(hidden)
        return hidden


def mean_or_zero(values: Tensor) -> Tensor:
    """Mean of all values, at least in float32; zero, not NaN, where there are none."""
    return at_least_float32(values).sum() / max(values.numel(), 1)


def masked_mean(values: Tensor, kept: Tensor) -> Tensor:
    """Mean of the values that a mask keeps, at least in float32; zero where it keeps none."""
    return at_least_float32(values * kept).sum() / kept.sum().clamp(min=1)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Mean binary cross-entropy of logits, zero for an empty batch.

    .. math:: -\frac{1}{B}\sum_i y_i \log\sigma(z_i) + (1-y_i)\log(1-\sigma(z_i))

    Args:
        logits: ``(B,)``.
        labels: ``(B,)``, in ``[0, 1]``.

    Returns:
        A scalar.
    """
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits, labels.to(logits.dtype), reduction="none"
    )
    return mean_or_zero(losses)


def concatenate(*parts: Tensor) -> Tensor:
    """Concatenate along the last axis."""
    return torch.cat(parts, dim=-1)
