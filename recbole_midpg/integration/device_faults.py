"""What a GPU could not do, as a sentence: out of memory, taken by another process, or gone.

torch raises ``OutOfMemoryError`` where its own allocator finds no room, and for all else an
``AcceleratorError`` (a plain ``RuntimeError`` before torch 2.8), which differ by their text alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recbole_midpg.errors import UsageError
from recbole_midpg.integration.row_placement import in_units


class DeviceError(UsageError):
    """A GPU could not do what a run needs; the error of torch is its cause."""


class DeviceLostError(DeviceError):
    """A GPU on which this process cannot compute any more, whatever it tries."""


@dataclass
class Occupants:
    """What a run has on its device.

    Attributes:
        config: RecBole's ``Config``.
        model: the model, once there is one.
        optimizer: its optimizer, once there is one.
        loaders: the loaders, which may keep rows there.
        stage: what the run is at; by default what follows from the model and the optimizer.
    """

    config: Any
    model: Any = None
    optimizer: Any = None
    loaders: Iterable[Any] = ()
    stage: str = ""


@contextmanager
def reporting_faults(occupants: Occupants) -> Iterator[None]:
    """Raise the faults of a GPU as sentences, and all other errors as they are.

    Args:
        occupants: what is on the device when a fault comes; it may be filled in meanwhile.

    Raises:
        DeviceError: the GPU is out of memory.
        DeviceLostError: it is taken by another process, is gone, or has stopped computing.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            fault = DeviceError(_out_of_memory(str(error), occupants))
        elif is_lost(error):
            fault = DeviceLostError(_lost(str(error), occupants))
        else:
            raise
        getLogger().debug("The error of torch:", exc_info=error)
        raise fault from error


# --------------------------------------------------------------------------------------------------
# Out of memory

# Where NVML cannot be asked, as on a part of a GPU, torch 2 fails while it words its own error.
_FAILED_WORDING = re.compile(r"INTERNAL ASSERT FAILED at .*CUDACachingAllocator")
_REQUEST = re.compile(r"Tried to allocate ([\d.]+ \w+)")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch's allocator found no room on a GPU."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or bool(
        _FAILED_WORDING.search(str(error))
    )


class _Part(NamedTuple):
    """A part of a device's memory: what holds it, how much, and what makes it smaller."""

    what: str
    n_bytes: int
    remedy: str


def _out_of_memory(text: str, occupants: Occupants) -> str:
    config = occupants.config
    parts = sorted(_parts(occupants), key=lambda part: -part.n_bytes)
    request = _REQUEST.search(text)
    more = f" for {request[1]} more" if request else ""
    held = [f"{part.what} {in_units(part.n_bytes)}" for part in parts]
    remedies = dict.fromkeys(part.remedy for part in parts)
    return (
        f"{_stage(occupants)}: {config['device']} has no memory{more}, with {', '.join(held)}; "
        f"what helps, by size: {', '.join(remedies)}."
    )


def _parts(occupants: Occupants) -> list[_Part]:
    """What takes the memory, as far as it is known."""
    config, model, optimizer = occupants.config, occupants.model, occupants.optimizer
    parts: list[_Part] = []

    def add(what: str, n_bytes: int, remedy: str) -> None:
        if n_bytes > 0:
            parts.append(_Part(what, n_bytes, remedy))

    fewer_weights = f"a lower embedding_size ({config['embedding_size']})"
    if model is not None:
        parameters = list(model.parameters())
        add("weights", _bytes_of([*parameters, *model.buffers()]), fewer_weights)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        add("gradients", _bytes_of(gradients), "sparse_updates: on")
    if optimizer is not None:
        states = optimizer.state.values()
        moments = [value for state in states for value in state.values()]
        add("the optimizer's moments", _bytes_of(moments), fewer_weights)
    # Only where they have been asked for: a loader would put them there now.
    kept = [vars(loader).get("device_rows") for loader in occupants.loaders]
    rows = sum(here.n_bytes for here in kept if here is not None)
    add("rows of the data", rows, "data_on_device: False")
    usage = memory_usage(torch.device(config["device"]))
    if usage is not None:
        size = "train_batch_size" if _is_training(model) else "eval_batch_size"
        known = sum(part.n_bytes for part in parts)
        add("a batch and its layers", usage.ours - known, f"a lower {size} ({config[size]})")
        add("other processes", usage.others, "another GPU (gpu_id)")
    return parts


def _bytes_of(values: Iterable[Any]) -> int:
    tensors = [value for value in values if isinstance(value, Tensor)]
    sparse = [tensor for tensor in tensors if tensor.is_sparse]
    dense = [tensor for tensor in tensors if not tensor.is_sparse]
    dense += [part for tensor in sparse for part in (tensor._indices(), tensor._values())]
    return sum(tensor.nbytes for tensor in dense)


class MemoryUsage(NamedTuple):
    """The bytes of a GPU that are in use.

    Attributes:
        ours: the most that this process's tensors have taken.
        others: what is neither free nor this process's, CUDA's own needs included.
    """

    ours: int
    others: int


def memory_usage(device: torch.device) -> MemoryUsage | None:
    """How much of a GPU's memory is in use, ``None`` for other devices."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device.index)
    others = total - free - torch.cuda.memory_reserved(device)
    return MemoryUsage(torch.cuda.max_memory_allocated(device), others)


# --------------------------------------------------------------------------------------------------
# Taken, gone or stopped

_ACCELERATOR_ERROR: type[RuntimeError] | None = getattr(torch, "AcceleratorError", None)
_BEGINNINGS = (
    *("CUDA error", "CUDA driver error", "CUDA unknown error", "CUDA driver initialization failed"),
    *("Unexpected error from cudaGetDeviceCount", "No CUDA GPUs are", "Found no NVIDIA driver"),
    *("cuDNN error", "Triton Error [CUDA]"),
)
# What a program asks of CUDA in a wrong way says nothing of the GPU, and is to be shown with its
# place.
_WRONG_CALL = re.compile(
    r"captur|invalid (argument|configuration|resource handle)|INVALID_VALUE|too many resources"
)
_OTHER_GPU = "wait for it, or take another GPU (gpu_id)"
_MEANINGS = (
    (r"busy or unavailable", f"another process has it for itself; {_OTHER_GPU}"),
    (
        r"out of memory|CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)",
        f"no memory is left for CUDA itself, which another process may hold; {_OTHER_GPU}",
    ),
    (
        r"device-side assert|illegal memory access|misaligned address|illegal instruction",
        "a computation met a value that it cannot work with, as a number beyond a table; "
        "gpu_id='' computes on the CPU, which names it",
    ),
    (
        r"no kernel image|invalid device function|PTX",
        "this torch was not built for it; install one that was, or take the CPU (gpu_id='')",
    ),
    (r"", "it is gone, or has stopped computing; nvidia-smi shows whether it is there"),
)


def is_lost(error: RuntimeError) -> bool:
    """Whether a GPU cannot be had, or cannot be computed on any more."""
    text = str(error)
    by_type = _ACCELERATOR_ERROR is not None and isinstance(error, _ACCELERATOR_ERROR)
    return (by_type or text.startswith(_BEGINNINGS)) and not _WRONG_CALL.search(text)


def _lost(text: str, occupants: Occupants) -> str:
    # torch adds a link to CUDA's manual, and how to debug a kernel.
    first_line = text.partition("\n")[0].rstrip(".")
    meaning = next(words for pattern, words in _MEANINGS if re.search(pattern, first_line))
    return f"{_stage(occupants)}: {occupants.config['device']} failed ({first_line}): {meaning}."


def _stage(occupants: Occupants) -> str:
    """What a run was at."""
    if occupants.stage:
        return occupants.stage
    if occupants.optimizer is None:
        return "preparing the model"
    return "training" if _is_training(occupants.model) else "evaluation"


def _is_training(model: Any) -> bool:
    return model is None or model.training
