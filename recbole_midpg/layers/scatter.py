"""Means and softmaxes over rows that share an index, as over the edges of a graph's node."""

from __future__ import annotations

import torch
from torch import Tensor


def scatter_mean(src: Tensor, index: Tensor, dim_size: int, dim: int = 0) -> Tensor:
    r"""Average the rows of each index.

    .. math:: m_i = \frac{1}{|\{e : index_e = i\}|} \sum_{e : index_e = i} src_e

    Args:
        src: rows, ``(E, D)``.
        index: the index of each, ``(E,)``, below ``dim_size``.
        dim_size: how many indices there are.
        dim: the dimension of the rows, which is 0; named as ``torch_scatter`` names it.

    Returns:
        ``(dim_size, D)``; zeros where an index has no row.
    """
    sums = src.new_zeros(dim_size, src.shape[1]).index_add(dim, index, src)
    counts = torch.bincount(index, minlength=dim_size).clamp(min=1)
    return sums / counts[:, None]


def scatter_softmax(src: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    r"""Take the softmax of each column over the rows of each index.

    .. math:: p_e = \exp(src_e) / \sum_{e' : index_{e'} = index_e} \exp(src_{e'})

    Args:
        src: rows, ``(E, D)``.
        index: the index of each, ``(E,)``.
        dim: the dimension of the rows, which is 0; named as ``torch_scatter`` names it.

    Returns:
        ``(E, D)``; the rows of an index sum to 1.
    """
    size = int(index.max()) + 1 if len(index) else 0
    places = index[:, None].expand_as(src)
    largest = src.new_full((size, src.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(dim, places, src.detach(), "amax")
    # Subtracting the largest leaves the softmax as it is, and so needs no gradient.
    powers = (src - largest[index]).exp()
    return powers / powers.new_zeros(size, src.shape[1]).index_add(dim, index, powers)[index]
