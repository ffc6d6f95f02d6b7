r"""Batches whose rows lie in several processes, and what formulas need of all their rows.

In training with ``W`` processes, process ``r`` has :math:`B_r` of a batch's :math:`B` rows, those
of rank 0 first, and computes the loss :math:`L_r` of its own. The loss of the batch is

.. math:: L = \sum_r \frac{B_r}{B} L_r,

which for a mean over rows is the mean over all of them. A formula in which rows depend on each
other, as on a mean and variance of the batch, takes what it needs from the functions here. Each is
a step of the formula like any other: its gradient is the adjoint, which sums over the processes
what they say of a row, so that the sum over processes of each one's gradient of
:math:`(B_r / B) L_r` is the gradient of :math:`L`.

Outside of :func:`shared`, all rows are here: the functions give back what they are given, and talk
to nobody. Within, every process must call the same functions in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class SharedBatch:
    """Where a batch's rows are.

    Attributes:
        counts: the rows of each process.
        rank: this process.
    """

    counts: tuple[int, ...]
    rank: int

    @property
    def rows(self) -> int:
        """``B``, at least 1."""
        return sum(self.counts)

    @property
    def share(self) -> float:
        """:math:`B_r / B` of this process."""
        return self.counts[self.rank] / self.rows


_current: SharedBatch | None = None


@contextmanager
def shared(batch: SharedBatch) -> Iterator[None]:
    """Say that the rows of a batch lie in the processes of torch's default group."""
    global _current  # noqa: PLW0603 - layers stand too deep for it to be handed down
    before, _current = _current, batch
    try:
        yield
    finally:
        _current = before


def is_shared() -> bool:
    """Whether the batch's rows lie in several processes."""
    return _current is not None


def share_of_batch() -> float:
    """The share of the batch's rows that is here; 1 where all are."""
    return 1.0 if _current is None else _current.share


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum values elementwise over the processes; all get the sum.

    Args:
        values: of the same shape in each process.

    Returns:
        The sum, with a gradient; ``values`` itself outside of :func:`shared`.
    """
    return values if _current is None else _Sum.apply(values)


def whole_batch(*parts: Tensor) -> Sequence[Tensor]:
    """Gather the rows of all processes, in one exchange for all parts.

    Args:
        parts: of this process's rows, ``(B_r, N)`` each, of one type.

    Returns:
        Each part of all rows in order, ``(B, N)``, with a gradient; ``parts`` themselves outside of
        :func:`shared`.
    """
    if _current is None:
        return parts
    rows = _WholeBatch.apply(torch.cat(parts, dim=1), _current)
    return rows.split([part.shape[1] for part in parts], dim=1)


def of_first_process(values: Tensor) -> Tensor:
    """Let all processes have the values of rank 0, as of random draws; without a gradient.

    Args:
        values: of the same shape and type in each process; overwritten elsewhere than in rank 0.
    """
    if _current is not None:
        distributed.broadcast(values, src=0)
    return values


def gather_rows(rows: Tensor, counts: Sequence[int], group: Any = None) -> list[Tensor]:
    """Gather tensors that differ in their number of rows.

    Args:
        rows: this process's, ``(counts[rank], ...)``.
        counts: how many rows each process has, the same everywhere.
        group: torch's process group; the default one by default.

    Returns:
        A tensor for each process, ``(count, ...)``.
    """
    largest = max(counts)
    padded = rows
    if len(rows) < largest:
        padded = rows.new_zeros(largest, *rows.shape[1:])
        padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(gathered, padded.contiguous(), group=group)
    return [part[:count] for part, count in zip(gathered, counts, strict=True)]


class _Sum(torch.autograd.Function):
    """The sum over processes, whose adjoint is the sum of the gradients over processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


class _WholeBatch(torch.autograd.Function):
    """All processes' rows; the gradient of a row is the sum of what all processes say of it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, batch: SharedBatch) -> Tensor:
        ctx.batch = batch
        return torch.cat(gather_rows(rows, batch.counts))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        batch: SharedBatch = ctx.batch
        return _summed(gradient).split(batch.counts)[batch.rank], None


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total
