"""Counts rows that are copies of an earlier one, by their hashes, eight bytes a row on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_ROWS_AT_ONCE = 1 << 24


def hashes_of(rows: NDArray[np.object_]) -> NDArray[np.uint64]:
    """The hash of each row, a text, ``(rows,)``."""
    return pd.util.hash_array(rows, categorize=False)


class CopyCounter:
    """Counts exact copies of rows.

    Two rows of equal 64-bit hashes count as equal: among 100 million rows that is wrong for one
    with a probability of 0.0003.

    Args:
        path: the file for the hashes, which whoever names it removes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._rows = 0

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Take in the hashes of some rows, see :func:`hashes_of`."""
        hashes.tofile(self._file)
        self._rows += len(hashes)

    def copies(self) -> int:
        """How many of all rows are copies of an earlier one."""
        self._file.close()
        parts = max(1, -(-self._rows // _ROWS_AT_ONCE))
        return self._rows - sum(self._distinct_of(part, parts) for part in range(parts))

    def _distinct_of(self, part: int, parts: int) -> int:
        """The distinct hashes of those that leave a remainder, of 16 million at a time."""
        chosen = []
        with self._path.open("rb") as file:
            while len(hashes := np.fromfile(file, np.uint64, _ROWS_AT_ONCE)):
                chosen.append(hashes[hashes % np.uint64(parts) == part] if parts > 1 else hashes)
        together = np.sort(np.concatenate([np.zeros(0, np.uint64), *chosen]))
        return len(together) and 1 + int(np.count_nonzero(np.diff(together)))
