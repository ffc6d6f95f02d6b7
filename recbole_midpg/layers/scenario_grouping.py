r"""Rows of a batch grouped by scenario, and linear maps that each group has for itself.

A model with parameters per scenario computes a row by its own scenario's parameters only. The rows
are laid out once per batch so that the rows of a scenario are neighbours; every layer then works on
that layout and no row is computed by a scenario that it does not belong to.

There are two layouts. The shapes of :class:`ScenarioGroups` depend on how many rows each scenario
has: the least arithmetic, for a CPU. Those of :class:`ScenarioTiles` depend on ``B`` and ``S``
alone, and it never waits for the device: what a CUDA graph and ``torch.export`` need.

Shapes: ``B`` rows of a batch, ``S`` scenario slots (tokens, padding token 0 included), ``R >= B``
places of the layout, ``N`` inputs and ``M`` outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from recbole_midpg.layers.mlp import ACTIVATIONS

# Places of a bucket that may stay empty: so many, and so many more for each scenario. Another
# bucket makes a layer's calls once more, and its scenarios are no neighbours, so that their weights
# are copied. Both numbers are STAR's best on a CPU, for 10 and 100 scenarios, 512 and 4,096 rows.
EMPTY_PLACES = 256
EMPTY_PLACES_A_SCENARIO = 8
# The fewest places of a tile: fewer would need more copies of weights.
FREE_ROWS = 16
# Tiles of a scenario of average size, where a batch is large: more of them copy more weights,
# fewer leave more places empty.
_TILES_A_SCENARIO = 4
# Weights handled at a time, so that they are still in cache when they are needed again.
CACHED_WEIGHTS = 1 << 18


@dataclass(frozen=True)
class Bucket:
    """Scenarios with about equally many rows, whose places of the layout are one block.

    The block is ``(scenarios, rows)`` places from ``start`` on, read row by row.

    Attributes:
        start: first place.
        scenarios: how many scenarios.
        rows: places of a scenario: the rows of the largest one.
        slots: which scenario slots, ascending: a slice where they are neighbours, which reads their
            parameters without a copy, else an index tensor.
        counts: rows that each scenario really has, in the same order.
    """

    start: int
    scenarios: int
    rows: int
    slots: slice | Tensor
    counts: tuple[int, ...]

    def block(self, values: Tensor) -> Tensor:
        """The bucket's part of values in the layout: ``(R, N)`` to ``(scenarios, rows, N)``.

        Where a place has several vectors, ``(R, n, N)``, these are rows of their own.
        """
        places = self.scenarios * self.rows
        vectors = self.rows * values.shape[1:-1].numel()
        return values[self.start : self.start + places].view(self.scenarios, vectors, -1)

    def total(self, block: Tensor) -> Tensor:
        """Each scenario's sum over its places: ``(scenarios, rows, N)`` to ``(scenarios, N)``."""
        return block.sum(1)

    def spread(self, values: Tensor) -> Tensor:
        """Each scenario's values for its places, ``(scenarios, N)`` to ``(scenarios, 1, N)``."""
        return values.unsqueeze(1)

    def row_counts(self, like: Tensor) -> Tensor:
        """The rows of each scenario, ``(scenarios, 1)``, of the type and device of ``like``."""
        return torch.tensor(self.counts, dtype=like.dtype, device=like.device).unsqueeze(1)

    def holds_row(self, block: Tensor) -> Tensor:
        """Which places of the block hold a row, ``(scenarios, rows, 1)``."""
        filled = torch.arange(self.rows, device=block.device) < self.row_counts(block)
        return filled.unsqueeze(2)

    def most_rows(self) -> int:
        """The rows of the largest scenario."""
        return self.rows

    def cut(self, scenarios: int) -> list[Bucket]:
        """The same block as several, of at most ``scenarios`` scenarios each."""
        if self.scenarios <= scenarios:
            return [self]
        parts = []
        for first in range(0, self.scenarios, scenarios):
            last = min(first + scenarios, self.scenarios)
            if isinstance(self.slots, slice):
                slots: slice | Tensor = slice(self.slots.start + first, self.slots.start + last)
            else:
                slots = self.slots[first:last]
            start = self.start + first * self.rows
            parts.append(Bucket(start, last - first, self.rows, slots, self.counts[first:last]))
        return parts


class ScenarioLayout:
    """Where the rows of a batch are when the rows of a scenario are neighbours.

    Attributes:
        scenario_ids: the scenario slot of each row, ``(B,)``.
        places: ``R``.
        place_of_row: the place of each row of the batch, ``(B,)``.
    """

    scenario_ids: Tensor
    places: int
    place_of_row: Tensor

    def blocks(self) -> Sequence[Bucket | ScenarioTiles]:
        """The parts of the layout that have one shape each, in the order of their places."""
        raise NotImplementedError

    def lay_out(self, values: Tensor) -> Tensor:
        """Rows of the batch to places of the layout, zeros between: ``(B, N)`` to ``(R, N)``."""
        empty = values.new_zeros(self.places, *values.shape[1:])
        return empty.index_copy_(0, self.place_of_row, values)

    def slots_of_places(self) -> tuple[Tensor, Tensor]:
        """The scenario slot of each place, 0 where no row is, and whether one is: ``(R,)`` each."""
        return self.lay_out(self.scenario_ids), self.lay_out(torch.ones_like(self.scenario_ids))

    def pick_up(self, values: Tensor) -> Tensor:
        """Places of the layout back to rows of the batch: ``(R, ...)`` to ``(B, ...)``."""
        return values.index_select(0, self.place_of_row)

    def drop_out(self, values: Tensor, dropout: nn.Dropout) -> Tensor:
        """Zero values at random, ``(R, N)``, as drawn for the rows and not for their places.

        So the draws are the same in any layout, and in a layer whose samples are the last axis.
        """
        if not (dropout.training and dropout.p):
            return values
        kept = dropout(values.new_ones(values.shape[1], self.scenario_ids.shape[0]))
        return values * self.lay_out(kept.T)

    def multiply(
        self, inputs: Tensor, weight: Tensor, bias: Tensor | None, shared_weight: Tensor | None
    ) -> Tensor:
        """See :func:`grouped_linear`."""
        raise NotImplementedError


class ScenarioGroups(ScenarioLayout):
    r"""The layout of one batch: each scenario's rows together, filled up to blocks.

    Rows are laid out in buckets of scenarios with similar row counts, each filled up to its largest
    one. A bucket has at most :data:`EMPTY_PLACES` places that hold no row, and
    :data:`EMPTY_PLACES_A_SCENARIO` more for each scenario. Scenarios without rows take no place and
    no time.

    Args:
        scenario_ids: the scenario slot of each row, ``(B,)``, in ``[0, S)``.
        n_scenarios: ``S``.

    Raises:
        IndexError: an id is not below ``n_scenarios``.

    Attributes:
        scenario_ids: as given.
        buckets: the blocks of the layout.
        places: ``R``.
        place_of_row: the place of each row of the batch, ``(B,)``.
    """

    def __init__(self, scenario_ids: Tensor, n_scenarios: int) -> None:
        counts: list[int] = torch.bincount(scenario_ids, minlength=n_scenarios).tolist()
        if len(counts) > n_scenarios:
            raise IndexError(f"scenario id {len(counts) - 1}, but there are {n_scenarios} slots")
        device = scenario_ids.device
        self.scenario_ids = scenario_ids
        self.buckets: list[Bucket] = []
        self.places = 0

        # From the place that a row has when sorted to its place in the layout, a scenario each.
        shift = [0] * n_scenarios
        sorted_start = [0] * n_scenarios
        total = 0
        for slot, count in enumerate(counts):
            sorted_start[slot] = total
            total += count
        absent = [slot for slot, count in enumerate(counts) if not count]
        self.absent = as_index(absent, device)
        for slots in _similar_sizes(counts):
            rows = max(counts[slot] for slot in slots)
            for position, slot in enumerate(slots):
                shift[slot] = self.places + position * rows - sorted_start[slot]
            own_counts = tuple(counts[slot] for slot in slots)
            index = as_index(slots, device)
            self.buckets.append(Bucket(self.places, len(slots), rows, index, own_counts))
            self.places += len(slots) * rows

        sorted_ids, order = torch.sort(scenario_ids, stable=True)
        places = torch.tensor(shift, device=device).index_select(0, sorted_ids)
        places += torch.arange(total, device=device)
        self.place_of_row = torch.empty_like(places).index_copy_(0, order, places)

    def blocks(self) -> Sequence[Bucket]:
        """The buckets."""
        return self.buckets

    def parts(self, scenario_size: int) -> list[Bucket]:
        """The buckets, cut so that a part's weights stay in cache.

        Args:
            scenario_size: how many weights a scenario has.
        """
        return [
            part
            for bucket in self.buckets
            for part in bucket.cut(max(1, CACHED_WEIGHTS // scenario_size))
        ]

    def multiply(
        self, inputs: Tensor, weight: Tensor, bias: Tensor | None, shared_weight: Tensor | None
    ) -> Tensor:
        """See :func:`grouped_linear`."""
        return _GroupedLinear.apply(inputs, weight, bias, shared_weight, self)


class ScenarioTiles(ScenarioLayout):
    r"""A layout of fixed shapes: tiles of ``t`` places, each with rows of one scenario.

    A scenario's rows fill as many tiles as they need, the last one not to its end. For ``B`` rows
    of ``S`` scenarios

    .. math:: n = \min\left(B, \left\lfloor \frac{B + S (t - 1)}{t} \right\rfloor\right)

    tiles always suffice. A product takes a copy of its scenario's weight for each tile: with
    :math:`t \approx B / 4 S` places, or :data:`FREE_ROWS` where that is more, there are at most
    five weights a scenario, and a quarter more places than rows.

    Every sum over tiles is made in their order, so that the same batch gives the same gradients, on
    a GPU too.

    Args:
        scenario_ids: the scenario slot of each row, ``(B,)``, in ``[0, S)``.
        n_scenarios: ``S``.

    Attributes:
        scenario_ids: as given.
        places: ``R = n t``.
        place_of_row: the place of each row of the batch, ``(B,)``.
        slot_of_tile: the scenario slot of each tile, ``(n,)``.
        counts: rows of each scenario, ``(S,)``.
        slots: all scenario slots.
    """

    slots = slice(None)

    def __init__(self, scenario_ids: Tensor, n_scenarios: int) -> None:
        n_rows, device = scenario_ids.shape[0], scenario_ids.device
        step = _TILES_A_SCENARIO * n_scenarios * FREE_ROWS
        # Where torch.export traces for any number of rows, that number is a symbol.
        tile = FREE_ROWS * torch.sym_max(1, (n_rows + step - 1) // step)
        n_tiles = torch.sym_min(n_rows, (n_rows + n_scenarios * (tile - 1)) // tile)
        self.shape = torch.sym_max(n_tiles, 2), tile
        self.scenario_ids, self.n_scenarios = scenario_ids, n_scenarios
        self.places = self.shape[0] * tile

        ones = torch.ones_like(scenario_ids)
        self.counts = scenario_ids.new_zeros(n_scenarios).scatter_add_(0, scenario_ids, ones)
        tiles = (self.counts + (tile - 1)) // tile
        end = tiles.cumsum(0)
        # From the place that a row has when sorted to its place in the layout, a scenario each.
        shift = (end - tiles) * tile - (self.counts.cumsum(0) - self.counts)
        sorted_ids, order = torch.sort(scenario_ids, stable=True)
        places = shift.index_select(0, sorted_ids) + torch.arange(n_rows, device=device)
        self.place_of_row = torch.empty_like(places).index_copy_(0, order, places)
        numbers = torch.arange(self.shape[0], device=device)
        # Tiles beyond the last scenario's hold no row, whosever they are.
        self.slot_of_tile = torch.searchsorted(end, numbers, right=True).clamp_(max=n_scenarios - 1)

    def blocks(self) -> Sequence[ScenarioTiles]:
        """The layout itself: it is one block."""
        return (self,)

    def block(self, values: Tensor) -> Tensor:
        """Values in the layout by tile: ``(R, N)`` to ``(n, t, N)``.

        Where a place has several vectors, these are rows of their own.
        """
        n_tiles, tile = self.shape
        return values.view(n_tiles, tile * values.shape[1:-1].numel(), values.shape[-1])

    def total(self, block: Tensor) -> Tensor:
        """Each scenario's sum over its places, ``(n, t, N)`` to ``(S, N)``; without a gradient."""
        # The gradient of a look-up is this very sum, in the order of the tiles on any device.
        return torch.ops.aten.embedding_dense_backward(
            block.sum(1), self.slot_of_tile, self.n_scenarios, -1, False
        )

    def spread(self, values: Tensor) -> Tensor:
        """Each scenario's values for its tiles' places, ``(S, N)`` to ``(n, 1, N)``."""
        return functional.embedding(self.slot_of_tile, values).unsqueeze(1)

    def row_counts(self, like: Tensor) -> Tensor:
        """The rows of each scenario, ``(S, 1)``, of the type of ``like``."""
        return self.counts.to(like.dtype).unsqueeze(1)

    def holds_row(self, block: Tensor) -> Tensor:
        """Which places hold a row, ``(n, t, 1)``."""
        return self.block(self.lay_out(torch.ones_like(self.scenario_ids).unsqueeze(1)) > 0)

    def most_rows(self) -> int:
        """How many rows the largest scenario can have: ``B``."""
        return self.scenario_ids.shape[0]

    def multiply(
        self, inputs: Tensor, weight: Tensor, bias: Tensor | None, shared_weight: Tensor | None
    ) -> Tensor:
        """See :func:`grouped_linear`."""
        if shared_weight is not None:
            weight = torch.addcmul(shared_weight, shared_weight, weight)
        of_tiles = functional.embedding(self.slot_of_tile, weight.flatten(1))
        of_tiles = of_tiles.unflatten(1, weight.shape[1:])
        block = self.block(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            if bias is None:
                outputs = torch.bmm(block, of_tiles)
            else:
                outputs = torch.baddbmm(self.spread(bias), block, of_tiles)
        return outputs.view(*inputs.shape[:-1], weight.shape[2])


def _similar_sizes(counts: Sequence[int]) -> list[list[int]]:
    """Scenario slots with rows, parted where too many places would be empty; each part ascends."""
    present = sorted((slot for slot, count in enumerate(counts) if count), key=counts.__getitem__)
    parts: list[list[int]] = []
    largest = empty = allowed = 0
    for slot in reversed(present):
        empty += largest - counts[slot]
        if not parts or empty > allowed:
            parts.append([])
            largest, empty, allowed = counts[slot], 0, EMPTY_PLACES
        allowed += EMPTY_PLACES_A_SCENARIO
        parts[-1].append(slot)
    return [sorted(part) for part in parts]


def number_scenarios(scenario_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Number the distinct scenarios of a batch.

    It waits for the device, to learn how many there are. A field at a time:
    ``torch.unique(dim=0)`` compares row by row on CPU, which takes longer than a training step.

    Args:
        scenario_tokens: tokens of the fields that make a scenario, ``(B, fields)``, ``B >= 1``.

    Returns:
        The number of each row's scenario, ``(B,)``, in ``[0, K)``, and a row of each scenario,
        ``(K,)``.
    """
    numbers = scenario_tokens.new_zeros(len(scenario_tokens))
    for tokens in scenario_tokens.unbind(1):
        _, numbers = torch.unique(numbers * (tokens.max() + 1) + tokens, return_inverse=True)
    rows = torch.arange(len(numbers), device=numbers.device)
    examples = numbers.new_empty(int(numbers.max()) + 1).index_copy_(0, numbers, rows)
    return numbers, examples


def number_scenarios_in_slots(scenario_tokens: Tensor, n_slots: int) -> tuple[Tensor, Tensor]:
    """Number the distinct scenarios of a batch, with shapes that do not depend on how many.

    Args:
        scenario_tokens: tokens of the fields that make a scenario, ``(B, fields)``, ``B >= 1``.
        n_slots: a number of scenarios that no batch of ``B`` rows exceeds.

    Returns:
        The number of each row's scenario, ``(B,)``, as :func:`number_scenarios` gives it, and a row
        of each scenario, ``(n_slots,)``; slots without a scenario name the last row.
    """
    numbers = scenario_tokens.new_zeros(len(scenario_tokens))
    for tokens in scenario_tokens.unbind(1):
        values, order = torch.sort(numbers * (tokens.max() + 1) + tokens)
        is_new = torch.zeros_like(values)
        is_new[1:] = values[1:] != values[:-1]
        numbers = torch.empty_like(numbers).index_copy_(0, order, is_new.cumsum(0))
    rows = torch.arange(len(numbers), device=numbers.device)
    last = numbers.new_full((n_slots,), len(numbers) - 1)
    return numbers, last.scatter_reduce_(0, numbers, rows, "amin")


def as_index(slots: Sequence[int], device: torch.device) -> slice | Tensor:
    """Ascending slots as an index: a slice where they are neighbours, which copies nothing."""
    if not slots:
        return slice(0, 0)
    if slots[-1] - slots[0] == len(slots) - 1:
        return slice(slots[0], slots[-1] + 1)
    return torch.tensor(slots, device=device)


def read_slots(values: Tensor, slots: slice | Tensor) -> Tensor:
    """Some scenarios' rows of a parameter ``(S, ...)``; a view where the slots are neighbours."""
    return values[slots] if isinstance(slots, slice) else values.index_select(0, slots)


class _GroupedLinear(torch.autograd.Function):
    """:func:`grouped_linear`, passing over the weights of many scenarios as seldom as possible.

    Where scenarios are many and their rows few, reading and writing ``(S, N, M)`` weights is the
    whole cost. Autograd would copy the weights of the scenarios present, keep every product and
    build the gradient in several full-size steps. Here both passes go through the scenarios in
    parts that stay in the processor's cache, and the gradient is written once, in its place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        shared_weight: Tensor | None,
        groups: ScenarioGroups,
    ) -> Tensor:
        outputs = inputs.new_empty(*inputs.shape[:-1], weight.shape[2])
        for part in groups.parts(weight[0].numel()):
            product = read_slots(weight, part.slots)
            if shared_weight is not None:
                product = torch.addcmul(shared_weight, shared_weight, product)
            block = torch.bmm(part.block(inputs), product, out=part.block(outputs))
            if bias is not None:
                block += read_slots(bias, part.slots).unsqueeze(1)
        ctx.save_for_backward(inputs, weight, shared_weight)
        ctx.groups = groups
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, shared_weight = ctx.saved_tensors
        groups = ctx.groups
        gradient = gradient.contiguous()
        to_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        to_weight = torch.empty_like(weight)
        to_weight[groups.absent] = 0
        to_bias = (
            weight.new_zeros(len(weight), weight.shape[2]) if ctx.needs_input_grad[2] else None
        )
        to_shared = None if shared_weight is None else torch.zeros_like(shared_weight)
        for part in groups.parts(weight[0].numel()):
            block, turned = part.block(gradient), part.block(inputs).transpose(1, 2)
            own = read_slots(weight, part.slots)
            if to_inputs is not None:
                product = own
                if shared_weight is not None:
                    product = torch.addcmul(shared_weight, shared_weight, own)
                torch.bmm(block, product.transpose(1, 2), out=part.block(to_inputs))
            in_place = isinstance(part.slots, slice)
            if in_place:
                to_own = torch.bmm(turned, block, out=to_weight[part.slots])
            else:
                to_own = torch.bmm(turned, block)
            if shared_weight is not None:
                to_shared += torch.addcmul(to_own, to_own, own).sum(0)
                to_own *= shared_weight
            if not in_place:
                to_weight[part.slots] = to_own
            if to_bias is not None:
                to_bias[part.slots] = block.sum(1)
        return to_inputs, to_weight, to_bias, to_shared, None


def grouped_linear(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: ScenarioLayout,
    shared_weight: Tensor | None = None,
) -> Tensor:
    r"""Map each place of a layout by its own scenario's linear map.

    .. math:: y_r = x_r \, W_{s(r)} + b_{s(r)}, \qquad
        \text{or with a shared weight} \quad y_r = x_r (W \odot (1 + W_{s(r)})) + b_{s(r)}

    Places that hold no row are mapped too and mean nothing. The weights of scenarios without rows
    are not read, and their gradient is zero.

    Args:
        inputs: ``x`` in the layout, ``(R, N)``; with several vectors a place ``(R, n, N)``.
        weight: ``(S, N, M)``.
        bias: ``(S, M)``, or None for none.
        groups: the layout.
        shared_weight: ``W``, ``(N, M)``, which every scenario's weight then scales: elementwise by
            one more than its own.

    Returns:
        ``y`` in the layout, ``(R, M)`` or ``(R, n, M)``.
    """
    # Under autocast the inputs may come in a smaller type; weights are multiplied in their own.
    return groups.multiply(inputs.to(weight.dtype), weight, bias, shared_weight)


class GroupedLinear(nn.Module):
    r"""A linear layer per scenario: :math:`y = x W_{s} + b_{s}`.

    Xavier-normal weights, each scenario's matrix for itself, and zero biases.

    Args:
        n_scenarios: ``S``.
        input_size: ``N``.
        output_size: ``M``.
        bias: whether there is a bias.
    """

    def __init__(
        self, n_scenarios: int, input_size: int, output_size: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_scenarios, input_size, output_size))
        self.bias = nn.Parameter(torch.zeros(n_scenarios, output_size)) if bias else None
        xavier_normal_each_(self.weight)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: one scenario's ``N M``."""
        return self.weight.shape[1] * self.weight.shape[2]

    def forward(self, inputs: Tensor, groups: ScenarioLayout) -> Tensor:
        """Map ``(R, N)`` to ``(R, M)``, both in the layout of ``groups``."""
        return grouped_linear(inputs, self.weight, self.bias, groups)


class GroupedMLP(nn.Module):
    """A multi-layer perceptron per scenario; as :class:`~recbole_midpg.layers.mlp.MLP` otherwise.

    Args:
        n_scenarios: ``S``.
        input_size: width of the input.
        hidden_sizes: widths of the hidden layers; empty makes it linear.
        output_size: width of the output.
        activation: name of the activation, a key of :data:`ACTIVATIONS`.
        dropout: probability that a hidden value is zeroed in training.
        output_bias: whether the last layer has a bias.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        hidden_sizes: Sequence[int],
        output_size: int,
        activation: str,
        dropout: float,
        output_bias: bool = True,
    ) -> None:
        super().__init__()
        *sizes, last_size = input_size, *hidden_sizes
        self.layers = nn.ModuleList(
            GroupedLinear(n_scenarios, fan_in, fan_out)
            for fan_in, fan_out in pairwise([*sizes, last_size])
        )
        self.layers.append(GroupedLinear(n_scenarios, last_size, output_size, output_bias))
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def hidden(self, inputs: Tensor, groups: ScenarioLayout) -> Tensor:
        """Compute what the last layer reads, both in the layout of ``groups``."""
        *hidden_layers, _ = self.layers
        for layer in hidden_layers:
            inputs = groups.drop_out(self.activation(layer(inputs, groups)), self.dropout)
        return inputs

    def forward(self, inputs: Tensor, groups: ScenarioLayout) -> Tensor:
        """Map ``(R, input_size)`` to ``(R, output_size)``, both in the layout of ``groups``."""
        return self.layers[-1](self.hidden(inputs, groups), groups)


def xavier_normal_each_(weights: Tensor) -> None:
    """Fill a stack of matrices in place, each as if it were a layer's only one."""
    for matrix in weights.detach():
        nn.init.xavier_normal_(matrix)
