"""Gradients summed over processes: dense ones in one piece, those of large tables by the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from recbole_midpg.layers.across_processes import gather_rows

# What a process says of a parameter's gradient; of a sparse one, it says how many rows it has.
_NONE, _DENSE = -2, -1


class GradientExchange:
    """Gives every process the sum of all processes' gradients.

    The rows of a sparse gradient travel with their numbers, nothing of the table's size does. A
    parameter without a gradient in any process keeps none; one with a gradient in some has zeros
    from the others. All processes get the same bits.

    Args:
        parameters: the model's, in the same order in all processes.
        host_group: a process group that exchanges numbers of the host without a wait for the
            device.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], host_group: Any) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.host_group = host_group

    @torch.no_grad()
    def __call__(self) -> None:
        """Replace each parameter's ``grad`` by the sum over processes."""
        dense: list[nn.Parameter] = []
        for parameter, kinds in zip(self.parameters, self._kinds(), strict=True):
            if max(kinds) >= 0:
                parameter.grad = _summed_rows(parameter, [max(kind, 0) for kind in kinds])
            elif _DENSE in kinds:
                dense.append(parameter)
        _sum_dense(dense)

    def _kinds(self) -> list[list[int]]:
        """What each process says of each parameter's gradient."""
        own = torch.tensor([_kind(parameter.grad) for parameter in self.parameters])
        everyones = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(everyones, own, group=self.host_group)
        return torch.stack(everyones, dim=1).tolist()


def _kind(gradient: Tensor | None) -> int:
    if gradient is None:
        return _NONE
    return gradient._indices().shape[1] if gradient.is_sparse else _DENSE


def _summed_rows(parameter: nn.Parameter, counts: Sequence[int]) -> Tensor:
    """Sum a table's sparse gradients.

    Args:
        parameter: ``(V, D)``; its gradient is sparse, or there is none where the count is 0.
        counts: the rows of each process's gradient.

    Returns:
        A sparse tensor ``(V, D)``: coalesced on the CPU, with repeated rows on a GPU, where the
        number of distinct ones would have to come from the device.
    """
    gradient = parameter.grad
    if gradient is None:
        rows = torch.empty(0, dtype=torch.int64, device=parameter.device)
        values = parameter.new_empty(0, parameter.shape[1])
    else:
        rows, values = gradient._indices()[0], gradient._values()
    # Numbers travel beside their values, as bits of the same type: one exchange instead of two.
    width = rows.element_size() // values.element_size()
    numbers = rows.contiguous().view(values.dtype).view(len(rows), width)
    gathered = torch.cat(gather_rows(torch.cat([numbers, values], dim=1), counts))
    numbers, values = gathered.tensor_split([width], dim=1)
    total = torch.sparse_coo_tensor(
        numbers.contiguous().view(torch.int64).view(1, -1),
        values,
        parameter.shape,
        check_invariants=False,
    )
    return total if total.is_cuda else total.coalesce()


def _sum_dense(parameters: Sequence[nn.Parameter]) -> None:
    """Sum dense gradients over processes, all in one exchange."""
    if not parameters:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, summed in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(summed.view_as(gradient))


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
