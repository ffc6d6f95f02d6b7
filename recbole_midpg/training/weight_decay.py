"""Decoupled weight decay, with any optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def decay_weights(
    optimizer: torch.optim.Optimizer, decay: float, exempt: Iterable[nn.Parameter] = ()
) -> None:
    r"""Let an optimizer shrink weights before each of its steps.

    .. math:: w \leftarrow (1 - \alpha \lambda)\, w

    with the learning rate :math:`\alpha` of the step. The gradient knows nothing of it, so that
    Adam's denominator does not undo it: with Adam it is AdamW. Weights without a gradient stay as
    they are, as torch's AdamW leaves them. Where the learning rate is a tensor, nothing is read on
    the host, and the decay can stand in a CUDA graph with the step.

    Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
    algorithm 2 with a schedule of 1, and the learning rate as factor, as torch has it.

    Args:
        optimizer: any; what it has decays as long as it lives. One that leaves a step out because
            of a ``found_inf`` that it reads itself would decay all the same.
        decay: :math:`\lambda`.
        exempt: the parameters that do not decay; none by default.
    """
    kept = set(exempt)

    @torch.no_grad()
    def shrink(stepping: torch.optim.Optimizer, *_: Any) -> None:
        for group in stepping.param_groups:
            weights = [w for w in group["params"] if w.grad is not None and w not in kept]
            rate = group["lr"]
            # In float32 the factor, next to 1, would hardly hold a small decay.
            factor = 1 - decay * (rate.double() if isinstance(rate, Tensor) else rate)
            if weights:
                torch._foreach_mul_(weights, factor)

    optimizer.register_step_pre_hook(shrink)
