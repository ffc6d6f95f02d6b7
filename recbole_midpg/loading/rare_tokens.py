"""Which tokens of a field are so rare that a model reads them as one: the unknown token.

An embedding that few rows train stays near where it was drawn, and one that no row trains is noise
in every score that reads it. Tokens with fewer than ``min_count`` training rows are therefore read
as one more token, ``[UNK]``, which their rows train together. New rows' tokens that training has
not seen are read as it too. A missing value is none of them: it stays ``[PAD]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.loading.atomic_reader import Integers, Tokens

UNKNOWN = "[UNK]"
"""The unknown token, the last one that training gives a field."""

_BLOCK_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class RareTokens:
    """The rare tokens of a field.

    Attributes:
        is_rare: of each token, ``[PAD]`` first, whether it is rare, ``(tokens,)``.
        added: how many tokens stand behind the unknown one: those of rows that were learned later,
            of which none is rare.
    """

    is_rare: NDArray[np.bool_]
    added: int = 0

    @classmethod
    def fit(cls, rows: NDArray[np.floating], min_count: int, tokens: Tokens) -> RareTokens:
        """Find the tokens with fewer than ``min_count`` rows.

        Args:
            rows: how many rows have each token, ``(tokens,)``.
            min_count: from how many rows on a token is not rare.
            tokens: the tokens, ``[PAD]`` first; one that is written ``[UNK]`` is always rare.
        """
        is_rare = rows < min_count
        is_rare[tokens.find([UNKNOWN])] = True
        is_rare[0] = False
        return cls(is_rare)

    @property
    def unknown(self) -> int:
        """The id of the unknown token."""
        return len(self.is_rare)

    @cached_property
    def read_as(self) -> Integers:
        """The id as which each id is read, ``(tokens + 1 + added,)``, narrow."""
        size = self.unknown + 1 + self.added
        ids = np.arange(size, dtype=np.min_scalar_type(-size))
        ids[: self.unknown][self.is_rare] = self.unknown
        return ids

    def equals(self, other: RareTokens) -> bool:
        """Whether the same tokens are rare in another field table of as many."""
        return np.array_equal(self.is_rare, other.is_rare)

    def to_plain(self) -> dict[str, Any]:
        """The rare tokens in a bit each."""
        bits = np.packbits(self.is_rare)
        return {"tokens": len(self.is_rare), "bits": bits, "added": self.added}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RareTokens:
        """Undo :meth:`to_plain`.

        Raises:
            ValueError: there are not as many bits as tokens, or ``[PAD]`` is rare.
        """
        count, bits = int(plain["tokens"]), np.asarray(plain["bits"], np.uint8)
        added = int(plain.get("added", 0))
        if count < 1 or added < 0 or bits.shape != (-(-count // 8),):
            raise ValueError(f"{bits.size} bytes are not the bits of {count} tokens")
        is_rare = np.unpackbits(bits, count=count).astype(np.bool_)
        if is_rare[0]:
            raise ValueError("[PAD] is no rare token")
        return cls(is_rare, added)


def rows_by_token(
    ids: Integers, size: int, weights: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Count the rows of each token; one that has it twice counts once.

    Args:
        ids: the token of each row, ``(rows,)``, or the sequence of each, ``(rows, length)``.
        size: how many tokens there are.
        weights: for how many rows each one stands, ``(rows,)``; for one by default.

    Returns:
        ``(size,)``.
    """
    counts = np.zeros(size)
    for part, weight in _blocks(ids, weights):
        if part.ndim == 1:
            counts += np.bincount(part, weight, minlength=size)
            continue
        ordered = np.sort(part, axis=1)
        first = np.ones(ordered.shape, np.bool_)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        repeated = None if weight is None else np.repeat(weight, first.sum(axis=1))
        counts += np.bincount(ordered[first], repeated, minlength=size)
    return counts


def rows_with_rare(
    ids: Integers, rare: RareTokens, weights: NDArray[np.floating] | None = None
) -> int:
    """Count the rows with a rare token; the arguments are those of :func:`rows_by_token`."""
    total = 0.0
    for part, weight in _blocks(ids, weights):
        found = rare.is_rare[part].reshape(len(part), -1).any(axis=1)
        total += found.sum() if weight is None else weight[found].sum()
    return int(total)


def _blocks(
    ids: Integers, weights: NDArray[np.floating] | None
) -> Iterator[tuple[Integers, NDArray[np.floating] | None]]:
    """Parts of the rows, for numpy counts in eight bytes a value."""
    for start in range(0, len(ids), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        yield ids[rows], None if weights is None else weights[rows]
