"""Scores of all pairs of some users and some items, in batches that memory has room for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


@torch.no_grad()
def score_pairs(
    predict: Callable[[dict[str, Tensor]], Tensor],
    left: Mapping[str, Tensor],
    right: Mapping[str, Tensor],
    n_left: int,
    batch_size: int,
) -> Tensor:
    """Score each row of one table with each row of another.

    The pairs come in the order of the left rows, those of one left row in the order of the right
    ones, and are scored as so many rows of a file would be: in that order, in batches.

    Args:
        predict: scores the rows of some columns, ``(B,)``.
        left: columns ``(L, ...)`` by name, on the device that scores; there may be none.
        right: columns ``(R, ...)`` of other names, there too; at least one.
        n_left: ``L``.
        batch_size: how many pairs ``predict`` gets at a time.

    Returns:
        What ``predict`` gives, ``(L, R)``, on that device.
    """
    some_column = next(iter(right.values()))
    n_right, device = len(some_column), some_column.device
    scores = torch.empty(n_left * n_right, device=device)
    for start in range(0, len(scores), batch_size):
        pairs = torch.arange(start, min(start + batch_size, len(scores)), device=device)
        of_left, of_right = pairs // n_right, pairs % n_right
        batch = {name: column.index_select(0, of_left) for name, column in left.items()}
        batch |= {name: column.index_select(0, of_right) for name, column in right.items()}
        scores[start : start + batch_size] = predict(batch).view(-1)
    return scores.view(n_left, n_right)
