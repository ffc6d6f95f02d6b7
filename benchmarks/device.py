"""The device that a benchmark is run on, for scripts that can take either."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

import torch

DEVICES = ("cuda", "cpu")
# What is for a GPU alone, and off by default.
ON_GPU = {"cuda_graph": True, "data_on_device": True, "metrics_on_device": True}
WITHOUT = dict.fromkeys(ON_GPU, False)


def add_device_option(parser: argparse.ArgumentParser, default: str = "cuda") -> None:
    """Add ``--device``."""
    parser.add_argument("--device", choices=DEVICES, default=default)


def require_device(parser: argparse.ArgumentParser, device: str) -> str:
    """Name a device; end the script in a sentence, with status 2, where it is not there."""
    if device == "cpu":
        return f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}"
    if not torch.cuda.is_available():
        parser.exit(
            2,
            f"{parser.prog}: error: --device=cuda: torch {torch.__version__} sees no GPU, expected "
            "one, or --device=cpu.\n",
        )
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}"


def device_settings(device: str, on_gpu: dict[str, Any] = ON_GPU) -> dict[str, Any]:
    """Config values that choose a device, and on a GPU some that are for it alone."""
    return {"gpu_id": ""} if device == "cpu" else dict(on_gpu)
