"""What a step on the rows of one scenario leaves as it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tests.support.toy import toy_batch

OTHERS = [0, 1, 3]


def assert_step_leaves_the_others(
    model: Any, own: Iterable[Tensor], optimizer: type[torch.optim.Optimizer]
) -> None:
    """Take a step on scenario 2 of four; no other scenario's parameters learn or change.

    Args:
        model: a model with parameters of each scenario; its gradients are there afterwards.
        own: those parameters, ``(4, ...)`` each.
        optimizer: the class of the optimizer.
    """
    own = list(own)
    before = [value.detach().clone() for value in own]
    model.calculate_loss(toy_batch(30, scenarios=[2])).backward()
    optimizer(model.parameters(), lr=0.1).step()
    for value, old in zip(own, before, strict=True):
        assert not value.grad[OTHERS].any()
        assert torch.equal(value[OTHERS], old[OTHERS])
