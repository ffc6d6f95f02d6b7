"""Two ways to the same values, compared with their gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def gradients(values: Tensor, leaves: Iterable[nn.Parameter]) -> list[Tensor]:
    """Gradients of the sum of squares, zeros where a leaf has no part in the values."""
    leaves = list(leaves)
    found = torch.autograd.grad(values.square().sum(), leaves, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, found, strict=True)
    ]


def assert_same_values_and_gradients(
    found: Tensor, expected: Tensor, leaves: Iterable[nn.Parameter], tolerance: float = 1e-10
) -> None:
    """Raise where values or their gradients differ by more than the tolerance."""
    leaves = list(leaves)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    for one, other in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)
