"""Constants of RecBole's context-aware models: on the device, not copied to it in every batch.

Cause: RecBole's models make the offsets of their fields in the shared table, the indices of pairs
of fields and other constants from Python's and numpy's values in every batch. A GPU has to be
waited for at each copy, and a CUDA graph cannot be captured. Results are the same to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def keeping(**buffers: str) -> Callable[[Any], Any]:
    """Wrap ``__init__`` of a class, so that new objects keep constants as buffers.

    No checkpoint has these buffers.

    Args:
        buffers: the buffers' names, and the attributes whose values they hold, where there are any.
    """

    def wrap(stock: Any) -> Any:
        @functools.wraps(stock)
        def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
            stock(self, *args, **kwargs)
            for name, attribute in buffers.items():
                values = vars(self).get(attribute)
                if values is not None:
                    if name == attribute:
                        delattr(self, attribute)
                    self.register_buffer(name, torch.as_tensor(values), persistent=False)

        return initialize

    return wrap


def embed_tokens(self: Any, tokens: Tensor) -> Tensor:
    """``FMEmbedding.forward``: ``(B, fields)`` to ``(B, fields, D)``."""
    return self.embedding(tokens + self.offsets_kept)


def embed_numbers(self: Any, numbers: Tensor) -> Tensor:
    """``FLEmbedding.forward``: ``(B, fields, 2)`` of value and index to ``(B, fields, D)``."""
    values, indices = numbers.split(1, dim=-1)
    return values * self.embedding(indices.squeeze(-1).long() + self.offsets_kept)


def embed_tokens_for_fields(self: Any, tokens: Any) -> list[Tensor]:
    """FFM's tokens: ``(B, fields)`` to ``(B, fields, D)`` for each field that they meet."""
    if not self.token_feature_names:
        return []
    indices = tokens + self.token_offsets_kept
    return [self.token_embeddings[field](indices) for field in range(self.num_fields)]


def embed_numbers_for_fields(self: Any, numbers: Any) -> list[Tensor]:
    """FFM's numbers: ``(B, fields, 2)`` to ``(B, fields, D)`` for each field that they meet."""
    if not self.float_feature_names:
        return []
    values, indices = numbers.split(1, dim=-1)
    indices = indices.squeeze(-1).long() + self.float_offsets_kept
    return [self.float_embeddings[field](indices) * values for field in range(self.num_fields)]


def pairs_of_fields(self: Any, fields: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides of all pairs of fields: ``(B, fields, D)`` to ``(B, pairs, D)`` each."""
    n_fields = self.num_feature_field
    first, second = torch.triu_indices(n_fields, n_fields, offset=1, device=fields.device)
    return fields[:, first], fields[:, second]


def inner_products(self: Any, fields: Tensor) -> Tensor:
    """``InnerProductLayer.forward``: ``(B, fields, D)`` to ``(B, pairs)``."""
    first, second = pairs_of_fields(self, fields)
    return (first * second).sum(dim=-1)


def outer_products(self: Any, fields: Tensor) -> Tensor:
    """``OuterProductLayer.forward``: ``(B, fields, D)`` to ``(B, pairs)``."""
    first, second = pairs_of_fields(self, fields)
    weighted = (first.unsqueeze(1) * self.kernel.unsqueeze(0)).sum(dim=-1)  # [B, D, pairs]
    return (weighted.transpose(2, 1) * second).sum(dim=-1)


class _MadeOnDevice:
    """A constant that is made where it is wanted: only ``to`` is asked of it.

    Args:
        make: makes it on a device.
    """

    def __init__(self, make: Callable[[Any], Tensor]) -> None:
        self.to = make


def one_number(values: Sequence[float]) -> _MadeOnDevice:
    """Stand in for ``torch.FloatTensor`` of one number."""
    (number,) = values
    return _MadeOnDevice(
        lambda device: torch.full((1,), number, dtype=torch.float32, device=device)
    )


def identity_matrix(size: int) -> _MadeOnDevice:
    """Stand in for ``torch.eye``."""
    return _MadeOnDevice(lambda device: torch.eye(size, device=device))
