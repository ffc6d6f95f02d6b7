"""What a device could not do, as a sentence: out of memory, or of a GPU, taken or gone.

For a GPU torch raises ``OutOfMemoryError`` where its own allocator finds no room, for all else an
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

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.units import in_units


class DeviceError(UsageError):
    """A device could not do what a run needs; the error of torch or of numpy is its cause."""


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
    """Raise the faults of a device as sentences, and all other errors as they are.

    Args:
        occupants: what is on the device when a fault comes; it may be filled in meanwhile.

    Raises:
        DeviceError: the GPU or the host is out of memory.
        DeviceLostError: the GPU is taken by another process, is gone, or has stopped computing.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
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
# What torch says of the host's memory has no type of its own; numpy's error is a MemoryError.
_NO_ROOM_ON_HOST = re.compile(
    r"DefaultCPUAllocator: |calculation overflowed|multiplication overflow"
)
_REQUEST = re.compile(r"(?:[Tt]ried to|Unable to) allocate ([\d.]+ \w+)")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocator found no room, on a GPU or in the host's memory."""
    texts = (_FAILED_WORDING, _NO_ROOM_ON_HOST)
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(
        text.search(str(error)) for text in texts
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
    held = ", ".join(f"{part.what} {in_units(part.n_bytes)}" for part in parts)
    beside = f", with {held}" if held else ""
    remedies = [part.remedy for part in parts]
    if torch.device(config["device"]).type == "cpu":
        # torch does not count what a batch takes of the host's memory.
        remedies += [_fewer_weights(config), _smaller_batch(occupants)]
    return (
        f"{_stage(occupants)}: {config['device']} has no memory{more}{beside}; "
        f"what helps, by size: {', '.join(dict.fromkeys(remedies))}."
    )


def _fewer_weights(config: Any) -> str:
    return f"a lower embedding_size ({config['embedding_size']})"


def _smaller_batch(occupants: Occupants) -> str:
    key = "train_batch_size" if _is_training(occupants.model) else "eval_batch_size"
    return f"a lower {key} ({occupants.config[key]})"


def _parts(occupants: Occupants) -> list[_Part]:
    """What takes the memory, as far as it is known."""
    config, model, optimizer = occupants.config, occupants.model, occupants.optimizer
    parts: list[_Part] = []

    def add(what: str, n_bytes: int, remedy: str) -> None:
        if n_bytes > 0:
            parts.append(_Part(what, n_bytes, remedy))

    fewer_weights = _fewer_weights(config)
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
        known = sum(part.n_bytes for part in parts)
        add("a batch and its layers", usage.ours - known, _smaller_batch(occupants))
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


def is_lost(error: Exception) -> bool:
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
