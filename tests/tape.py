"""A step captured and replayed on the CPU, as a CUDA graph does on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# Each makes the host wait for the device, or makes a tensor of values of the host.
_NOT_FOR_A_GRAPH = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten._unique,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.masked_select,
    aten.is_nonzero,
    aten.equal,
    aten._coalesce,
    aten.lift_fresh,
}


class Tape(TorchDispatchMode):
    """Records operations with the memory that they work on, and runs them again in it.

    As with a CUDA graph, nothing of Python happens in a replay, all tensors stay where they were,
    and what the host would have to read from a device cannot be recorded.

    Args:
        step: what is recorded; unlike a capture, this also runs it.
    """

    def __init__(self, step: Callable[[], Any]) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        with self:
            step()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        by_mask = operation.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if operation.overloadpacket in _NOT_FOR_A_GRAPH or by_mask:
            raise AssertionError(f"{operation} cannot be part of a graph")
        kwargs = kwargs or {}
        results = operation(*args, **kwargs)
        if operation.namespace != "profiler":
            self.operations.append((operation, args, kwargs, results))
        return results

    @torch.no_grad()
    def replay(self) -> None:
        for operation, args, kwargs, results in self.operations:
            again = operation(*args, **kwargs)
            for old, new in zip(_parts(results), _parts(again), strict=True):
                assert old.shape == new.shape, f"{operation} has a shape that depends on data"
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _parts(results: Any) -> list[Tensor]:
    """The dense tensors that the results of an operation consist of."""
    parts: list[Tensor] = []
    for tensor in tree_leaves(results):
        if isinstance(tensor, Tensor):
            parts += (tensor._indices(), tensor._values()) if tensor.is_sparse else (tensor,)
    return parts
