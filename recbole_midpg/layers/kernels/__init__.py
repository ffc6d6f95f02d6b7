"""Fused kernels in Triton, which compute what layers and optimizers compute in plain torch.

Triton comes with torch's builds for CUDA and may be absent: the modules of this folder that hold
kernels import it, and only the functions of this module import them.
"""

from __future__ import annotations

import re
from importlib import metadata

import torch
from torch import nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.weighting import WeightedLinear

# The first release in which the kernels were compiled.
OLDEST_TRITON = (3, 1)


def check_triton(device: torch.device) -> None:
    """Check that Triton's kernels can run.

    Args:
        device: where the model is.

    Raises:
        UsageError: Triton is missing or too old, or the device is a CPU and Triton's interpreter
            is not on (``TRITON_INTERPRET=1`` in the environment, for tests: it is very slow).
    """
    obstacle = _obstacle(device)
    if obstacle:
        raise UsageError(f"triton_kernels: True is not possible as {obstacle}, expected False.")


def _obstacle(device: torch.device) -> str | None:
    try:
        version = metadata.version("triton")
    except metadata.PackageNotFoundError:
        return "triton is not installed (torch's builds for CUDA on Linux bring it along)"
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_TRITON:
        return f"triton {version} is older than {OLDEST_TRITON[0]}.{OLDEST_TRITON[1]}"
    if device.type == "cpu" and not _is_interpreted():
        return "the device is a CPU"
    return None


def _is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels: it is on or off from the first import on."""
    from triton.runtime.interpreter import InterpretedFunction

    from recbole_midpg.layers.kernels.gated_linear import forward_kernel

    return isinstance(forward_kernel, InterpretedFunction)


def use_triton_kernels(model: nn.Module) -> str:
    """Let the kernels compute all layers of a model that they serve.

    Args:
        model: any model; changed in place. Its parameters and its ``state_dict`` stay.

    Returns:
        A sentence for the log: which layers they are, and which are left as they were.
    """
    from recbole_midpg.layers.kernels.gated_linear import MOST_COLUMNS, gated_linear

    served: list[str] = []
    left: list[str] = []
    for name, layer in model.named_modules():
        if isinstance(layer, WeightedLinear):
            fits = layer.weighting.columns <= MOST_COLUMNS
            (served if fits else left).append(name)
            if fits:
                layer.gated_linear = gated_linear
    text = f"Triton's kernels compute {', '.join(served) or 'no layer of this model'}"
    if left:
        text += f"; not {', '.join(left)}, whose gates have more than {MOST_COLUMNS} columns"
    return f"{text}."
