r"""MI-DPG's decomposable weighting matrices and the backbone that they weight.

Source: Cheng et al., "MI-DPG: Decomposable Parameter Generation Network Based on Mutual
Information for Multi-Scenario Recommendation", CIKM 2023, equations (1)-(5).

Shapes: ``B`` rows of a batch; a layer has ``N`` inputs and ``M`` outputs; ``n x m`` is the size of
a weighting matrix before tiling, ``k`` the rank of its factors.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.mlp import ACTIVATIONS, SamplesLastMLP
from recbole_midpg.layers.scenario_grouping import (
    ScenarioGroups,
    grouped_linear,
    number_scenarios,
)
from recbole_midpg.layers.tiled_product import fold, gated_linear, gates, product_size


class WeightingMatrix(nn.Module):
    r"""Base of the four weightings: what they generate from the condition, and how it is gated.

    .. math:: S = \text{gate\_scale} \cdot \sigma(\text{logits}(f(c)))

    with :math:`f` a lightweight fully connected network. Subclasses say how many values are
    generated and how they become the ``n x m`` logits.

    Args:
        condition_size: width of the condition :math:`c`.
        rows: ``n``.
        columns: ``m``.
        rank: ``k``.
        hidden_sizes: hidden widths of :math:`f`; empty (the default of the models) makes it linear.
        activation: activation of the hidden layers of :math:`f`.
        gate_scale: upper end of the gate's range; 1.0 in the paper, 2.0 as in PEPNet.
    """

    def __init__(
        self,
        condition_size: int,
        rows: int,
        columns: int,
        rank: int,
        *,
        hidden_sizes: Sequence[int] = (),
        activation: str = "relu",
        gate_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.rank = rows, columns, rank
        self.gate_scale = gate_scale
        self.generator = SamplesLastMLP(
            condition_size, hidden_sizes, self.generated_size(), activation
        )

    def generated_size(self) -> int:
        """How many values are generated for a sample."""
        raise NotImplementedError

    def factors(self, generated: Tensor) -> tuple[Tensor, Tensor | None]:
        """Make of generated values what the gates are made of.

        Args:
            generated: ``(generated_size, B)``.

        Returns:
            The row factors of all samples, ``(n, k, B)``, and the column factor that they share,
            ``(k, m)``; or the gates' logits, ``(n, m, B)``, and None.
        """
        raise NotImplementedError

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the generator's: those of the factors' product."""
        return self.rows * self.rank * self.columns

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """Generate the factors or the logits of the gates from ``c``, ``(C, B)``."""
        return self.factors(self.generator(condition))

    def matrices(self, condition: Tensor) -> Tensor:
        """Generate the weighting matrices ``S``, ``(n, m, B)``, from ``c``, ``(C, B)``."""
        values, shared = self(condition)
        return gates(values, shared, self.gate_scale)


class FullWeighting(WeightingMatrix):
    r"""``non``, equation (2): :math:`\hat W = \sigma(f(c))`, nothing decomposed.

    ``rows`` and ``columns`` are the layer's ``N`` and ``M``; ``rank`` plays no part.
    """

    def generated_size(self) -> int:
        """``N * M``."""
        return self.rows * self.columns

    def factors(self, generated: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :class:`WeightingMatrix`."""
        return generated.view(self.rows, self.columns, generated.shape[1]), None

    def multiply_adds(self) -> int:
        """None: there are no factors."""
        return 0


class RowColumnSpecificWeighting(WeightingMatrix):
    r"""``rc``, equation (3): :math:`\sigma(U V)`, both factors generated."""

    def generated_size(self) -> int:
        """``n k + k m``."""
        return (self.rows + self.columns) * self.rank

    def factors(self, generated: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :class:`WeightingMatrix`."""
        n_samples = generated.shape[1]
        row_factor, column_factor = generated.split(
            [self.rows * self.rank, self.rank * self.columns]
        )
        row_factor = row_factor.view(self.rows, self.rank, 1, n_samples)
        column_factor = column_factor.view(self.rank, self.columns, n_samples)
        return (row_factor * column_factor).sum(1), None


class RowSpecificWeighting(WeightingMatrix):
    r"""``r``, equation (4): :math:`\sigma(U V)`, ``U`` generated, ``V`` shared by all scenarios."""

    def __init__(self, *args: int, **kwargs: int | float | str | Sequence[int]) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.column_factor = nn.Parameter(torch.empty(self.rank, self.columns))
        nn.init.xavier_normal_(self.column_factor)

    def generated_size(self) -> int:
        """``n k``."""
        return self.rows * self.rank

    def factors(self, generated: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :class:`WeightingMatrix`."""
        return generated.view(self.rows, self.rank, generated.shape[1]), self.column_factor


class ColumnSpecificWeighting(WeightingMatrix):
    r"""``c``, equation (5): :math:`\sigma(U V)`, ``V`` generated, ``U`` shared by all scenarios."""

    def __init__(self, *args: int, **kwargs: int | float | str | Sequence[int]) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.row_factor = nn.Parameter(torch.empty(self.rows, self.rank))
        nn.init.xavier_normal_(self.row_factor)

    def generated_size(self) -> int:
        """``k m``."""
        return self.rank * self.columns

    def factors(self, generated: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :class:`WeightingMatrix`."""
        n_samples = generated.shape[1]
        logits = self.row_factor @ generated.view(self.rank, self.columns * n_samples)
        return logits.view(self.rows, self.columns, n_samples), None


WEIGHTINGS: dict[str, type[WeightingMatrix]] = {
    "non": FullWeighting,
    "rc": RowColumnSpecificWeighting,
    "r": RowSpecificWeighting,
    "c": ColumnSpecificWeighting,
}


class WeightedLinear(nn.Module):
    r"""A linear layer whose weight every sample scales: :math:`x (W \odot \hat W) + b`, eq. (1).

    The paper leaves open how :math:`W` starts. Gates start near ``gate_scale / 2``, so ``W`` is
    drawn as Xavier's normal distribution times ``2 / gate_scale``: a new layer passes on about what
    a plain one does. Drawn as a plain layer's, each layer would halve what it is given.

    Args:
        input_size: ``N``.
        output_size: ``M``.
        weighting: makes the matrix ``S`` that is tiled into :math:`\hat W`.

    Attributes:
        gated_linear: the function that computes the layer, that of ``tiled_product`` or its equal.
    """

    def __init__(self, input_size: int, output_size: int, weighting: WeightingMatrix) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(input_size, output_size))
        self.bias = nn.Parameter(torch.zeros(output_size))
        self.weighting = weighting
        self.gated_linear = gated_linear
        nn.init.xavier_normal_(self.weight, gain=2 / weighting.gate_scale)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: those of the plain layer and those of the weighting."""
        return self.weight.numel() + self.product_size()

    def product_size(self) -> int:
        """Numbers between inputs and outputs of one sample, each scaled by the weighting matrix."""
        n_inputs, n_outputs = self.weight.shape
        return product_size(n_inputs, n_outputs, self.weighting.rows, self.weighting.columns)

    def forward(self, inputs: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the layer.

        Args:
            inputs: ``(N, B)``.
            condition: ``(C, B)``, what the weighting matrix is generated from.

        Returns:
            The outputs ``(M, B)`` and the weighting matrices ``(n, m, B)``.
        """
        values, shared = self.weighting(condition)
        gate_scale = self.weighting.gate_scale
        return self.gated_linear(inputs, self.weight, self.bias, values, shared, gate_scale)

    def folded(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Make the plain weights that conditions lead to.

        Args:
            condition: ``(C, K)``.

        Returns:
            The weights ``(K, N, M)`` and the weighting matrices ``(n, m, K)``.
        """
        matrix = self.weighting.matrices(condition)
        return fold(self.weight, matrix), matrix


class WeightedMLP(nn.Module):
    r"""The backbone of MI-DPG: hidden layers weighted by generated matrices, then one logit.

    .. math::
        c^l = [s; h^{l-1}], \quad \hat W^l = \text{tile}(S(c^l)), \quad
        h^l = \phi(h^{l-1} (W^l \odot \hat W^l) + b^l)

    Args:
        input_size: ``d_0``, width of :math:`h^0`.
        scenario_size: ``d_s``, width of the scenario-aware embedding :math:`s`.
        hidden_sizes: widths of the hidden layers.
        weighting: a key of :data:`WEIGHTINGS`.
        rows: ``n``; not used by ``non``.
        columns: ``m``; not used by ``non``.
        rank: ``k``; not used by ``non``.
        tile: how rows of a matrix repeat over the inputs of the first layer, whose order has a
            meaning: ``cyclic``, input ``i`` takes row :math:`i \bmod n`, or ``block``,
            consecutive inputs share one, see :func:`blocks_in_turn`. Neurons have no order, so
            that later layers are tiled in turn either way.
        gate_scale: see :class:`WeightingMatrix`.
        generator_input: ``scenario_and_input`` for :math:`c^l = [s; h^{l-1}]`, or ``scenario`` for
            :math:`c^l = s`.
        generator_hidden_sizes: hidden widths of the generators.
        stop_generator_gradient: whether the generators pass no gradient into :math:`h^{l-1}`.
        weight_output_layer: whether the logit layer is weighted as well, by ``n x 1`` matrices.
        activation: name of :math:`\phi`.
        dropout: probability that a hidden value is zeroed in training.

    Raises:
        UsageError: ``n`` or ``m`` is larger than a layer that it weights.
    """

    fixed_shapes: bool = False

    def __init__(
        self,
        input_size: int,
        scenario_size: int,
        hidden_sizes: Sequence[int],
        *,
        weighting: str,
        rows: int,
        columns: int,
        rank: int,
        tile: str,
        gate_scale: float,
        generator_input: str,
        generator_hidden_sizes: Sequence[int],
        stop_generator_gradient: bool,
        weight_output_layer: bool,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.generator_sees_input = generator_input == "scenario_and_input"
        self.stop_generator_gradient = stop_generator_gradient
        self.weight_output_layer = weight_output_layer
        sizes = [input_size, *hidden_sizes, 1]
        n_weighted = len(sizes) - 1 if weight_output_layer else len(sizes) - 2
        check_tile_sizes(sizes, weighting, rows, columns, weight_output_layer)

        self.layers = nn.ModuleList()
        for fan_in, fan_out in itertools.pairwise(sizes[: n_weighted + 1]):
            full = weighting == "non"
            matrices = WEIGHTINGS[weighting](
                scenario_size + fan_in if self.generator_sees_input else scenario_size,
                fan_in if full else rows,
                fan_out if full else min(columns, fan_out),
                rank,
                hidden_sizes=generator_hidden_sizes,
                activation=activation,
                gate_scale=gate_scale,
            )
            self.layers.append(WeightedLinear(fan_in, fan_out, matrices))
        self.output = nn.Identity() if weight_output_layer else nn.Linear(sizes[-2], 1)
        in_blocks = tile == "block" and weighting != "non"
        order = blocks_in_turn(input_size, rows) if in_blocks else None
        self.register_buffer("input_order", order, persistent=False)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def matrix_size(self) -> int:
        """How many values the weighting matrices of one sample have before tiling."""
        return sum(layer.weighting.rows * layer.weighting.columns for layer in self.layers)

    def forward(
        self, hidden: Tensor, scenario: Tensor, scenario_tokens: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute the logits.

        Where the generators see the scenario alone and its ids are given, every weight is folded
        once a scenario and multiplied with that scenario's rows, if that handles fewer numbers than
        going row by row. The result is the same. This waits for the device, to learn which
        scenarios there are and how often: with :attr:`fixed_shapes` it always goes row by row.

        Args:
            hidden: :math:`h^0`, ``(B, d_0)``.
            scenario: :math:`s`, ``(B, d_s)``.
            scenario_tokens: the tokens of the scenario fields, ``(B, fields)``; rows with equal
                tokens have equal :math:`s`.

        Returns:
            The logits ``(B,)`` and, a layer each, the weighting matrices ``(B, n, m)``.
        """
        if self.input_order is not None:
            hidden = hidden.index_select(1, self.input_order)
        if (
            self.generator_sees_input
            or scenario_tokens is None
            or self.fixed_shapes
            or not len(hidden)
        ):
            return self._by_sample(hidden, scenario)
        slots, examples = number_scenarios(scenario_tokens)
        if not self._folding_pays(len(slots), len(examples)):
            return self._by_sample(hidden, scenario)
        return self._by_scenario(hidden, scenario.index_select(0, examples), slots)

    def folded(self, condition: Tensor) -> list[Tensor]:
        """Make the plain weights of the weighted layers that conditions lead to.

        Args:
            condition: :math:`c` where it is the scenario alone, ``(d_s, K)``.

        Returns:
            The weights ``(K, N, M)`` of each layer, inputs in the order of :math:`h^0`.
        """
        weights = [layer.folded(condition)[0] for layer in self.layers]
        if self.input_order is not None:
            first = torch.empty_like(weights[0])
            weights[0] = first.index_copy_(1, self.input_order, weights[0])
        return weights

    def _folding_pays(self, n_samples: int, n_scenarios: int) -> bool:
        """Whether all scenarios' weights are fewer numbers than all samples' products."""
        products = sum(layer.product_size() for layer in self.layers)
        weights = sum(layer.weight.numel() for layer in self.layers)
        return n_scenarios * weights <= n_samples * products

    def _by_sample(self, hidden: Tensor, scenario: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden, scenario = hidden.T.contiguous(), scenario.T.contiguous()  # samples last
        matrices = []
        for depth, layer in enumerate(self.layers):
            if depth > 0:
                hidden = self.dropout(self.activation(hidden))
            hidden, matrix = layer(hidden, self._condition(hidden, scenario))
            matrices.append(matrix.permute(2, 0, 1))
        if not self.weight_output_layer:
            hidden = self.dropout(self.activation(hidden))
        return self.output(hidden.T).squeeze(-1), matrices

    def _by_scenario(
        self, hidden: Tensor, scenarios: Tensor, slots: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """As :meth:`forward`.

        Args:
            hidden: ``(B, d_0)``.
            scenarios: the embedding of each distinct scenario, ``(K, d_s)``.
            slots: which of them a sample has, ``(B,)``.
        """
        groups = ScenarioGroups(slots, len(scenarios))
        hidden = groups.lay_out(hidden)
        matrices = []
        for depth, layer in enumerate(self.layers):
            if depth > 0:
                hidden = groups.drop_out(self.activation(hidden), self.dropout)
            weights, matrix = layer.folded(scenarios.T)
            hidden = grouped_linear(hidden, weights, None, groups) + layer.bias
            matrices.append(matrix.permute(2, 0, 1).index_select(0, slots))
        if not self.weight_output_layer:
            hidden = groups.drop_out(self.activation(hidden), self.dropout)
        return groups.pick_up(self.output(hidden)).squeeze(-1), matrices

    def _condition(self, hidden: Tensor, scenario: Tensor) -> Tensor:
        if not self.generator_sees_input:
            return scenario
        return torch.cat([scenario, hidden.detach() if self.stop_generator_gradient else hidden])


def blocks_in_turn(size: int, n_blocks: int) -> Tensor:
    """The order of inputs in which cyclic tiling gives a row of the matrix to each block of them.

    Blocks are consecutive inputs and differ in length by one at most, longer ones first.

    Args:
        size: how many inputs.
        n_blocks: how many blocks.

    Returns:
        Which input stands at each place, ``(size,)``.
    """
    blocks = torch.arange(size).tensor_split(n_blocks)
    place = torch.arange(size)
    starts = torch.stack([block[0] for block in blocks])
    return starts[place % n_blocks] + place // n_blocks


def check_tile_sizes(
    layer_sizes: Sequence[int],
    weighting: str,
    rows: int,
    columns: int,
    weight_output_layer: bool,
) -> None:
    """Check that the weighting matrices are no larger than the layers that they weight.

    Args:
        layer_sizes: ``[d_0, hidden sizes ..., 1]``.
        weighting: a key of :data:`WEIGHTINGS`.
        rows: ``n``.
        columns: ``m``; the logit layer's matrix has one column whatever it is.
        weight_output_layer: whether the logit layer is weighted.

    Raises:
        UsageError: ``n`` or ``m`` is too large.
    """
    if weighting == "non":
        return
    hidden_sizes = layer_sizes[1:-1]
    smallest_input = min(layer_sizes[:-1] if weight_output_layer else layer_sizes[:-2])
    if rows > smallest_input:
        raise UsageError(
            f"n: {rows} rows do not fit a layer of {smallest_input} inputs, "
            f"expected at most {smallest_input} (layer widths {list(layer_sizes)})."
        )
    if columns > min(hidden_sizes):
        raise UsageError(
            f"m: {columns} columns do not fit a layer of {min(hidden_sizes)} outputs, "
            f"expected at most {min(hidden_sizes)} (layer widths {list(layer_sizes)})."
        )
