"""The config keys of a device's arithmetic: how float32 is multiplied, and by which kernels."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import torch
from torch import nn

from recbole_midpg.layers.kernels import check_triton, use_triton_kernels
from recbole_midpg.training import row_steps
from recbole_midpg.training.row_steps import RowSteps


def set_arithmetic(config: Any) -> None:
    """Set torch's precision of products in float32, and check that chosen kernels can run.

    Args:
        config: RecBole's ``Config``.

    Raises:
        UsageError: Triton's kernels are chosen and cannot run.
    """
    torch.set_float32_matmul_precision(config["matmul_precision"])
    if config["triton_kernels"]:
        check_triton(config["device"])


def use_kernels(config: Any, model: nn.Module) -> None:
    """Let the kernels that a config chooses compute a model, with a line in the log."""
    if config["triton_kernels"]:
        getLogger().info(use_triton_kernels(model))


def row_steps_of(config: Any) -> RowSteps:
    """What lets rows of tables take steps of Adam, by a config's choice."""
    if not config["triton_kernels"]:
        return row_steps.IN_TORCH
    from recbole_midpg.training.row_step_kernels import IN_TRITON

    return IN_TRITON
