"""The GPU that a run is on: what the key ``gpu_id`` names, and that it is there.

RecBole writes ``gpu_id`` into ``CUDA_VISIBLE_DEVICES`` in place of what stood there, so it counts
the GPUs of the machine, not those that the user's own variable had left visible. CUDA reads the
variable once, when a process first uses it, up to the first name that it does not know; where it
knows none, torch sees no GPU and RecBole computes on the CPU without a word.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config

from recbole_midpg.common.errors import UsageError

_DEFAULT = "0"
# By which CUDA, too, is asked for no GPU.
_NO_GPU = frozenset({"", "-1", "NoDevFiles"})
_VARIABLE = "CUDA_VISIBLE_DEVICES"


def prepare_choice(values: dict[str, Any]) -> None:
    """Let ``gpu_id`` say what RecBole would not take from the config by itself.

    It quotes a list of GPUs and not a tuple, and chooses a device without a look at ``use_gpu``.

    Args:
        values: the config's values.
    """
    if values["use_gpu"] is False:
        values["gpu_id"] = ""
    if isinstance(values["gpu_id"], list):
        values["gpu_id"] = tuple(values["gpu_id"])


def check_gpus(config: Config) -> None:
    """Check that the GPUs that a user names are there.

    The default where there is no GPU at all means the CPU, also where a file repeats it, and so
    does a name from a checkpoint, which another machine may have written.

    Args:
        config: RecBole's ``Config``, its device chosen.

    Raises:
        UsageError: one of them is not there, cannot be used, or is named twice.
    """
    given = config.final_config_dict["gpu_id"]
    names = named_gpus(given)
    n_visible = n_visible_gpus()
    if not names or n_visible is None or "gpu_id" not in _external_values(config):
        return
    if len(set(names)) < len(names):
        raise UsageError(f"gpu_id: {given!r} names a GPU twice, expected each once.")
    # Of the parts of a GPU (MIG), CUDA gives a process the first one alone.
    n_needed = 1 if any(name.startswith("MIG-") for name in names) else len(names)
    if n_visible >= n_needed:
        if config.final_config_dict["device"].type != "cuda":
            raise UsageError(
                f"gpu_id: {given!r} cannot be used, CUDA does not start (nvidia-smi shows the "
                "driver), expected '' for the CPU."
            )
        return
    n_here = n_gpus()
    if n_here == 0 and given == _DEFAULT:
        return
    missing = names[n_visible]
    place = repr(missing) if missing == given else f"{missing!r} of {given!r}"
    known = ", ".join(str(number) for number in range(n_here))
    expected = f"{known} or '' for the CPU" if n_here else "'' for the CPU, as torch finds none"
    raise UsageError(f"gpu_id: {place} names no GPU here, expected {expected}.")


def _external_values(config: Config) -> Mapping[str, Any]:
    """What the user has set; nothing in a config from a checkpoint."""
    return getattr(config, "external_config_dict", {})


def named_gpus(gpu_id: str) -> list[str]:
    """The GPUs that a value names: numbers, or names as ``GPU-...`` and ``MIG-...``."""
    names = (name.strip() for name in gpu_id.split(","))
    return list(itertools.takewhile(lambda name: name not in _NO_GPU, names))


def n_visible_gpus() -> int | None:
    """How many GPUs this process can use, ``None`` where it uses some already.

    From then on CUDA does not look at the variable.
    """
    return None if torch.cuda.is_initialized() else torch.cuda.device_count()


def n_gpus() -> int:
    """How many GPUs the machine has, whatever ``CUDA_VISIBLE_DEVICES`` says."""
    hidden = os.environ.pop(_VARIABLE, None)
    try:
        return torch.cuda.device_count()
    finally:
        if hidden is not None:
            os.environ[_VARIABLE] = hidden


def describe_device(config: Config) -> str:
    """Say where a run computes, for the log."""
    device, gpu_id = torch.device(config["device"]), config["gpu_id"]
    if device.type == "cuda":
        return f"The run is on {device} ({torch.cuda.get_device_name(device)}, gpu_id: {gpu_id!r})."
    if named_gpus(gpu_id):
        return f"The run is on the CPU, as torch finds no GPU (gpu_id: {gpu_id!r})."
    return f"The run is on the CPU (gpu_id: {gpu_id!r})."
