"""What a dataset script declares: the raw file's columns, and where the file can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .columns import Column
from .raw_file import LineSplitter


@dataclass(frozen=True)
class Entity:
    """What the ids of one column stand for.

    Attributes:
        name: ``user``, ``item`` or another noun whose plural ends in s.
        column: the raw column of the ids.
        has_file: whether its attributes go to a file of its own, ``NAME.user`` or ``NAME.item``;
            one without is only counted.
    """

    name: str
    column: str
    has_file: bool = True


@dataclass(frozen=True)
class Converter:
    """A dataset: how its raw file becomes RecBole atomic files, and what is known of it.

    Attributes:
        name: the dataset's name, and that of its folder and files.
        title: what it is, in a few words.
        raw_name: the raw file's published name.
        separator: the character between two raw values.
        quoted: whether a raw value may stand in double quotes.
        columns: the raw columns, in the header's order.
        entities: users and items, and what else is counted.
        label: the raw column that says whether a row is positive.
        is_positive: whether a text of ``label`` is.
        scenario: the field whose values are the scenarios by default.
        tallied: further fields of few values whose rows and positives are counted.
        key: a raw column whose values should all differ, ``None`` where there is none.
        split_by: a field, as a date, whose last value makes the test set and whose last but one
            the validation set: three files ``NAME.train.inter`` and so on instead of one.
        homepage: the page where the file can be had, ``None`` where it is not public.
        download_url: the file itself, where it is free for all to fetch.
        licence: what is known of it.
        published: counts to compare with, by the names of ``ConversionReport.counts``.
        version: to be raised when other atomic files come of the same raw file.
    """

    name: str
    title: str
    raw_name: str
    separator: str
    quoted: bool
    columns: tuple[Column, ...]
    entities: tuple[Entity, ...]
    label: str
    is_positive: Callable[[str], bool]
    scenario: str
    homepage: str | None
    licence: str
    tallied: tuple[str, ...] = ()
    key: str | None = None
    split_by: str | None = None
    download_url: str | None = None
    published: Mapping[str, int] = field(default_factory=dict)
    version: int = 1

    @property
    def all_tallied(self) -> tuple[str, ...]:
        """The fields whose rows and positives are counted by value, each once."""
        split_by = () if self.split_by is None else (self.split_by,)
        return tuple(dict.fromkeys((self.scenario, *self.tallied, *split_by)))

    @property
    def columns_without_label(self) -> tuple[Column, ...]:
        """The raw columns of rows that are to be scored, in the header's order."""
        return tuple(column for column in self.columns if column.name != self.label)

    def splitter(self, columns: Sequence[Column]) -> LineSplitter:
        """What takes lines of some of the columns apart."""
        names = tuple(column.name for column in columns)
        return LineSplitter(names, self.separator, self.quoted)

    def column(self, name: str) -> int:
        """The position of a raw column."""
        return [column.name for column in self.columns].index(name)

    def field(self, name: str) -> tuple[int, int]:
        """The position of the column that makes a field, and of the field among its fields."""
        return next(
            (position, place)
            for position, column in enumerate(self.columns)
            for place, declared in enumerate(column.fields)
            if declared.partition(":")[0] == name
        )
