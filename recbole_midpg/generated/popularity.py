"""Long-tailed popularity, and attributes that hit published numbers of entities and rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Integers = NDArray[np.int64]

ROWS_BY_HOUR = (
    *(25, 14, 8, 6, 5, 6, 11, 20, 31, 39, 46, 46),
    *(45, 46, 47, 47, 46, 44, 45, 52, 62, 68, 63, 42),
)
"""How busy the hours of a day are, 0 to 23: most in the evening, least before dawn. Invented."""


def long_tailed_counts(random: Generator, size: int, total: int, spread: float) -> Integers:
    r"""Share rows among entities so that each has one and few have many.

    .. math:: c_j = 1 + x_j, \quad x \sim \text{Multinomial}(T - n,\; w_j \propto e^{\tau g_j}),
        \quad g_j \sim N(0, 1)

    Args:
        random: the source of randomness.
        size: entities :math:`n`.
        total: rows :math:`T`, at least ``size``.
        spread: :math:`\tau`, the log-normal's standard deviation; larger means a longer tail.

    Returns:
        The rows of each entity, ``(size,)``, all at least 1.
    """
    weights = np.exp(spread * random.standard_normal(size))
    return 1 + random.multinomial(total - size, weights / weights.sum()).astype(np.int64)


def subset_with_total(
    random: Generator, counts: Integers, candidates: Integers, total: int
) -> Integers:
    """Pick entities at random until they have a given number of rows together.

    Args:
        random: the source of randomness.
        counts: the rows of every entity.
        candidates: the entities to pick from.
        total: the rows wanted.

    Returns:
        The entities picked; their rows add up to ``total`` where the rest holds entities small
        enough to fill the last gap, and to a little less where not.
    """
    order = random.permutation(candidates)
    cumulated = np.cumsum(counts[order])
    n_first = int(np.searchsorted(cumulated, total, side="right"))
    gap = total - (int(cumulated[n_first - 1]) if n_first else 0)
    rest = order[n_first:]
    filling = []
    for entity in rest[np.argsort(-counts[rest], kind="stable")]:
        if gap == 0:
            break
        if counts[entity] <= gap:
            filling.append(entity)
            gap -= int(counts[entity])
    return np.concatenate([order[:n_first], np.array(filling, dtype=order.dtype)])


def subset_of_size(
    random: Generator, counts: Integers, candidates: Integers, size: int, total: int
) -> Integers:
    """Pick so many entities that have so many rows together.

    Among the candidates in the order of their rows, with ties in random order, the run of ``size``
    neighbours whose rows come nearest to ``total`` is taken; then one of them is exchanged to
    close the gap that is left.

    Args:
        random: the source of randomness.
        counts: the rows of every entity.
        candidates: the entities to pick from.
        size: how many to pick.
        total: the rows wanted.

    Returns:
        The entities picked, ``(size,)``; their rows are as near to ``total`` as this comes.
    """
    order = random.permutation(candidates)
    order = order[np.argsort(counts[order], kind="stable")]
    cumulated = np.concatenate([[0], np.cumsum(counts[order])])
    sums = cumulated[size:] - cumulated[:-size]
    start = int(np.argmin(np.abs(sums - total)))
    chosen = order[start : start + size].copy()
    gap = total - int(sums[start])
    outside = np.concatenate([order[:start], order[start + size :]])
    if gap != 0:
        for place in range(size):
            fitting = np.flatnonzero(counts[outside] == counts[chosen[place]] + gap)
            if len(fitting):
                chosen[place] = outside[fitting[0]]
                break
    return chosen


def drawn(random: Generator, shares: Sequence[float], size: int) -> Integers:
    """Draw values 0, 1, ... with given shares, which need not add up to one; ``(size,)``."""
    inner = np.cumsum(shares)[:-1] / np.sum(shares)
    return np.searchsorted(inner, random.random(size), side="right").astype(np.int64)


def shared_counts(shares: Sequence[float], size: int) -> Integers:
    """Divide ``size`` in given shares, which need not add up to one; exact but for rounding."""
    cumulated = np.cumsum(shares)
    ends = np.rint(cumulated / cumulated[-1] * size).astype(np.int64)
    return np.diff(ends, prepend=0)


def shared_out(random: Generator, shares: Sequence[float], size: int) -> Integers:
    """Give each of ``size`` places one of the values 0, 1, ..., in given shares.

    Args:
        random: the source of randomness.
        shares: of the values; they need not add up to one.
        size: the number of places.

    Returns:
        The value of each place, ``(size,)``; each value's number is exact but for rounding.
    """
    return random.permutation(np.repeat(np.arange(len(shares)), shared_counts(shares, size)))


def by_first_appearance(codes: Integers) -> tuple[Integers, Integers]:
    """Number entities in the order of their first rows.

    Args:
        codes: the entity of each row.

    Returns:
        The new number of each row's entity, and the old number of each new one.
    """
    old, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    new = np.empty_like(order)
    new[order] = np.arange(len(order))
    return new[inverse], old[order]


def scaled(count: int, rows: int, published_rows: int, power: float = 1.0, least: int = 1) -> int:
    r"""What a published count becomes at another number of rows.

    .. math:: \max(\text{least}, \text{count} \cdot (\text{rows} / \text{published})^{\text{power}})

    Args:
        count: the published count.
        rows: the rows to be made.
        published_rows: the rows that the count belongs to.
        power: 1 for what grows with the rows, 1/2 for catalogues, which grow more slowly.
        least: what it never falls below.

    Returns:
        The count, rounded.
    """
    return max(least, round(count * (rows / published_rows) ** power))
