r"""AdaSparse's pruners: factors a neuron and a sample, some of them zero, and their regulariser.

Source: Yang et al., "AdaSparse: Learning Adaptively Sparse Structures for Multi-Domain
Click-Through Rate Prediction", CIKM 2022, sections 3.2-3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from recbole_midpg.layers.mlp import ACTIVATIONS, concatenate, mean_or_zero

PRUNING_FORMS = ("fusion", "binarization", "scaling")


class LinearSchedule(nn.Module):
    r"""A value that moves from ``first`` to ``last`` in equal steps, and stays there.

    .. math:: v(t) = \text{first} + (\text{last} - \text{first}) \min(1, t / T)

    The step count is a buffer: a checkpoint keeps it.

    Args:
        steps: :math:`T`, at least 1.
    """

    steps_taken: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.long))

    def advance(self) -> None:
        """Take one step."""
        self.steps_taken += 1

    def between(self, first: float, last: float) -> Tensor:
        """The value now, a scalar."""
        return first + (last - first) * (self.steps_taken.double() / self.steps).clamp(max=1.0)


class _StraightThrough(torch.autograd.Function):
    """``hard`` going forward, the gradient to ``soft`` going back."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor, hard: Tensor) -> Tensor:
        return hard

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Pruner(nn.Module):
    r"""One layer's pruner: a factor for each neuron of each sample.

    .. math:: v = [s; h] W + b, \qquad u = \sigma(\alpha v)

    ============== ============================================== ==========================
    form           factor :math:`\pi`                             kept neurons :math:`m`
    ============== ============================================== ==========================
    fusion         :math:`\beta u \cdot m`                        :math:`\beta u > \epsilon`
    binarization   :math:`m`                                      :math:`u > \epsilon`
    scaling        :math:`\beta\,\sigma(v)`                       all
    ============== ============================================== ==========================

    A neuron under the threshold has factor 0. (The paper writes :math:`\text{sign}(|v| -
    \epsilon)`, which is -1 there, and says pruned.) The threshold has no slope. Where ``m`` is
    itself the factor, or is counted by the regulariser, its gradient goes to ``u`` (straight
    through); a neuron that fusion pruned gets none from its factor.

    Parameters: :math:`(d_s + N + 1) N`.

    Args:
        scenario_size: width of the scenario-aware embedding :math:`s`.
        size: ``N``, width of :math:`h`.
        form: one of :data:`PRUNING_FORMS`.
        beta: :math:`\beta`, upper end of a factor; not used by ``binarization``.
        epsilon: :math:`\epsilon`, the threshold; not used by ``scaling``.
    """

    def __init__(
        self, scenario_size: int, size: int, form: str, beta: float, epsilon: float
    ) -> None:
        super().__init__()
        self.form, self.beta, self.epsilon = form, beta, epsilon
        self.linear = nn.Linear(scenario_size + size, size)

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the linear layer's: by alpha, beta and mask."""
        return 3 * self.linear.out_features

    def forward(self, scenario: Tensor, hidden: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        r"""Compute the factors.

        Args:
            scenario: :math:`s`, ``(B, d_s)``.
            hidden: :math:`h`, ``(B, N)``.
            alpha: :math:`\alpha`, a scalar.

        Returns:
            The factors, ``(B, N)``, and the share of neurons kept, a scalar (0 for no rows).
        """
        logits = self.linear(concatenate(scenario, hidden))
        if self.form == "scaling":
            return self.beta * torch.sigmoid(logits), logits.new_ones(())
        soft = torch.sigmoid(alpha * logits)
        binary = self.form == "binarization"
        kept = (soft > (self.epsilon if binary else self.epsilon / self.beta)).to(soft.dtype)
        counted = _StraightThrough.apply(soft, kept)
        return (counted if binary else self.beta * soft * kept), mean_or_zero(counted)


class PrunedMLP(nn.Module):
    r"""A multi-layer perceptron whose activations are multiplied by pruners' factors.

    .. math:: h^l = \pi^l \odot \phi(h^{l-1} W^l + b^l), \qquad z = h^L w + b

    Args:
        input_size: ``d_0``.
        scenario_size: ``d_s``.
        hidden_sizes: widths of the hidden layers.
        form: see :class:`Pruner`.
        beta: see :class:`Pruner`.
        epsilon: see :class:`Pruner`.
        prune_input: whether the input is multiplied by a pruner's factors as well.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training.
    """

    def __init__(
        self,
        input_size: int,
        scenario_size: int,
        hidden_sizes: Sequence[int],
        form: str,
        beta: float,
        epsilon: float,
        prune_input: bool,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        sizes = [input_size, *hidden_sizes]
        self.prune_input = prune_input
        self.layers = nn.ModuleList(
            nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)
        )
        self.pruners = nn.ModuleList(
            Pruner(scenario_size, size, form, beta, epsilon)
            for size in (sizes if prune_input else sizes[1:])
        )
        self.output = nn.Linear(sizes[-1], 1)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: those by the factors."""
        return sum(pruner.linear.out_features for pruner in self.pruners)

    def forward(
        self, hidden: Tensor, scenario: Tensor, alpha: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        r"""Compute the logits.

        Args:
            hidden: ``(B, d_0)``.
            scenario: :math:`s`, ``(B, d_s)``.
            alpha: :math:`\alpha`, a scalar.

        Returns:
            The logits ``(B,)``; the factors ``(B, N)`` of each pruned layer; and the share of
            neurons that each of them kept, ``(pruned layers,)``.
        """
        all_factors, shares = [], []
        pruners = iter(self.pruners)
        for depth in range(len(self.layers) + 1):
            if depth > 0:
                hidden = self.dropout(self.activation(self.layers[depth - 1](hidden)))
            if depth > 0 or self.prune_input:
                factors, share = next(pruners)(scenario, hidden, alpha)
                hidden = hidden * factors
                all_factors.append(factors)
                shares.append(share)
        return self.output(hidden).squeeze(-1), all_factors, torch.stack(shares)


def sparsity_loss(kept: Tensor, weight: Tensor, lowest: float, highest: float) -> Tensor:
    r"""The regulariser that moves each layer's sparsity into a range.

    .. math::
        R = \frac{1}{L} \sum_l \lambda^l |r^l - r|, \qquad
        \lambda^l = \hat\lambda\,|r^l - r| \text{ outside } [r_{\min}, r_{\max}], \text{ else } 0

    with :math:`r^l` the share of neurons pruned and :math:`r = (r_{\min} + r_{\max}) / 2`;
    :math:`\lambda^l` is a constant to the gradient.

    Args:
        kept: :math:`1 - r^l`, ``(L,)``.
        weight: :math:`\hat\lambda`, a scalar.
        lowest: :math:`r_{\min}`.
        highest: :math:`r_{\max}`.

    Returns:
        A scalar.
    """
    sparsity = 1 - kept
    distance = (sparsity - (lowest + highest) / 2).abs()
    outside = (sparsity < lowest) | (sparsity > highest)
    return (weight * outside * distance.detach() * distance).mean()
