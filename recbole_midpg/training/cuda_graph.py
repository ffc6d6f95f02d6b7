"""Work on a GPU that is recorded once as a CUDA graph and replayed from then on.

At the batch sizes of the papers a GPU computes a training step faster than the host can launch its
kernels one by one. A recorded step is one launch. What is recorded reads and writes fixed places in
memory and runs no Python when it is replayed, so its inputs come through tensors that stay
(:class:`CopiedInput`, :class:`RowInput`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from recbole_midpg.training.device_rows import DeviceRows

# Runs before the recording: they create what is made on first use only, as the optimizer's moments
# and the work space of the libraries.
WARM_UP_RUNS = 3

Result = TypeVar("Result")


class Graph(Protocol):
    """A recording of work on a device.

    Args:
        device: the device.

    Attributes:
        device_type: the type of the devices that it serves.
    """

    device_type: ClassVar[str]

    def __init__(self, device: torch.device) -> None: ...

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work as it is, in the way that a recording must be preceded by."""

    def record(self, work: Callable[[], None]) -> None:
        """Record the work without running it.

        Raises:
            RuntimeError: it does something that cannot be recorded.
        """

    def replay(self) -> None:
        """Run what was recorded."""


class CudaGraph:
    """A :class:`Graph` of CUDA's.

    Args:
        device: the GPU.
    """

    device_type: ClassVar[str] = "cuda"

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work on the stream of the recording, between what is before and after it."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> None:
        """See :class:`Graph`."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            work()

    def replay(self) -> None:
        """See :class:`Graph`."""
        self._graph.replay()


class RecordedWork(Generic[Result]):
    """Work that is recorded after some runs, and replayed from then on.

    Where it cannot be recorded it goes on running as it is.

    Args:
        work: what to run; it reads and writes tensors that stay.
        graph: what records it.
        report: called once with the reason where the work cannot be recorded.
    """

    _result: Result

    def __init__(
        self, work: Callable[[], Result], graph: Graph, report: Callable[[str], None]
    ) -> None:
        self._work, self._graph, self._report = work, graph, report
        self._runs_before_recording = WARM_UP_RUNS
        self._is_recordable, self._is_recorded = True, False

    def __call__(self) -> Result:
        """Run the work once.

        Returns:
            What the work returns; tensors among it are written over by the next call.
        """
        if self._runs_before_recording > 0:
            self._runs_before_recording -= 1
            self._graph.warm_up(self._run)
            return self._result
        if self._is_recordable and not self._is_recorded:
            self._record()
        if self._is_recorded:
            self._graph.replay()
        else:
            self._run()
        return self._result

    def _run(self) -> None:
        self._result = self._work()

    def _record(self) -> None:
        try:
            self._graph.record(self._run)
            self._is_recorded = True
        except RuntimeError as error:  # torch's own errors and CUDA's are of this class
            self._is_recordable = False
            self._report(reason_of(error))


def reason_of(error: BaseException) -> str:
    """Name the line of code that could not be recorded, and what CUDA or torch says of it.

    Ending a failed recording raises an error of its own, so the first one of the chain counts.

    Args:
        error: what recording raised.

    Returns:
        ``file.py:line (code): message``.
    """
    while error.__context__ is not None:
        error = error.__context__
    message = str(error).strip().split("\n")[0] or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "/torch/" not in Path(frame.filename).as_posix()]
    if not outside:
        return message
    frame = outside[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} ({frame.line}): {message}"


class CopiedInput:
    """A batch's columns at places in memory that stay, into which each batch is copied.

    Args:
        columns: a batch's columns by name, for their shapes and types.
    """

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self._columns = {name: column.clone() for name, column in columns.items()}

    def fits(self, columns: Mapping[str, Tensor]) -> bool:
        """Whether a batch has these columns, in the same shapes."""
        return _shapes(columns) == _shapes(self._columns)

    def load(self, columns: Mapping[str, Tensor]) -> None:
        """Copy a batch's columns, which must fit."""
        for name, column in self._columns.items():
            column.copy_(columns[name], non_blocking=True)

    def take(self) -> dict[str, Tensor]:
        """Give the columns of the batch that was loaded last."""
        return dict(self._columns)


def _shapes(columns: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: column.shape for name, column in columns.items()}


class RowInput:
    """The full batches of an epoch, gathered on the device from a split's rows.

    Which batch is next stands in a tensor on the device, so that gathering can be recorded too.

    Args:
        rows: the split's rows.
        n_rows: how many rows an epoch has at most.
        dtype: the type of row numbers.
        batch_size: ``B``.
        device: where the rows are.
    """

    def __init__(
        self,
        rows: DeviceRows,
        n_rows: int,
        dtype: torch.dtype,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._rows = rows
        self._orders = torch.empty(n_rows, dtype=dtype, device=device)
        self._order = self._orders
        self._next = torch.zeros((), dtype=torch.int64, device=device)
        self._places = torch.arange(batch_size, device=device)
        self._batch_size = batch_size

    @property
    def n_full_batches(self) -> int:
        """How many batches of ``B`` rows an epoch has."""
        return len(self._order) // self._batch_size

    def begin(self, order: Tensor) -> None:
        """Begin an epoch, with the numbers of its rows in their order, ``(N,)``."""
        self._order = self._orders[: len(order)]
        self._order.copy_(order)
        self._next.zero_()

    def take_next(self) -> dict[str, Tensor]:
        """Gather the next batch: columns by name, ``(B, ...)`` each."""
        numbers = self._orders.index_select(0, self._places + self._next)
        self._next += self._batch_size
        return self._rows.take(numbers)

    def take_rest(self) -> dict[str, Tensor] | None:
        """Gather the rows after the full batches; ``None`` where there are none."""
        rest = self._order[self.n_full_batches * self._batch_size :]
        return self._rows.take(rest) if len(rest) else None
