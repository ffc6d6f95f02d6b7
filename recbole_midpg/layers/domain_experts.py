r"""M3oE's experts: normalised layers, shared experts and one of each scenario, and their fusion.

Source: Zhang et al., "M3oE: Multi-Domain Multi-Task Mixture-of-Experts Recommendation Framework",
SIGIR 2024: its experts and its domain part.

Shapes: ``B`` rows of a batch, ``S`` scenarios, ``E`` experts, ``N`` inputs of an expert, ``M`` its
outputs; ``R`` places of a layout.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from recbole_midpg.layers.experts import map_each, map_rows, mix
from recbole_midpg.layers.mlp import ACTIVATIONS
from recbole_midpg.layers.scenario_grouping import (
    ScenarioLayout,
    grouped_linear,
    xavier_normal_each_,
)

# Outputs of experts computed at a time, so that they are still in cache when they are normalised,
# activated and mixed.
CACHED_OUTPUTS = 1 << 18
# Where a batch has more outputs of experts than this, the backward pass computes them once more
# instead of keeping them: three tensors of 128 MiB each in single precision.
MOST_KEPT_OUTPUTS = 1 << 25


def normed_layer(
    input_size: int, output_size: int, activation: str, dropout: float, initial_scale: float
) -> nn.Module:
    r"""A linear layer whose outputs are normalised, activated and dropped out.

    .. math:: y = \phi(\text{LayerNorm}(x W + b))

    Args:
        input_size: width of ``x``.
        output_size: width of ``y``.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a value of ``y`` is zeroed in training.
        initial_scale: :math:`\gamma` of the norm at the start.
    """
    norm = nn.LayerNorm(output_size)
    nn.init.constant_(norm.weight, initial_scale)
    return nn.Sequential(
        nn.Linear(input_size, output_size),
        norm,
        ACTIVATIONS[activation](),
        nn.Dropout(dropout),
    )


class NormedExperts(nn.Module):
    r"""The parameters of experts that normalise the outputs of each of their layers.

    .. math::
        f_i(x) = h_i^L, \qquad
        h_i^l = \phi(\gamma_i^l \odot \text{norm}(h_i^{l-1} W_i^l + b_i^l) + \delta_i^l), \qquad
        h_i^0 = x

    The norm brings a row's outputs of a layer to mean 0 and variance 1. :math:`\delta = 0` at the
    start; Xavier-normal weights, each expert's matrix for itself, and zero biases. Parameters:
    ``E (N + 3) M`` a layer.

    Args:
        n_experts: ``E``.
        input_size: ``N``.
        hidden_sizes: widths of an expert's layers, the last one ``M``; at least one.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a value is zeroed in training, after each activation.
        initial_scale: every :math:`\gamma` at the start.
    """

    def __init__(
        self,
        n_experts: int,
        input_size: int,
        hidden_sizes: Sequence[int],
        activation: str,
        dropout: float,
        initial_scale: float,
    ) -> None:
        super().__init__()
        self.n_experts, self.hidden_sizes = n_experts, list(hidden_sizes)
        # Output before input, as in nn.Linear: side by side, first layers are one linear layer.
        self.weights = nn.ParameterList(
            torch.empty(n_experts, fan_out, fan_in)
            for fan_in, fan_out in pairwise([input_size, *hidden_sizes])
        )
        self.biases = nn.ParameterList(torch.zeros(n_experts, size) for size in hidden_sizes)
        self.scales = nn.ParameterList(
            torch.full((n_experts, size), initial_scale) for size in hidden_sizes
        )
        self.shifts = nn.ParameterList(torch.zeros(n_experts, size) for size in hidden_sizes)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        for weight in self.weights:
            xavier_normal_each_(weight)


class ExpertMixture(NormedExperts):
    r"""All experts on all rows, mixed by the weights that each row has for them.

    .. math:: y = \sum_{i=1}^E w_i \, f_i(x)

    With shapes by data a large batch is computed some rows at a time, and only the mixtures of the
    rows are kept where keeping all experts' outputs would take too much memory. The results are
    the same.

    Attributes:
        fixed_shapes: whether the batch is computed as a whole, whatever its size.
    """

    fixed_shapes: bool = False

    def multiply_adds(self) -> int:
        """Multiplications of one sample: those of all experts, and ``E M`` of the mixture."""
        of_experts = sum(weight.numel() for weight in self.weights)
        return of_experts + self.n_experts * self.hidden_sizes[-1]

    def forward(self, inputs: Tensor, mixture_weights: Tensor) -> Tensor:
        """Compute the mixture.

        Args:
            inputs: ``x``, ``(B, N)``.
            mixture_weights: ``w``, ``(B, E)``.

        Returns:
            ``y``, ``(B, M)``.
        """
        rows = (inputs, mixture_weights, *self._kept_values(inputs))
        if self.fixed_shapes:
            return self._mix(*rows)
        outputs_a_row = self.n_experts * max(self.hidden_sizes)
        mix_part = self._mix
        if torch.is_grad_enabled() and len(inputs) * outputs_a_row > MOST_KEPT_OUTPUTS:
            # Nothing is drawn in it, so that no state of a generator has to be restored.
            mix_part = functools.partial(
                checkpoint, self._mix, use_reentrant=False, preserve_rng_state=False
            )
        part_size = max(1, CACHED_OUTPUTS // outputs_a_row)
        parts = zip(*(values.split(part_size) for values in rows), strict=True)
        return torch.cat([mix_part(*part) for part in parts])

    def _kept_values(self, inputs: Tensor) -> list[Tensor]:
        """Dropout's factors of each layer's outputs, ``(B, E, M)``; none where it does nothing.

        Drawn for the batch as a whole, they do not depend on how it is cut.
        """
        if not (self.dropout.training and self.dropout.p):
            return []
        return [
            self.dropout(inputs.new_ones(len(inputs), self.n_experts, size))
            for size in self.hidden_sizes
        ]

    def _mix(self, inputs: Tensor, mixture_weights: Tensor, *kept_values: Tensor) -> Tensor:
        """The mixture of some rows, with dropout's factors of each layer where it has any."""
        hidden = inputs
        layers = zip(self.weights, self.biases, self.scales, self.shifts, strict=True)
        for depth, (weight, bias, scale, shift) in enumerate(layers):
            if depth == 0:
                mapped = map_rows(hidden, weight, bias)
            else:
                mapped = map_each(hidden, weight) + bias
            normed = functional.layer_norm(mapped, mapped.shape[2:])
            hidden = self.activation(torch.addcmul(shift, scale, normed))
            if kept_values:
                hidden = hidden * kept_values[depth]
        return mix(mixture_weights, hidden)


class OwnExperts(NormedExperts):
    """One expert a scenario, and each row by its own scenario's only."""

    def multiply_adds(self) -> int:
        """Multiplications of one sample: those of one expert."""
        return sum(weight[0].numel() for weight in self.weights)

    def forward(self, hidden: Tensor, groups: ScenarioLayout) -> Tensor:
        """Map ``(R, N)`` to ``(R, M)``, both in the layout of ``groups``."""
        slots, _ = groups.slots_of_places()
        layers = zip(self.weights, self.biases, self.scales, self.shifts, strict=True)
        for weight, bias, scale, shift in layers:
            mapped = grouped_linear(hidden, weight.transpose(1, 2), bias, groups)
            normed = functional.layer_norm(mapped, mapped.shape[1:])
            own_scale, own_shift = (functional.embedding(slots, of) for of in (scale, shift))
            hidden = self.activation(torch.addcmul(own_shift, own_scale, normed))
            hidden = groups.drop_out(hidden, self.dropout)
        return hidden


class DomainFusion(nn.Module):
    r"""How much each scenario's expert has in a row: its own scenario's, and the others' mean.

    .. math::
        w_k = \beta, \qquad w_j = \frac{1 - \beta}{|O_k|} \text{ for } j \in O_k, \qquad
        \beta = \sigma(p)

    :math:`O_k` are the scenarios other than the row's, without slot 0, which may have no rows and
    would add noise. Where there are none, :math:`w_k = 1`.

    Args:
        n_scenarios: ``S``.
        start: ``p`` at the start, the only parameter.
    """

    others: Tensor

    def __init__(self, n_scenarios: int, start: float) -> None:
        super().__init__()
        self.balance = nn.Parameter(torch.tensor(start))
        own = torch.eye(n_scenarios, dtype=torch.bool)
        others = ~own
        others[:, 0] = False
        alone = ~others.any(1)
        others[alone] = own[alone]
        self.register_buffer("own", own, persistent=False)
        self.register_buffer("others", others, persistent=False)

    def forward(self, scenario_ids: Tensor) -> Tensor:
        """Give the weights of all scenarios' experts, ``(B, S)``, by the rows' slots ``(B,)``."""
        own, others = (part.to(self.balance.dtype) for part in (self.own, self.others))
        mean = others / others.sum(1, keepdim=True)
        weights = torch.lerp(mean, own, torch.sigmoid(self.balance))
        return functional.embedding(scenario_ids, weights)
