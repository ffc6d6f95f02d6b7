r"""M2M's meta units: layers whose weights are generated from what is known of a row's scenario.

Source: Zhang et al., "Leaving No One Behind: A Multi-Scenario Multi-Task Meta Learning Approach for
Advertiser Modeling", WSDM 2022: meta unit, meta attention and meta tower, with one task.

Shapes: ``B`` rows of a batch, ``n`` vectors a row (one of each expert), ``c`` the width of the
scenario knowledge :math:`q`, ``G`` how many ``q`` there are: one a row, or one a scenario; a layer
has ``N`` inputs and ``M`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from recbole_midpg.layers.mixture import weighted_sum
from recbole_midpg.layers.scenario_grouping import (
    CACHED_WEIGHTS,
    ScenarioLayout,
    grouped_linear,
)


class Generator(NamedTuple):
    r"""How a layer's weight and bias follow from :math:`q`, linearly.

    .. math:: W(q)_{ij} = \sum_k V_{ijk} q_k + v_{ij}, \qquad b(q)_j = \sum_k U_{jk} q_k + u_j

    Attributes:
        weight_map: ``V``, ``(N, M, c)``.
        weight_start: ``v``, ``(N, M)``.
        bias_map: ``U``, ``(M, c)``.
        bias_start: ``u``, ``(M,)``.
    """

    weight_map: Tensor
    weight_start: Tensor
    bias_map: Tensor
    bias_start: Tensor

    def weights(self, knowledge: Tensor) -> Tensor:
        """``W`` of each ``q``: ``(G, c)`` to ``(G, N, M)``."""
        flat = functional.linear(
            knowledge, self.weight_map.flatten(0, 1), self.weight_start.flatten()
        )
        return flat.unflatten(1, self.weight_start.shape)

    def biases(self, knowledge: Tensor) -> Tensor:
        """``b`` of each ``q``: ``(G, c)`` to ``(G, M)``."""
        return functional.linear(knowledge, self.bias_map, self.bias_start)

    def with_last_inputs(self, values: Tensor) -> Generator:
        r"""The generator of :math:`h \mapsto [h; t] W(q) + b(q)` for one ``t`` of all rows.

        As :math:`t W(q)` is linear in ``q`` too, it is a part of the bias; the rows of the weight
        that belong to ``t`` need not be generated.

        Args:
            values: ``t``, of as many values as it takes of the ``N`` inputs.
        """
        n_others = self.weight_start.shape[0] - values.shape[0]
        sizes = [n_others, values.shape[0]]
        weight_map, last_map = self.weight_map.split(sizes)
        weight_start, last_start = self.weight_start.split(sizes)
        row = values.unsqueeze(
            0
        )  # a vector by a matrix is squeezed in place, which is not recorded
        from_map = (row @ last_map.flatten(1)).view_as(self.bias_map)
        return Generator(
            weight_map,
            weight_start,
            self.bias_map + from_map,
            self.bias_start + (row @ last_start).squeeze(0),
        )


class Knowledge:
    """What is known of the scenarios of a batch: a ``q`` for each row, or for each scenario."""

    def map(self, vectors: Tensor, generator: Generator) -> Tensor:
        """Map each row's vectors by the layer of its own ``q``: ``(B, n, N)`` to ``(B, n, M)``."""
        raise NotImplementedError


class RowKnowledge(Knowledge):
    r"""A ``q`` for each row.

    Where a row has one vector its weight is never formed: with :math:`V^{(k)}` the ``N x M`` matrix
    of the ``k``-th value of ``q``,

    .. math:: h W(q) = \sum_k q_k (h V^{(k)}) + h v

    is one product for all rows and ``k``, as many multiplications as generating the weight, and
    ``c M`` numbers a row instead of ``N M``. Several vectors share the weight, which then pays.

    Args:
        values: ``q``, ``(B, c)``.
        in_chunks: whether weights are formed for some rows at a time, in forward and again in
            backward, so that they stay in the processor's cache; the result is the same.
    """

    def __init__(self, values: Tensor, in_chunks: bool) -> None:
        self.values, self.in_chunks = values, in_chunks

    def map(self, vectors: Tensor, generator: Generator) -> Tensor:
        """See :class:`Knowledge`."""
        biases = generator.biases(self.values).unsqueeze(1)
        if vectors.shape[1] == 1:
            return self._map_one(vectors.squeeze(1), generator).unsqueeze(1) + biases
        if not self.in_chunks:
            return torch.baddbmm(biases, vectors, generator.weights(self.values))
        # Under autocast they may come in a smaller type than the parameters'.
        kind = generator.weight_map.dtype
        return _MapInChunks.apply(
            vectors.to(kind),
            self.values.to(kind),
            generator.weight_map,
            generator.weight_start,
            biases.to(kind),
        )

    def _map_one(self, vectors: Tensor, generator: Generator) -> Tensor:
        """``h W(q)``, ``(B, N)`` to ``(B, M)``."""
        products = (vectors @ generator.weight_map.flatten(1)).unflatten(
            1, generator.bias_map.shape
        )
        contracted = torch.bmm(products, self.values.unsqueeze(2)).squeeze(2)
        return contracted + vectors @ generator.weight_start


class ScenarioKnowledge(Knowledge):
    """A ``q`` for each scenario of the batch, whose rows share its weights and are mapped together.

    Args:
        values: ``q``, ``(K, c)``.
        groups: the layout of the batch's rows by these ``K`` scenarios.
    """

    def __init__(self, values: Tensor, groups: ScenarioLayout) -> None:
        self.values, self.groups = values, groups

    def map(self, vectors: Tensor, generator: Generator) -> Tensor:
        """See :class:`Knowledge`."""
        weights, biases = generator.weights(self.values), generator.biases(self.values)
        mapped = grouped_linear(self.groups.lay_out(vectors), weights, biases, self.groups)
        return self.groups.pick_up(mapped)


class _MapInChunks(torch.autograd.Function):
    """``h W(q) + b`` of several vectors a row, with the weights of a few rows at a time.

    The weights of a large batch are more than a cache holds: writing and reading them, and their
    gradient, takes longer than generating them once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        knowledge: Tensor,
        weight_map: Tensor,
        weight_start: Tensor,
        biases: Tensor,
    ) -> Tensor:
        outputs = vectors.new_empty(*vectors.shape[:2], weight_start.shape[1])
        ctx.save_for_backward(vectors, knowledge, weight_map, weight_start)
        for rows, weights in _weights_in_chunks(knowledge, weight_map, weight_start):
            torch.baddbmm(biases[rows], vectors[rows], weights, out=outputs[rows])
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        vectors, knowledge, weight_map, weight_start = ctx.saved_tensors
        flat_map = weight_map.flatten(0, 1)
        to_vectors, to_knowledge = torch.empty_like(vectors), torch.empty_like(knowledge)
        # The gradient of V turned: its product then has long rows, and takes half the time.
        to_turned_map = torch.zeros_like(flat_map.T, memory_format=torch.contiguous_format)
        to_start = torch.zeros_like(weight_start).flatten()
        for rows, weights in _weights_in_chunks(knowledge, weight_map, weight_start):
            torch.bmm(gradient[rows], weights.transpose(1, 2), out=to_vectors[rows])
            # The weights are read; their gradient takes their place.
            torch.bmm(vectors[rows].transpose(1, 2), gradient[rows], out=weights)
            to_weights = weights.flatten(1)
            torch.mm(to_weights, flat_map, out=to_knowledge[rows])
            to_turned_map.addmm_(knowledge[rows].T, to_weights)
            to_start += to_weights.sum(0)
        return (
            to_vectors,
            to_knowledge,
            to_turned_map.T.reshape(weight_map.shape),
            to_start.view_as(weight_start),
            gradient.sum(1, keepdim=True),
        )


def _weights_in_chunks(
    knowledge: Tensor, weight_map: Tensor, weight_start: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """The weights of some rows after the other, in the same memory.

    Yields:
        Which rows, and their weights, ``(rows, N, M)``.
    """
    flat_map, start = weight_map.flatten(0, 1), weight_start.flatten()
    size = max(1, CACHED_WEIGHTS // len(start))
    memory = knowledge.new_empty(size, len(start))
    for first in range(0, len(knowledge), size):
        rows = slice(first, min(first + size, len(knowledge)))
        weights = memory[: rows.stop - first]
        torch.addmm(start, knowledge[rows], flat_map.T, out=weights)
        yield rows, weights.unflatten(1, weight_start.shape)


class MetaLayer(nn.Module):
    r"""A layer whose weight and bias are generated from :math:`q`: what :class:`Generator` says.

    At the start ``V`` and ``U`` are Xavier-normal as those of linear layers from ``c`` to ``N N``
    and to ``N`` values; ``v`` and ``u`` are zero.

    Parameters: :math:`(c + 1)(N^2 + N)`.

    Args:
        size: ``N``, width of input and output.
        knowledge_size: ``c``.
    """

    def __init__(self, size: int, knowledge_size: int) -> None:
        super().__init__()
        self.weight_map = nn.Parameter(torch.empty(size, size, knowledge_size))
        self.weight_start = nn.Parameter(torch.zeros(size, size))
        self.bias_map = nn.Parameter(torch.empty(size, knowledge_size))
        self.bias_start = nn.Parameter(torch.zeros(size))
        nn.init.xavier_normal_(self.weight_map.detach().flatten(0, 1))
        nn.init.xavier_normal_(self.bias_map)

    def generator(self) -> Generator:
        """The layer's parameters, as a generator."""
        return Generator(self.weight_map, self.weight_start, self.bias_map, self.bias_start)


class MetaUnit(nn.Module):
    r"""Layers of one width whose weights and biases are generated, :math:`\text{Meta}(h; q)`.

    .. math:: h \leftarrow \text{lrelu}(h W_j(q) + b_j(q)), \qquad j = 1..K

    The generators are linear, without an activation; the slope of the leaky relu is 0.01.

    Parameters: :math:`K (c + 1)(N^2 + N)`.

    Args:
        size: ``N``, width of the input and of every layer.
        knowledge_size: ``c``.
        n_layers: ``K``.
        n_vectors: ``n``, how many vectors a row has.
        n_constant: how many of the ``N`` inputs are the same for all rows: the last ones.
    """

    def __init__(
        self,
        size: int,
        knowledge_size: int,
        n_layers: int,
        n_vectors: int = 1,
        n_constant: int = 0,
    ) -> None:
        super().__init__()
        self.n_vectors, self.n_constant = n_vectors, n_constant
        self.layers = nn.ModuleList(MetaLayer(size, knowledge_size) for _ in range(n_layers))

    def multiply_adds(self) -> int:
        """Multiplications of one sample: its weights are generated and applied to its vectors.

        What constant inputs contribute is made once a batch and not counted.
        """
        total = 0
        for depth, layer in enumerate(self.layers):
            size, knowledge_size = layer.bias_map.shape
            n_inputs = size - (self.n_constant if depth == 0 else 0)
            total += n_inputs * size * (knowledge_size + self.n_vectors)
            total += knowledge_size * size  # the bias
            if self.n_vectors == 1:
                total += knowledge_size * size  # the sum over q's values
        return total

    def forward(
        self, vectors: Tensor, knowledge: Knowledge, constant: Tensor | None = None
    ) -> Tensor:
        """Map the vectors of each row.

        Args:
            vectors: ``h``, ``(B, n, N)``, or ``(B, n, N - n_constant)`` with ``constant``.
            knowledge: of the batch.
            constant: the last ``n_constant`` inputs, which all vectors share.

        Returns:
            ``(B, n, N)``.
        """
        for depth, layer in enumerate(self.layers):
            generator = layer.generator()
            if depth == 0 and constant is not None:
                generator = generator.with_last_inputs(constant)
            vectors = functional.leaky_relu_(knowledge.map(vectors, generator))
        return vectors


class MetaAttention(nn.Module):
    r"""Experts mixed by attention whose weights are generated.

    .. math::
        \alpha = \text{softmax}_i(\text{Meta}([E_i; t]; q) \cdot v_a), \qquad
        R = \sum_i \alpha_i E_i

    ``t`` is the single task's embedding, a learned vector, and :math:`v_a` another. The unit's
    ``v`` starts as Xavier-normal matrices: near zero weights would hardly learn to attend.

    Parameters: with experts of width ``v``, those of a meta unit of width ``2 v``, and ``3 v``.

    Args:
        expert_size: ``v``.
        n_experts: ``n``.
        knowledge_size: ``c``.
        n_layers: ``K``, layers of the meta unit.
    """

    def __init__(
        self, expert_size: int, n_experts: int, knowledge_size: int, n_layers: int
    ) -> None:
        super().__init__()
        self.n_experts, self.expert_size = n_experts, expert_size
        size = 2 * expert_size
        self.unit = MetaUnit(size, knowledge_size, n_layers, n_experts, n_constant=expert_size)
        self.task = nn.Parameter(torch.empty(expert_size))
        self.score = nn.Linear(size, 1, bias=False)
        nn.init.xavier_normal_(self.task.detach().unsqueeze(0))
        for layer in self.unit.layers:
            nn.init.xavier_normal_(layer.weight_start)

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the unit's and the scores': the mixture's."""
        return self.n_experts * self.expert_size

    def weights(self, experts: Sequence[Tensor], knowledge: Knowledge) -> Tensor:
        r""":math:`\alpha`, ``(B, n)``; arguments as :meth:`forward`."""
        mapped = self.unit(torch.stack(list(experts), dim=1), knowledge, self.task)
        return self.score(mapped).squeeze(-1).softmax(-1)

    def forward(self, experts: Sequence[Tensor], knowledge: Knowledge) -> Tensor:
        """Mix the experts.

        Args:
            experts: :math:`E_i`, ``(B, v)`` each.
            knowledge: of the batch.

        Returns:
            ``R``, ``(B, v)``.
        """
        return weighted_sum(self.weights(experts, knowledge), experts)


class MetaTower(nn.Module):
    r"""Residual layers, each a meta unit of its own.

    .. math::
        L_0 = R, \qquad L_j = \text{lrelu}(\text{Meta}_j(L_{j-1}; q) + L_{j-1}), \quad j = 1..J

    The units' ``v`` start at zero: weights are small then, and the residual carries the input.

    Parameters: those of ``J`` meta units of width ``v``.

    Args:
        size: ``v``.
        knowledge_size: ``c``.
        n_units: ``J``; 0 leaves the input as it is.
        n_layers: ``K``, layers of a meta unit.
        dropout: probability that a value of :math:`L_j`, ``j > 0``, is zeroed in training.
    """

    def __init__(
        self, size: int, knowledge_size: int, n_units: int, n_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.units = nn.ModuleList(MetaUnit(size, knowledge_size, n_layers) for _ in range(n_units))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, knowledge: Knowledge) -> Tensor:
        """Map ``(B, v)`` to ``(B, v)``."""
        for unit in self.units:
            mapped = unit(hidden.unsqueeze(1), knowledge).squeeze(1)
            hidden = self.dropout(functional.leaky_relu_(mapped + hidden))
        return hidden
