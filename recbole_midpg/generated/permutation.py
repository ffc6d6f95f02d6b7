"""A random order of many numbers without a list of them."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_ROUNDS = 4
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Permutation:
    r"""A one-to-one map of the numbers from 0 to ``size - 1``, in constant memory.

    A Feistel network permutes the numbers of an even number of bits: of halves :math:`(l, r)` each
    round makes :math:`(r,\; l \oplus f_k(r))`. Where that leads to ``size`` or beyond, it is
    applied again until it leads back (cycle walking), at most four times on average.

    Args:
        random: the source of the rounds' keys.
        size: how many numbers.
    """

    def __init__(self, random: Generator, size: int) -> None:
        self.size = size
        half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
        self._half = np.uint64(half_bits)
        self._mask = np.uint64((1 << half_bits) - 1)
        self._keys = random.integers(0, 1 << 63, _ROUNDS, dtype=np.uint64)

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map numbers from 0 to ``size - 1``, any shape."""
        values = self._once(numbers.astype(np.uint64))
        while len(outside := np.flatnonzero(values >= self.size)):
            values[outside] = self._once(values[outside])
        return values.astype(np.int64)

    def _once(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            mixed = (right + key) * _MULTIPLIER
            mixed ^= mixed >> np.uint64(29)
            mixed *= _MULTIPLIER
            left, right = right, left ^ (mixed >> np.uint64(33) & self._mask)
        return (left << self._half) | right
