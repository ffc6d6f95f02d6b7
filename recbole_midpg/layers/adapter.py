r"""HAMUR's adapters, whose inner matrix a hyper-network makes for each row.

Source: Li et al., "HAMUR: Hyper Adapter for Multi-Domain Recommendation", CIKM 2023.

Shapes: ``B`` rows of a batch, ``R`` places of its layout by scenario, ``m`` the width of the hidden
layer that an adapter follows, ``r`` of the adapter's own hidden layer, ``k`` of the generated
matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_midpg.layers.mlp import ACTIVATIONS
from recbole_midpg.layers.partitioned_norm import PartitionedNorm
from recbole_midpg.layers.scenario_grouping import GroupedMLP, ScenarioLayout


class AdapterCell(nn.Module):
    r"""A bottleneck of two layers, each a generated matrix between two learned ones.

    .. math::
        a = \sigma(((h U_1) I) V_1 + c_1), \qquad o = ((a U_2) I) V_2 + c_2

    ``I``, ``(k, k)``, differs from row to row; all rows share the others. The weights
    :math:`U_1 I V_1`, ``(m, r)``, and :math:`U_2 I V_2`, ``(r, m)``, are never formed.

    Xavier-normal :math:`U, V`, and :math:`c = 0` at the start. The parameters hold :math:`U^T` and
    ``V``, ``k`` rows each: so their gradients are the quicker products. Parameters:
    :math:`2 k (m + r) + r + m`.

    Args:
        size: ``m``.
        adapter_size: ``r``.
        rank: ``k``.
    """

    def __init__(self, size: int, adapter_size: int, rank: int) -> None:
        super().__init__()
        self.first_input_factor = _xavier_normal(rank, size)
        self.first_output_factor = _xavier_normal(rank, adapter_size)
        self.first_bias = nn.Parameter(torch.zeros(adapter_size))
        self.second_input_factor = _xavier_normal(rank, adapter_size)
        self.second_output_factor = _xavier_normal(rank, size)
        self.second_bias = nn.Parameter(torch.zeros(size))

    def multiply_adds(self) -> int:
        """Multiplications of one sample: two chains of three products."""
        rank, size = self.first_input_factor.shape
        return 2 * rank * (size + rank + len(self.first_bias))

    def forward(self, hidden: Tensor, instance: Tensor) -> Tensor:
        """Compute the cell.

        Inside, samples are the last axis: what each has for itself is then a product of whole
        rows, several times as fast on CPU as a small product of matrices for each sample.

        Args:
            hidden: ``h``, ``(B, m)``.
            instance: ``I`` of each row, ``(k, k, B)``.

        Returns:
            ``o``, ``(B, m)``.
        """
        inner = _multiply_each(self.first_input_factor @ hidden.T, instance)
        inner = torch.addmm(self.first_bias.unsqueeze(1), self.first_output_factor.T, inner)
        inner = _multiply_each(self.second_input_factor @ torch.sigmoid(inner), instance)
        return torch.addmm(self.second_bias, inner.T, self.second_output_factor)


class Adapter(nn.Module):
    r"""What is added to a hidden layer: a cell's output, normalised per scenario.

    .. math:: \text{DN}_s(o), \qquad o = \text{cell}(h, I)

    The paper's domain norm is :class:`PartitionedNorm`. Its shared scale starts at 0, so that the
    term does: a norm's output has size 1 from the first step where the cell's is well above the
    root of its epsilon, 0.003, while hidden layers on fresh embeddings are a hundred times smaller,
    and the random cell would drown them.
    Parameters: the cell's, and :math:`2 (S + 1) m`.

    Args:
        n_scenarios: ``S``.
        size: ``m``.
        adapter_size: ``r``.
        rank: ``k``.
        min_rows: fewest rows of a scenario in a batch whose own statistics are used.
        momentum: weight of a batch in the running statistics.
    """

    def __init__(
        self,
        n_scenarios: int,
        size: int,
        adapter_size: int,
        rank: int,
        min_rows: int,
        momentum: float,
    ) -> None:
        super().__init__()
        self.cell = AdapterCell(size, adapter_size, rank)
        self.norm = PartitionedNorm(n_scenarios, size, min_rows, momentum, initial_scale=0.0)

    def forward(self, hidden: Tensor, instance: Tensor, groups: ScenarioLayout) -> Tensor:
        """Compute the term.

        The cell works on rows and not on places: a place without a row would count in the norm,
        because the cell of zeros is not zero.

        Args:
            hidden: ``h`` of the batch's rows, ``(B, m)``.
            instance: ``I`` of the rows, ``(k, k, B)``.
            groups: the layout of the batch.

        Returns:
            ``(R, m)`` in the layout.
        """
        return self.norm(groups.lay_out(self.cell(hidden, instance)), groups)


class AdaptedMLP(nn.Module):
    r"""A perceptron that all scenarios share, with adapters after its last hidden layers.

    .. math:: h \leftarrow \phi(h W + b), \qquad h \leftarrow h + \text{adapter}(h), \qquad
        z = h w + b

    Dropout follows each activation, before the adapter.

    Args:
        input_size: ``d_0``.
        hidden_sizes: widths of the hidden layers.
        adapters: those of the last hidden layers, in their order.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training.
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        adapters: Sequence[Adapter],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise([input_size, *hidden_sizes])
        )
        self.output = nn.Linear([input_size, *hidden_sizes][-1], 1)
        self.adapters = nn.ModuleList(adapters)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, instance: Tensor | None, groups: ScenarioLayout) -> Tensor:
        """Compute the logits.

        Args:
            hidden: ``(B, d_0)``.
            instance: ``I`` of the rows, ``(k, k, B)``; None where there are no adapters.
            groups: the layout of the batch.

        Returns:
            ``(B,)``.
        """
        for layer, adapter in _with_adapters(self.layers, self.adapters):
            hidden = self.dropout(self.activation(layer(hidden)))
            if adapter is not None:
                hidden = hidden + groups.pick_up(adapter(hidden, instance, groups))
        return self.output(hidden).squeeze(-1)


class AdaptedGroupedMLP(GroupedMLP):
    """A perceptron per scenario, with adapters that all share; else as :class:`AdaptedMLP`.

    Args:
        n_scenarios: ``S``.
        input_size: ``d_0``.
        hidden_sizes: widths of the hidden layers.
        adapters: those of the last hidden layers, in their order.
        activation: name of the activation, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        hidden_sizes: Sequence[int],
        adapters: Sequence[Adapter],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__(n_scenarios, input_size, hidden_sizes, 1, activation, dropout)
        self.adapters = nn.ModuleList(adapters)

    def forward(  # type: ignore[override]
        self, hidden: Tensor, instance: Tensor | None, groups: ScenarioLayout
    ) -> Tensor:
        """Compute the logits; see :meth:`AdaptedMLP.forward`."""
        *hidden_layers, output = self.layers
        hidden = groups.lay_out(hidden)
        for layer, adapter in _with_adapters(hidden_layers, self.adapters):
            hidden = groups.drop_out(self.activation(layer(hidden, groups)), self.dropout)
            if adapter is not None:
                hidden = hidden + adapter(groups.pick_up(hidden), instance, groups)
        return groups.pick_up(output(hidden, groups)).squeeze(-1)


def _with_adapters(
    layers: Iterable[nn.Module], adapters: Sequence[nn.Module]
) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """Hidden layers with the adapter that follows each: the last ones have one."""
    layers = list(layers)
    none = [None] * (len(layers) - len(adapters))
    return zip(layers, [*none, *adapters], strict=True)


def _xavier_normal(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(rows, columns)))


def _multiply_each(vectors: Tensor, matrices: Tensor) -> Tensor:
    """Multiply each sample's vector, of ``(k, B)``, by its own matrix, of ``(k, k, B)``."""
    return (vectors.unsqueeze(1) * matrices).sum(0)
