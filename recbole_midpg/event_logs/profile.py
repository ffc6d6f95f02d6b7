"""What a pass over a log finds out about its columns, in memory that does not grow with the log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.evaluation.binary_metrics import auc
from recbole_midpg.event_logs.distinct import Distinct, spread, text_of, texts_of
from recbole_midpg.event_logs.log_files import LogPart
from recbole_midpg.event_logs.schema import PADDING, Outcome, outcome_word
from recbole_midpg.event_logs.times import ISO, TimeForm, are_plausible
from recbole_midpg.loading.atomic_reader import MISSING

FEW = 1_000
"""Distinct values of a column that are remembered."""
SEPARATORS = ("|", ";", ",")
"""What may stand between the elements of a sequence."""

_SAMPLE_ROWS = 100_000
# Distinct values are counted by which of so many places their hashes fall on: the share of places
# that stay empty tells how many there were, to a thousandth for up to twenty million.
_PLACES = 1 << 22
_QUANTILES = 64
# A value of a column with few of them that comes with positive rows only, as far as these say.
_VALUES_OF_OUTCOMES = 20
_PURE_ROWS = 20
_PURE = 0.99
_PURE_RATE = 0.7
_DATE = re.compile(r"\s*\d{4}-\d\d?-\d\d?")


@dataclass
class ColumnFacts:
    """What is known of a column's rows, of a block or of all.

    Attributes:
        rows: how many rows there are.
        missing: those without a value.
        missing_words: the words that stand for a missing value in some of them.
        numbers: those with a finite number.
        unix_times: those with a number that is a plausible time since 1970.
        latest: the largest of these numbers.
        dates: those with a point in time in ISO 8601.
        is_whole: whether all numbers are whole ones.
        is_boolean: whether all values are true or false.
        is_list: whether there are lists, as Parquet has them.
        few: the rows of each text, while there are at most :data:`FEW` texts.
        example: its first value.
        no_number: the first value that is no number.
        elements: by separator the share of distinct values that have it, of the first block's.
    """

    rows: int = 0
    missing: int = 0
    missing_words: set[str] = field(default_factory=set)
    numbers: int = 0
    unix_times: int = 0
    latest: float = 0.0
    dates: int = 0
    is_whole: bool = True
    is_boolean: bool = True
    is_list: bool = False
    few: Counter[str] | None = field(default_factory=Counter)
    example: str = ""
    no_number: str = ""
    elements: dict[str, float] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """The rows with a value."""
        return self.rows - self.missing

    def add(self, later: ColumnFacts) -> None:
        """Take in what is known of further rows, which stand below these."""
        self.rows += later.rows
        self.missing += later.missing
        self.missing_words |= later.missing_words
        self.numbers += later.numbers
        self.unix_times += later.unix_times
        self.latest = max(self.latest, later.latest)
        self.dates += later.dates
        self.is_whole &= later.is_whole
        self.is_boolean &= later.is_boolean
        self.is_list |= later.is_list
        self.example = self.example or later.example
        self.no_number = self.no_number or later.no_number
        self.elements = self.elements or later.elements
        if self.few is not None and later.few is not None:
            self.few.update(later.few)
        if self.few is not None and (later.few is None or len(self.few) > FEW):
            self.few = None


@dataclass
class BlockColumn:
    """A column of one block.

    Attributes:
        facts: what is known of it.
        places: on which of the places the hashes of its values fall, each once.
        sample: the texts of some rows.
    """

    facts: ColumnFacts
    places: NDArray[np.uint32]
    sample: NDArray[np.object_]


class ColumnProfile(ColumnFacts):
    """What is known of all of a column, see :class:`ColumnFacts`."""

    def __init__(self) -> None:
        super().__init__()
        self._places = np.zeros(_PLACES, np.bool_)

    @property
    def distinct(self) -> int:
        """How many distinct values there are, about; exact up to :data:`FEW`."""
        if self.few is not None:
            return len(self.few)
        free = _PLACES - int(np.count_nonzero(self._places))
        return min(round(_PLACES * np.log(_PLACES / max(free, 1))), self.present)

    def add_block(self, column: BlockColumn) -> None:
        """Take in the next block."""
        self.add(column.facts)
        self._places[column.places] = True


def summarise_column(column: Distinct, missing: frozenset[str], step: int) -> BlockColumn:
    """Find out about a column of one block.

    Args:
        column: its values.
        missing: words for missing values.
        step: every so many-th row is in the sample.
    """
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
    is_list = len(column.values) > 0 and isinstance(column.values[0], tuple)
    texts = _stripped(column, is_list)
    is_missing = np.array([text in missing for text in texts], np.bool_)
    words = set(texts[is_missing])
    texts[is_missing] = ""
    there = texts != ""
    facts = ColumnFacts(
        rows=len(column),
        missing=len(column) - int(counts[there].sum()),
        missing_words=words,
        is_list=is_list,
    )
    found, counts = texts[there], counts[there]
    places = np.zeros(0, np.uint32)
    if len(found):
        _find_out(facts, column, found, counts)
        hashes = pd.util.hash_array(found, categorize=False)
        places = (hashes % np.uint64(_PLACES)).astype(np.uint32)
    return BlockColumn(facts, places, spread(texts, column.codes[::step]))


def _stripped(column: Distinct, is_list: bool) -> NDArray[np.object_]:
    """The text of each distinct value."""
    values: Iterable[str] = texts_of(column.values)
    if is_list:
        values = [
            " ".join("" if part is None else text_of(part) for part in value)
            for value in np.asarray(column.values)
        ]
    stripped = [text.strip() for text in values]
    texts = np.empty(len(stripped), dtype=object)
    texts[:] = stripped
    return texts


def _find_out(
    facts: ColumnFacts, column: Distinct, texts: NDArray[np.object_], counts: NDArray[np.int64]
) -> None:
    """Fill in what the texts of a block's distinct values tell, at least one."""
    facts.example = str(texts[0])
    facts.elements = {
        mark: float(np.mean([mark in text for text in texts[:FEW]])) for mark in SEPARATORS
    }
    facts.few = None
    if len(texts) <= FEW:
        # Texts that differ in white space alone are one.
        facts.few = Counter()
        for text, count in zip(texts.tolist(), counts.tolist(), strict=True):
            facts.few[text] += count
    facts.is_boolean = len(texts) <= FEW and all(
        text.lower() in {"true", "false"} for text in texts
    )
    if isinstance(column.values, pd.DatetimeIndex):
        facts.dates = int(counts.sum())
    elif _DATE.match(facts.example):
        facts.dates = int(counts[~np.isnan(TimeForm(ISO).seconds(texts))].sum())
    # Of many texts the first ones tell whether to look at all of them.
    tried = texts if len(texts) <= FEW or _numbers(texts[:FEW]).any() else texts[:FEW]
    numbers = _numbers(tried)
    facts.numbers = int(counts[: len(tried)][numbers].sum())
    if not numbers.all():
        facts.no_number = str(tried[~numbers][0])
    if numbers.any():
        values = tried[numbers].astype(np.float64)
        facts.is_whole = bool((values % 1 == 0).all())
        times = are_plausible(values)
        facts.unix_times = int(counts[: len(tried)][numbers][times].sum())
        facts.latest = float(values[times].max(initial=0.0))


def _numbers(texts: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which texts are finite numbers, ``(texts,)``."""
    read = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    return np.isfinite(read.to_numpy(np.float64))


@dataclass
class BlockSummary:
    """What is known of a block.

    Attributes:
        rows: how many it has.
        columns: its columns.
        step: every so many-th row is in the sample.
        positives: the label's values that are 1, of those that are there.
    """

    rows: int
    columns: Mapping[str, BlockColumn]
    step: int
    positives: set[str]


def summarise(
    sampled: tuple[LogPart, int], label: Outcome, missing: frozenset[str]
) -> BlockSummary:
    """Find out about some rows.

    Args:
        sampled: the rows, and every how many-th is in the sample.
        label: the column that is predicted.
        missing: words for missing values.
    """
    part, step = sampled
    block = part.block()
    columns = {
        name: summarise_column(column, missing, step) for name, column in block.columns.items()
    }
    texts = {text.strip() for text in block.columns[label.name].texts()} - missing
    positives = set(map(outcome_word, texts)) & set(label.positive)
    return BlockSummary(len(block), columns, step, positives)


@dataclass
class LogProfile:
    """What is known of a log.

    Args:
        names: its columns.
        label: the column that is predicted, of which the others may tell too much.
        missing: words for missing values beside those of every atomic file.

    Attributes:
        columns: the profile of each column.
        rows: how many rows there are.
        step: every so many-th row is in the sample.
        positives: the label's values that are 1, of those that are there.
    """

    names: Sequence[str]
    label: Outcome
    missing: Sequence[str] = ()
    rows: int = 0
    step: int = 1
    positives: set[str] = field(default_factory=set)
    columns: dict[str, ColumnProfile] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = {name: ColumnProfile() for name in self.names}
        self._sample: dict[str, list[NDArray[np.object_]]] = {name: [] for name in self.names}

    @property
    def missing_words(self) -> frozenset[str]:
        """All words for missing values."""
        return frozenset((*MISSING, PADDING, *self.missing))

    @property
    def unseen_missing(self) -> list[str]:
        """The given words for missing values that no column has as a whole value."""
        seen = set().union(*(column.missing_words for column in self.columns.values()))
        return [word for word in self.missing if word not in seen | {*MISSING, PADDING}]

    def add(self, block: BlockSummary) -> None:
        """Take in the next block, whose sample may have been taken with an earlier step."""
        self.rows += block.rows
        self.positives |= block.positives
        rows = slice(None, None, self.step // block.step)
        for name, profile in self.columns.items():
            profile.add_block(block.columns[name])
            self._sample[name].append(block.columns[name].sample[rows])
        # Once there are too many rows, every second one is let go, and half as many are taken.
        if sum(map(len, self._sample[self.label.name])) > _SAMPLE_ROWS:
            self.step *= 2
            for name, parts in self._sample.items():
                self._sample[name] = [np.concatenate(parts)[::2]]

    def telling(self, name: str) -> float:
        """How well a column tells the label by itself: the AUC, 0.5 where it says nothing.

        Half of a sample's rows give the rate of positives of each value, or of each of 64 ranges
        of numbers, and the other half is ranked by it.
        """
        labels = self._labels()
        known = labels >= 0
        labels = labels[known]
        codes = self._codes(name)[known]
        fitted = np.arange(len(labels)) % 2 == 0
        if fitted.all():
            return 0.5
        rate = labels[fitted].mean()
        positives = np.bincount(codes[fitted], labels[fitted], minlength=codes.max() + 1)
        rows = np.bincount(codes[fitted], minlength=codes.max() + 1)
        scores = ((positives + rate) / (rows + 1))[codes[~fitted]]
        area = auc(labels[~fitted], scores)
        return 0.5 if np.isnan(area) else area

    def follows_from(self, name: str) -> bool:
        """Whether a column of few values has one that comes with positive rows only.

        As a purchase with clicks: it says little of most rows and is known too late.
        """
        few, labels = self.columns[name].few, self._labels()
        if few is None or len(few) > _VALUES_OF_OUTCOMES:
            return False
        codes = self._codes(name)[labels >= 0]
        labels = labels[labels >= 0]
        rows = np.bincount(codes)
        pure = (rows >= _PURE_ROWS) & (np.bincount(codes, labels) >= _PURE * rows)
        return bool(pure.any()) and labels.mean() < _PURE_RATE

    def _labels(self) -> NDArray[np.float64]:
        """The sample's labels, -1 where there is none, ``(rows,)``."""
        codes, texts = pd.factorize(np.concatenate(self._sample[self.label.name]))
        words = [outcome_word(text) for text in texts]
        numbers = [
            1.0 if word in self.label.positive else 0.0 if self._is_negative(word) else -1.0
            for word in words
        ]
        return np.array(numbers, np.float64)[codes]

    def _is_negative(self, word: str) -> bool:
        negative = self.label.negative
        return word in negative if negative is not None else word != ""

    def _codes(self, name: str) -> NDArray[np.int64]:
        """The sample's values of a column, as numbers from 0; of many numbers their ranges."""
        texts = np.concatenate(self._sample[name])
        profile = self.columns[name]
        if profile.few is None and profile.numbers == profile.present:
            numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy()
            bounds = np.nanquantile(numbers, np.linspace(0, 1, _QUANTILES + 1)[1:-1])
            return np.where(
                np.isnan(numbers), _QUANTILES, np.searchsorted(np.unique(bounds), numbers)
            )
        return pd.factorize(texts)[0].astype(np.int64)
