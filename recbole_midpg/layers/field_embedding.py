"""Embeddings of the fields of a batch that are not a single token each."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_of_present(embeddings: Tensor, is_present: Tensor) -> Tensor:
    """Average the elements of sequences that are there.

    Args:
        embeddings: ``(B, length, D)``.
        is_present: which elements are there, ``(B, length)``; the others are padding.

    Returns:
        ``(B, D)``; zero where no element is there.
    """
    weights = is_present.to(embeddings.dtype).unsqueeze(1)  # [B, 1, length]
    # By 1 where there are none, and not by RecBole's 1e-8, which float16 gradients cannot hold.
    return torch.bmm(weights, embeddings).squeeze(1) / weights.sum(2).clamp(min=1)


def split_numbers(fields: Tensor) -> tuple[Tensor, Tensor]:
    """Part numbers from the index of the embedding that each one scales.

    Args:
        fields: RecBole's form of numeric features, ``(..., 2)`` of value and index.

    Returns:
        The values ``(..., 1)`` and the indices ``(...)``.
    """
    values, indices = fields.unbind(-1)
    return values.unsqueeze(-1), indices.long()
