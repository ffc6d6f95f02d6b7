r"""Weights and moments of a model whose fields have got new tokens.

Where a tensor of a model grows is measured and not written down for each model: on small models,
of which each has one token more in one field than the first. A size that follows has the form

.. math:: \text{size} = \sum_f c_f \, n_f + r

with :math:`n_f` tokens of field :math:`f`. An embedding table of one field has :math:`c_f = 1` and
:math:`r = 0`, the joint table of all token fields :math:`c_f = 1` for each, parameters of each
scenario :math:`c_f` slots a scenario, and PLE's experts :math:`r` shared ones behind those of the
scenarios; HMoE's relations of scenarios grow in two dimensions. What is known is moved to its new
place; the rest is as a new model draws it, but for scenarios: a new one starts at the mean of the
others.

Of RecBole's it touches ``Dataset.num``, by the table that stands for a dataset.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.scoring.scoring import TOKEN_LIKE, FieldTable
from recbole_midpg.loading.column_encoding import TokenEncoder

# Tokens of each field of the small models, padding included.
_FEW = 3


@dataclass(frozen=True)
class Axis:
    """How long a dimension of a tensor is.

    Attributes:
        slots: how many places a token has, by field, in the order of the fields' blocks.
        rest: how many places stand behind all blocks.
    """

    slots: Mapping[str, int]
    rest: int

    def blocks(self, fields: FieldTable) -> list[tuple[str, int, int]]:
        """The field of each block, where it begins and where it ends."""
        lengths = [slots * fields.num(name) for name, slots in self.slots.items()]
        ends = list(accumulate(lengths))
        return [
            (name, end - length, end)
            for name, length, end in zip(self.slots, lengths, ends, strict=True)
        ]

    def size(self, fields: FieldTable) -> int:
        """The length with these fields."""
        return sum(slots * fields.num(name) for name, slots in self.slots.items()) + self.rest


# By a tensor's name in the ``state_dict`` and the place of a dimension, how that grows.
Axes = Mapping[str, Mapping[int, Axis]]


def measure_axes(model_class: type[nn.Module], config: Any, fields: FieldTable) -> Axes:
    """Find out which tensors of a model grow with the tokens of its fields.

    Args:
        model_class: the model's class.
        config: RecBole's ``Config``.
        fields: what the model reads.
    """
    names = [name for name, scored in fields.scored.items() if scored.type in TOKEN_LIKE]
    few = dict.fromkeys(names, _FEW)
    with torch.random.fork_rng(devices=[]):
        small = model_class(config, _with_sizes(fields, few))
        larger = {
            name: _shapes(model_class(config, _with_sizes(fields, {**few, name: _FEW + 1})))
            for name in names
        }
    axes: dict[str, dict[int, Axis]] = {}
    for tensor, shape in _shapes(small).items():
        in_order = [name for name in _order_of_blocks(small, tensor, names) if name in larger]
        for place, length in enumerate(shape):
            slots = {name: larger[name][tensor][place] - length for name in in_order}
            slots = {name: count for name, count in slots.items() if count}
            if slots:
                axis = Axis(slots, length - _FEW * sum(slots.values()))
                axes.setdefault(tensor, {})[place] = axis
    return axes


def _with_sizes(fields: FieldTable, sizes: Mapping[str, int]) -> FieldTable:
    resized = {
        name: replace(scored, size=sizes.get(name, scored.size))
        for name, scored in fields.scored.items()
    }
    return replace(fields, scored=resized)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _order_of_blocks(model: nn.Module, tensor: str, names: Sequence[str]) -> list[str]:
    """The order in which a tensor has the fields: that of the module which names its own."""
    parent = tensor
    while parent:
        parent = parent.rpartition(".")[0]
        own = getattr(model.get_submodule(parent), "token_field_names", None)
        if own is not None:
            return [*own, *(name for name in names if name not in own)]
    return list(names)


def grown_weights(
    old: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    axes: Axes,
    fields: tuple[FieldTable, FieldTable],
    scenario_fields: Collection[str],
) -> dict[str, Tensor]:
    """The weights of a model that has grown.

    Args:
        old: the weights so far, by name.
        fresh: those of the larger model as it was drawn.
        axes: see :func:`measure_axes`.
        fields: before and after.
        scenario_fields: whose new tokens start at the mean of the known ones but padding and those
            that are read as the unknown one.

    Raises:
        UsageError: a tensor has another size than its axis says.
    """
    grown = {}
    for name, weight in fresh.items():
        if name not in axes:
            grown[name] = old[name].clone()
            continue
        _require_size(name, old[name], axes, fields[0])
        _require_size(name, weight, axes, fields[1])
        grown[name] = _moved(old[name], weight, axes[name], fields)
        for field in scenario_fields:
            if fields[1].num(field) > fields[0].num(field):
                for place, axis in axes[name].items():
                    if field in axis.slots:
                        _start_at_mean(grown[name], field, place, axis, fields)
    return grown


def _require_size(name: str, tensor: Tensor, axes: Axes, fields: FieldTable) -> None:
    for place, axis in axes[name].items():
        if tensor.shape[place] != axis.size(fields):
            raise UsageError(
                f"model: {name} has {tensor.shape[place]} places, expected {axis.size(fields)} by "
                "the tokens of its fields; such a model is trained anew."
            )


def grown_optimizer(
    state: Mapping[str, Any],
    old: Sequence[tuple[str, tuple[int, ...]]],
    axes: Axes,
    fields: tuple[FieldTable, FieldTable],
) -> dict[str, Any]:
    """An optimizer's state for a model that has grown: what was learned of new places is zero.

    Args:
        state: in torch's format; counts of steps stay as they are.
        old: the name and the shape of each parameter before, in the optimizer's order.
        axes: see :func:`measure_axes`.
        fields: before and after.
    """

    def grown(position: int, value: Any) -> Any:
        name, shape = old[position]
        if not isinstance(value, Tensor):
            return value
        if name not in axes or tuple(value.shape) != shape:
            return value.clone()
        sizes = list(shape)
        for place, axis in axes[name].items():
            sizes[place] = axis.size(fields[1])
        return _moved(value, value.new_zeros(sizes), axes[name], fields)

    entries = {
        position: {key: grown(position, value) for key, value in entry.items()}
        for position, entry in state["state"].items()
    }
    return {**state, "state": entries}


def _moved(
    old: Tensor,
    into: Tensor,
    axes: Mapping[int, Axis],
    fields: tuple[FieldTable, FieldTable],
) -> Tensor:
    """A copy of a larger tensor, with what is known at its new place."""
    result = into.detach().clone()
    for spans in product(*(_spans(axis, fields) for axis in axes.values())):
        source, target = old, result
        for place, (start, new_start, length) in zip(axes, spans, strict=True):
            source = source.narrow(place, start, length)
            target = target.narrow(place, new_start, length)
        target.copy_(source)
    return result


def _spans(axis: Axis, fields: tuple[FieldTable, FieldTable]) -> list[tuple[int, int, int]]:
    """Of what is known along an axis: where it was, where it goes, and how long it is."""
    before, after = (axis.blocks(table) for table in fields)
    spans = [
        (start, new_start, end - start)
        for (_, start, end), (_, new_start, _) in zip(before, after, strict=True)
    ]
    old_size, new_size = (axis.size(table) for table in fields)
    return [*spans, (old_size - axis.rest, new_size - axis.rest, axis.rest)]


def _start_at_mean(
    tensor: Tensor, field: str, place: int, axis: Axis, fields: tuple[FieldTable, FieldTable]
) -> None:
    """Set the places of a field's new tokens to the mean of those that were read, in place.

    Where a token has several places, each has the mean of its own.
    """
    start, end = next(block[1:] for block in axis.blocks(fields[1]) if block[0] == field)
    by_token = tensor.narrow(place, start, end - start).unflatten(place, (-1, axis.slots[field]))
    known, tokens = fields[0].num(field), fields[1].num(field)
    encoder = fields[0].scored[field].encoder
    rare = encoder.rare if isinstance(encoder, TokenEncoder) else None
    read = np.unique(np.arange(1, known) if rare is None else rare.read_as[1:known])
    if len(read):
        rows = by_token.index_select(place, torch.from_numpy(read.astype(np.int64)))
        new = by_token.narrow(place, known, tokens - known)
        new.copy_(rows.double().mean(place, keepdim=True))
