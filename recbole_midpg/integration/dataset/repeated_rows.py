"""Rows that repeat another one, counted over a dataset and between its splits.

A row that stands in the log twice, as after a join or a file that was appended to itself, is in the
training split and in the test split by chance, and a model that has learned rows by heart is then
judged by what it has seen. Rows are compared as they are loaded, label and time too: the same
features with another label, or at another time, are another row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from recbole.utils import FeatureSource, FeatureType

from recbole_midpg.integration.dataset.compact_interaction import kept_columns

Digests = NDArray[np.uint64]

_COLUMN = "row digest"


def digests_of(frame: Any) -> Digests:
    """Digest each row of a frame in 64 bits; equal rows have equal digests.

    Two of a million rows that differ have the same one with a probability of 3e-8.

    Args:
        frame: columns of numbers, and of arrays of numbers as RecBole keeps sequences. A missing
            number equals a missing one.
    """
    columns = {name: _plain(frame[name].to_numpy()) for name in frame.columns}
    hashed = pd.util.hash_pandas_object(pd.DataFrame(columns), index=False)
    return np.asarray(hashed, dtype=np.uint64)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """A column of numbers, in which the two zeros are one."""
    if values.dtype == object:
        return _of_sequences(values)
    return values + 0.0 if values.dtype.kind == "f" else values


def _of_sequences(rows: NDArray[np.object_]) -> Digests:
    """Digest each row of a column of arrays, or of tuples of arrays; order and length count."""
    if not len(rows):
        return np.zeros(0, np.uint64)
    parts = list(zip(*rows, strict=True)) if isinstance(rows[0], tuple) else [rows]
    digests = np.zeros(len(rows), np.uint64)
    for part in parts:
        lengths = np.fromiter(map(len, part), np.int64, len(part))
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        elements = pd.DataFrame({"place": places, "value": np.concatenate(list(part))})
        hashed = pd.util.hash_pandas_object(elements, index=False).to_numpy()
        # Sums that overflow are still differences of each other.
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashed, dtype=np.uint64)])
        digests = digests * np.uint64(3) + (sums[ends] - sums[ends - lengths])
    return digests


@contextmanager
def following_rows(dataset: Any) -> Iterator[None]:
    """Let each row's digest follow it while a dataset is split, for :func:`take_digests`.

    Args:
        dataset: RecBole's ``Dataset``, loaded and not yet split. Within the context its rows have
            one field more.
    """
    dataset.inter_feat[_COLUMN] = digests_of(dataset.inter_feat).view(np.int64)
    dataset.set_field_property(_COLUMN, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
    try:
        yield
    finally:
        del dataset.inter_feat[_COLUMN]
        for properties in (dataset.field2type, dataset.field2source, dataset.field2seqlen):
            del properties[_COLUMN]


def take_digests(split: Any) -> Digests:
    """Take the digests of a split's rows out of it, where :func:`following_rows` put them."""
    digests = kept_columns(split.inter_feat)[_COLUMN].numpy().view(np.uint64)
    del split.inter_feat[_COLUMN]
    return digests


def repeats(splits: Sequence[Digests]) -> str | None:
    """Say how many rows repeat another one, and how many of the test split's one of training.

    Args:
        splits: the digests of the training split, of validation where there is one, and of test.

    Returns:
        A sentence; ``None`` where no row does.
    """
    rows = np.concatenate(splits)
    n_repeating = len(rows) - len(pd.unique(rows))
    if not n_repeating:
        return None
    train, test = splits[0], splits[-1]
    seen = pd.Series(test).isin(train).mean() if len(test) else 0.0
    return (
        f"{n_repeating:,} of {len(rows):,} rows ({n_repeating / len(rows):.2%}) repeat another row "
        f"exactly, and {seen:.2%} of the test split's rows stand in the training split too."
    )
