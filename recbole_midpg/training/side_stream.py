"""Blocks of rows on their way to a GPU while it computes on the block before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from recbole_midpg.training.device_rows import widen

Columns = dict[str, Tensor]
Note = TypeVar("Note")


class Sent(NamedTuple):
    """A block on its way.

    Attributes:
        columns: the block on the device, not to be read before it has arrived.
        arrival: what the device waits for before it reads them.
    """

    columns: Columns
    arrival: Any


class Carrier(Protocol):
    """A way of blocks from the host's memory to a device."""

    def send(self, columns: Columns) -> Sent:
        """Start to copy a block of narrow columns; they arrive wide."""

    def receive(self, sent: Sent) -> Columns:
        """Let the work that is queued from now on have the block."""


class SideStream:
    """Copies blocks to a GPU in a stream of their own, so that no copy waits for computations.

    Nobody waits on the host: pinned memory is used again once torch's allocator sees that the copy
    from it is done, a block's memory on the device once the work that reads it is.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def send(self, columns: Columns) -> Sent:
        """See :class:`Carrier`."""
        with torch.cuda.stream(self.stream):
            return Sent(copy_to(self.device, columns), self.stream.record_event())

    def receive(self, sent: Sent) -> Columns:
        """See :class:`Carrier`."""
        reader = torch.cuda.current_stream(self.device)
        reader.wait_event(sent.arrival)
        for column in sent.columns.values():
            # Its memory belongs to the side stream, which must not fill it anew while it is read.
            column.record_stream(reader)
        return sent.columns


def copy_to(device: torch.device, columns: Columns) -> Columns:
    """Copy a block of narrow columns to a device, where they are made wide.

    To a GPU they travel without a wait for it, in the stream that is current.
    """
    if device.type == "cuda":
        columns = {name: column.pin_memory() for name, column in columns.items()}
    return {name: widen(column.to(device, non_blocking=True)) for name, column in columns.items()}


def one_ahead(
    blocks: Iterable[tuple[Note, Columns]], carrier: Carrier
) -> Iterator[tuple[Note, Columns]]:
    """Carry blocks to a device, each sent before the one before it is handed out.

    Args:
        blocks: blocks of narrow columns on the host, each with something that goes with it.
        carrier: the way to the device.

    Yields:
        The blocks in their order, on the device and wide, with what goes with them.
    """
    before: tuple[Note, Sent] | None = None
    for note, columns in blocks:
        sent = carrier.send(columns)
        if before is not None:
            yield before[0], carrier.receive(before[1])
        before = note, sent
    if before is not None:
        yield before[0], carrier.receive(before[1])
