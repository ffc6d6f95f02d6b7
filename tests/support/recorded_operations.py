"""A graph on the CPU: what a CUDA graph does, by recording operations of torch.

As with CUDA's, recording runs nothing that stays: tensors that the work writes to are as before
afterwards, and so is the random generator. A replay runs the recorded operations on the recorded
tensors, and no Python of the work. What a CUDA graph cannot hold raises while it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# On a GPU these wait for the device, to give a value or a shape to the host, or copy from the host.
_HOST_OPERATIONS = frozenset(
    {
        aten._local_scalar_dense.default,
        aten.nonzero.default,
        aten._unique2.default,
        aten.unique_dim.default,
        aten.unique_consecutive.default,
        aten.masked_select.default,
        aten.bincount.default,
        aten.repeat_interleave.Tensor,
        aten._coalesce.default,
        aten.lift_fresh.default,  # a tensor of values from Python
    }
)
# A GPU's default generator is part of a graph; one of the host's is not.
_NOT_PERMITTED = "operation not permitted when stream is capturing"


class _Operation(NamedTuple):
    function: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    made: list[Tensor]

    def run(self) -> None:
        results = tensors_of(self.function(*self.arguments, **self.keywords))
        if not self.made:
            return
        for recorded, result in zip(self.made, results, strict=True):
            if recorded.shape != result.shape:
                raise AssertionError(f"{self.function}: the shape depends on the data")
            recorded.copy_(result)


class RecordedOperations:
    """A :class:`~recbole_midpg.training.cuda_graph.Graph` for tests without a GPU."""

    device_type: ClassVar[str] = "cpu"
    replays: ClassVar[int] = 0

    def __init__(self, device: torch.device) -> None:
        self.operations: list[_Operation] = []

    def warm_up(self, work: Callable[[], None]) -> None:
        work()

    def record(self, work: Callable[[], None]) -> None:
        state = torch.get_rng_state()
        recorder = _Recorder()
        try:
            with recorder:
                work()
        except RuntimeError as error:
            _leave_out_own_frames(error)
            raise
        finally:
            torch.set_rng_state(state)
            recorder.undo()
        self.operations = recorder.operations

    def replay(self) -> None:
        type(self).replays += 1
        with torch.no_grad():
            for operation in self.operations:
                operation.run()


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[_Operation] = []
        self._own: set[int] = set()  # storages that the work itself makes
        self._before: dict[int, tuple[Any, Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = tensors_of((args, kwargs))
        if function in _HOST_OPERATIONS or _has_mask(function, given):
            raise RuntimeError(f"{_NOT_PERMITTED}: {function}")
        for tensor in _written(function, args, kwargs):
            self._remember(tensor)
        results = function(*args, **kwargs)
        storages = {_key(tensor) for tensor in given}
        made = [tensor for tensor in tensors_of(results) if _key(tensor) not in storages]
        if made and len(made) != len(tensors_of(results)):
            raise AssertionError(f"{function}: some results are views and some are not")
        self._own.update(map(_key, made))
        self.operations.append(_Operation(function, args, kwargs, made))
        return results

    def _remember(self, tensor: Tensor) -> None:
        key = _key(tensor)
        if key not in self._own and key not in self._before:
            storage = tensor.untyped_storage()
            self._before[key] = storage, storage.clone()

    def undo(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)


def tensors_of(values: Any) -> list[Tensor]:
    """The tensors among values; of a sparse one its indices and values."""
    tensors: list[Tensor] = []
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            tensors += (leaf._indices(), leaf._values()) if leaf.is_sparse else (leaf,)
    return tensors


def _leave_out_own_frames(error: BaseException) -> None:
    """Let a traceback end in the code that called torch, as one that comes out of CUDA does."""
    frame = error.__traceback__.tb_next if error.__traceback__ else None
    while frame is not None:
        if frame.tb_next is not None and frame.tb_next.tb_frame.f_code.co_filename == __file__:
            frame.tb_next = None
        frame = frame.tb_next


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _has_mask(function: Any, given: list[Tensor]) -> bool:
    """Whether rows are chosen by a mask, so that their number depends on the data."""
    takes_indices = function in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
    return takes_indices and any(tensor.dtype == torch.bool for tensor in given[1:])


def _written(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes to."""
    written = []
    for position, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            written += tensors_of(value)
    return written
