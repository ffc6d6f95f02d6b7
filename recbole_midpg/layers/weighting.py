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
from torch.nn.functional import pad

from recbole_midpg.errors import UsageError
from recbole_midpg.layers.mlp import ACTIVATIONS, MLP, concatenate


def weighted_product(inputs: Tensor, weight: Tensor, matrix: Tensor) -> Tensor:
    r"""Product with a weight that every sample scales by its own tiled matrix.

    .. math:: y_j = \sum_i x_i \, W_{ij} \, S[i \bmod n,\; j \bmod m]

    The ``B x N x M`` tensor of weights per sample is never built, except where ``S`` itself has
    that size. Inputs (or outputs) that share a row (or column) of ``S`` are summed first, whichever
    leaves the smaller intermediate: ``B x n x M`` or ``B x N x m``.

    Args:
        inputs: ``x``, ``(B, N)``.
        weight: ``W``, ``(N, M)``.
        matrix: ``S``, ``(B, n, m)`` with ``n <= N`` and ``m <= M``. Where ``n`` does not divide
            ``N``, or ``m`` not ``M``, the tiles are cut at the edge.

    Returns:
        ``y``, ``(B, M)``.
    """
    n_inputs, n_outputs = weight.shape
    n_rows, n_columns = matrix.shape[1:]
    if (n_rows, n_columns) == (n_inputs, n_outputs):
        return torch.bmm(inputs.unsqueeze(1), matrix * weight).squeeze(1)

    # Zero rows and columns fill W up to whole tiles: they add nothing to a sum.
    row_tiles, column_tiles = -(-n_inputs // n_rows), -(-n_outputs // n_columns)
    missing_rows = row_tiles * n_rows - n_inputs
    missing_columns = column_tiles * n_columns - n_outputs
    tiled_inputs = pad(inputs, (0, missing_rows)).reshape(-1, row_tiles, n_rows)
    tiled_weight = pad(weight, (0, missing_columns, 0, missing_rows)).reshape(
        row_tiles, n_rows, column_tiles, n_columns
    )
    if n_rows * n_outputs <= n_columns * n_inputs:
        outputs = _sum_over_row_tiles_first(tiled_inputs, tiled_weight, matrix)
    else:
        outputs = _scale_inputs_first(tiled_inputs, tiled_weight, matrix)
    return outputs[:, :n_outputs]


def _sum_over_row_tiles_first(inputs: Tensor, weight: Tensor, matrix: Tensor) -> Tensor:
    """The product by way of ``(n, B, M)``: one product for each row of the matrix.

    Args:
        inputs: ``(B, N/n, n)``.
        weight: ``(N/n, n, M/m, m)``.
        matrix: ``(B, n, m)``.

    Returns:
        ``(B, M)``.
    """
    row_tiles, n_rows, column_tiles, n_columns = weight.shape
    n_outputs = column_tiles * n_columns
    by_row = weight.reshape(row_tiles, n_rows, n_outputs).transpose(0, 1)
    partial = torch.bmm(inputs.permute(2, 0, 1), by_row)
    partial = partial.view(n_rows, -1, column_tiles, n_columns)
    return (partial * matrix.transpose(0, 1).unsqueeze(2)).sum(0).view(-1, n_outputs)


def _scale_inputs_first(inputs: Tensor, weight: Tensor, matrix: Tensor) -> Tensor:
    """The product by way of ``(m, B, N)``: one product for each column of the matrix.

    Args:
        inputs: ``(B, N/n, n)``.
        weight: ``(N/n, n, M/m, m)``.
        matrix: ``(B, n, m)``.

    Returns:
        ``(B, M)``.
    """
    row_tiles, n_rows, column_tiles, n_columns = weight.shape
    n_inputs = row_tiles * n_rows
    by_column = weight.reshape(n_inputs, column_tiles, n_columns).permute(2, 0, 1)
    # Contiguous before it is spread out, so that the product is contiguous too.
    scales = matrix.permute(2, 0, 1).contiguous().unsqueeze(2)
    scaled = (inputs * scales).reshape(n_columns, -1, n_inputs)
    partial = torch.bmm(scaled, by_column)
    return partial.permute(1, 2, 0).reshape(-1, column_tiles * n_columns)


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
        self.generator = MLP(condition_size, hidden_sizes, self.generated_size(), activation)

    def generated_size(self) -> int:
        """How many values are generated for a sample."""
        raise NotImplementedError

    def logits(self, generated: Tensor) -> Tensor:
        """Turn generated values ``(B, generated_size)`` into gate logits ``(B, n, m)``."""
        raise NotImplementedError

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the generator's: those of the factors' product."""
        return self.rows * self.rank * self.columns

    def forward(self, condition: Tensor) -> Tensor:
        """Generate the weighting matrices ``S``, ``(B, n, m)``, from ``c``, ``(B, C)``."""
        return self.gate_scale * torch.sigmoid(self.logits(self.generator(condition)))


class FullWeighting(WeightingMatrix):
    r"""``non``, equation (2): :math:`\hat W = \sigma(f(c))`, nothing decomposed.

    ``rows`` and ``columns`` are the layer's ``N`` and ``M``; ``rank`` plays no part.
    """

    def generated_size(self) -> int:
        """``N * M``."""
        return self.rows * self.columns

    def logits(self, generated: Tensor) -> Tensor:
        """See :class:`WeightingMatrix`."""
        return generated.view(-1, self.rows, self.columns)

    def multiply_adds(self) -> int:
        """None: there are no factors."""
        return 0


class RowColumnSpecificWeighting(WeightingMatrix):
    r"""``rc``, equation (3): :math:`\sigma(U V)`, both factors generated."""

    def generated_size(self) -> int:
        """``n k + k m``."""
        return (self.rows + self.columns) * self.rank

    def logits(self, generated: Tensor) -> Tensor:
        """See :class:`WeightingMatrix`."""
        row_factor, column_factor = generated.split(
            [self.rows * self.rank, self.rank * self.columns], dim=1
        )
        return torch.bmm(
            row_factor.reshape(-1, self.rows, self.rank),
            column_factor.reshape(-1, self.rank, self.columns),
        )


class RowSpecificWeighting(WeightingMatrix):
    r"""``r``, equation (4): :math:`\sigma(U V)`, ``U`` generated, ``V`` shared by all scenarios."""

    def __init__(self, *args: int, **kwargs: int | float | str | Sequence[int]) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.column_factor = nn.Parameter(torch.empty(self.rank, self.columns))
        nn.init.xavier_normal_(self.column_factor)

    def generated_size(self) -> int:
        """``n k``."""
        return self.rows * self.rank

    def logits(self, generated: Tensor) -> Tensor:
        """See :class:`WeightingMatrix`."""
        return generated.view(-1, self.rows, self.rank) @ self.column_factor


class ColumnSpecificWeighting(WeightingMatrix):
    r"""``c``, equation (5): :math:`\sigma(U V)`, ``V`` generated, ``U`` shared by all scenarios."""

    def __init__(self, *args: int, **kwargs: int | float | str | Sequence[int]) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.row_factor = nn.Parameter(torch.empty(self.rows, self.rank))
        nn.init.xavier_normal_(self.row_factor)

    def generated_size(self) -> int:
        """``k m``."""
        return self.rank * self.columns

    def logits(self, generated: Tensor) -> Tensor:
        """See :class:`WeightingMatrix`."""
        return self.row_factor @ generated.view(-1, self.rank, self.columns)


WEIGHTINGS: dict[str, type[WeightingMatrix]] = {
    "non": FullWeighting,
    "rc": RowColumnSpecificWeighting,
    "r": RowSpecificWeighting,
    "c": ColumnSpecificWeighting,
}


class WeightedLinear(nn.Module):
    r"""A linear layer whose weight every sample scales: :math:`x (W \odot \hat W) + b`, eq. (1).

    Args:
        input_size: ``N``.
        output_size: ``M``.
        weighting: makes the matrix ``S`` that is tiled into :math:`\hat W`.
    """

    def __init__(self, input_size: int, output_size: int, weighting: WeightingMatrix) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(input_size, output_size))
        self.bias = nn.Parameter(torch.zeros(output_size))
        self.weighting = weighting
        nn.init.xavier_normal_(self.weight)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: those of the plain layer and those of the weighting."""
        n_inputs, n_outputs = self.weight.shape
        rows, columns = self.weighting.rows, self.weighting.columns
        return n_inputs * n_outputs + min(rows * n_outputs, columns * n_inputs)

    def forward(self, inputs: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the layer.

        Args:
            inputs: ``(B, N)``.
            condition: ``(B, C)``, what the weighting matrix is generated from.

        Returns:
            The outputs ``(B, M)`` and the weighting matrices ``(B, n, m)``.
        """
        matrix = self.weighting(condition)
        return weighted_product(inputs, self.weight, matrix) + self.bias, matrix


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
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def matrix_size(self) -> int:
        """How many values the weighting matrices of one sample have before tiling."""
        return sum(layer.weighting.rows * layer.weighting.columns for layer in self.layers)

    def forward(self, hidden: Tensor, scenario: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the logits.

        Args:
            hidden: :math:`h^0`, ``(B, d_0)``.
            scenario: :math:`s`, ``(B, d_s)``.

        Returns:
            The logits ``(B,)`` and, a layer each, the weighting matrices ``(B, n, m)``.
        """
        matrices = []
        for depth, layer in enumerate(self.layers):
            if depth > 0:
                hidden = self.dropout(self.activation(hidden))
            hidden, matrix = layer(hidden, self._condition(hidden, scenario))
            matrices.append(matrix)
        if not self.weight_output_layer:
            hidden = self.output(self.dropout(self.activation(hidden)))
        return hidden.squeeze(-1), matrices

    def _condition(self, hidden: Tensor, scenario: Tensor) -> Tensor:
        if not self.generator_sees_input:
            return scenario
        return concatenate(scenario, hidden.detach() if self.stop_generator_gradient else hidden)


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
