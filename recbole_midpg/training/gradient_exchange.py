"""Gradients summed over processes: dense ones in one piece, those of large tables by the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

# How a process announces a parameter's gradient; a sparse one by its number of rows instead.
_NONE, _DENSE = -2, -1
# Up to so many values it takes less time to send them to everyone than to sum them on the way.
_FEW_VALUES = 1 << 18


class GradientExchange:
    """Gives every process the sum of all processes' gradients.

    The rows of a sparse gradient travel with their numbers, nothing of the table's size does. A
    parameter without a gradient in any process keeps none; one with a gradient in some has zeros
    from the others. All processes get the same bits.

    Args:
        parameters: the model's, in the same order in all processes, of one type.
        host_group: a process group that exchanges numbers of the host without a wait for the
            device.
        rows_repeat: whether a sparse gradient is of one lookup and names a row as often as that
            did, as on a GPU. Then all shapes follow from how many rows of the batch a process has,
            and the host neither asks the others nor decides anything.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], host_group: Any, rows_repeat: bool = False
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.host_group, self.rows_repeat = host_group, rows_repeat

    @torch.no_grad()
    def __call__(self, batch_rows: Sequence[int]) -> None:
        """Replace each parameter's ``grad`` by the sum over processes.

        Args:
            batch_rows: how many of the batch's rows each process has.
        """
        tables: list[tuple[nn.Parameter, list[int]]] = []
        dense: list[nn.Parameter] = []
        for parameter, kinds in zip(self.parameters, self._kinds(batch_rows), strict=True):
            if max(kinds) >= 0:
                tables.append((parameter, [max(kind, 0) for kind in kinds]))
            elif _DENSE in kinds:
                dense.append(parameter)
        values = torch.cat([self.parameters[0].new_empty(0), *map(_flat_gradient, dense)])
        if len(values) > _FEW_VALUES:
            distributed.all_reduce(values)
            _set_gradients(dense, values)
            dense, values = [], values[:0]
        # All else in one exchange: on the CPU it is the number of them that costs.
        rows = [_numbered_rows(parameter, max(counts)) for parameter, counts in tables]
        sent = [values, *rows]
        if not sum(part.numel() for part in sent):
            return
        received = _gathered(torch.cat([part.flatten() for part in sent]))
        columns = received.split([part.numel() for part in sent], dim=1)
        _set_gradients(dense, columns[0].sum(0))
        for (parameter, counts), own, everyones in zip(tables, rows, columns[1:], strict=True):
            parts = everyones.view(-1, *own.shape)
            _set_rows(parameter, [part[:count] for part, count in zip(parts, counts, strict=True)])

    def _kinds(self, batch_rows: Sequence[int]) -> list[list[int]]:
        """What each process says of each parameter's gradient, or would say."""
        own = [_kind(parameter.grad) for parameter in self.parameters]
        if self.rows_repeat and min(batch_rows) > 0:  # one without rows may have no gradients
            here = batch_rows[distributed.get_rank()]
            return [
                [kind * rows // here if kind > 0 else kind for rows in batch_rows] for kind in own
            ]
        return _gathered(torch.tensor(own), self.host_group).T.tolist()


def _kind(gradient: Tensor | None) -> int:
    if gradient is None:
        return _NONE
    return gradient._indices().shape[1] if gradient.is_sparse else _DENSE


def _gathered(own: Tensor, group: Any = None) -> Tensor:
    """Gather a vector of each process: ``(N,)`` to ``(W, N)``."""
    everyones = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyones, own, group=group)
    return torch.stack(everyones)


def _flat_gradient(parameter: nn.Parameter) -> Tensor:
    """A dense gradient's values, zeros where there is none."""
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return gradient.reshape(-1)


def _set_gradients(parameters: Sequence[nn.Parameter], values: Tensor) -> None:
    """Set dense gradients to parts of a vector of all their values."""
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, part in zip(parameters, values.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)


def _numbered_rows(parameter: nn.Parameter, most: int) -> Tensor:
    """A table's sparse gradient as rows that begin with their numbers.

    Args:
        parameter: ``(V, D)``; its gradient is sparse, or there is none.
        most: how many rows are given; those that there are not, mean nothing.

    Returns:
        ``(most, w + D)``: the bits of a row's number as ``w`` values, then its gradient.
    """
    width = _number_width(parameter)
    result = parameter.new_zeros(most, width + parameter.shape[1])
    if parameter.grad is not None:
        rows, values = parameter.grad._indices()[0], parameter.grad._values()
        result[: len(rows), :width] = rows.contiguous().view(values.dtype).view(len(rows), width)
        result[: len(rows), width:] = values
    return result


def _set_rows(parameter: nn.Parameter, parts: Sequence[Tensor]) -> None:
    """Make a table's sparse gradient of the numbered rows of all processes.

    It is coalesced on the CPU, and has repeated rows on a GPU, where the number of distinct ones
    would have to come from the device.
    """
    numbers, values = torch.cat(list(parts)).tensor_split([_number_width(parameter)], dim=1)
    total = torch.sparse_coo_tensor(
        numbers.contiguous().view(torch.int64).view(1, -1),
        values,
        parameter.shape,
        check_invariants=False,
    )
    parameter.grad = total if total.is_cuda else total.coalesce()


def _number_width(parameter: nn.Parameter) -> int:
    """How many of a table's values are as long as the number of a row."""
    return torch.int64.itemsize // parameter.element_size()


def align(values: Sequence[Tensor]) -> None:
    """Give tensors of every process the values of rank 0's, in place.

    Args:
        values: of the same shapes and types, in the same order, in all processes.
    """
    with torch.no_grad():
        for value in values:
            # What is not contiguous, as a weight that is kept transposed, travels as a copy.
            sent = value.contiguous()
            distributed.broadcast(sent, src=0)
            if sent is not value:
                value.copy_(sent)
