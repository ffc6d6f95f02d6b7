"""What a dataset script declares: the raw files' columns, and where the files can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .columns import Column
from .hashing import share
from .raw_file import Form, Splitter


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
class SideTable:
    """A raw file of which the rows of another one take their user's or item's attributes.

    Attributes:
        raw_name: the raw file's published name; ``*`` stands for any characters.
        form: how its lines are written.
        columns: its raw columns, in the order of the file; their fields become fields of the rows.
        key: the column whose texts differ from line to line; it makes no field.
        of: the column of the rows whose texts are these keys.
        describes: the entity, as ``user`` or ``item``, that the key names, if it names one.
        complete: whether each row must have its line; where not, tokens of a row without are
            ``unk`` and its numbers empty.
    """

    raw_name: str
    form: Form
    columns: tuple[Column, ...]
    key: str
    of: str
    describes: str | None
    complete: bool = False

    @property
    def kept(self) -> tuple[int, ...]:
        """The positions of the columns that make fields."""
        return tuple(place for place, column in enumerate(self.columns) if column.fields)

    @property
    def fields(self) -> tuple[str, ...]:
        """The declared fields."""
        return tuple(field for place in self.kept for field in self.columns[place].fields)

    @property
    def key_column(self) -> Column:
        """The column of the key."""
        return next(column for column in self.columns if column.name == self.key)


@dataclass(frozen=True)
class LeftOut:
    """Rows that a dataset does not have, though its raw file does.

    Attributes:
        column: the column, or the field, that decides.
        is_left_out: whether a row with such a text of it is left out.
        reason: what these rows are, as words that follow "rows ".
    """

    column: str
    is_left_out: Callable[[str], bool]
    reason: str


@dataclass(frozen=True)
class Converter:
    """A dataset: how its raw files become RecBole atomic files, and what is known of it.

    Attributes:
        name: the dataset's name, and that of its folder and files.
        title: what it is, in a few words.
        raw_name: the raw file's published name, or a pattern of it, as ``*_train.csv``.
        form: how its lines are written.
        columns: the raw columns, in the header's order.
        entities: users and items, and what else is counted.
        label: the raw column that says whether a row is positive.
        is_positive: whether a text of ``label`` is.
        scenario: the field whose values are the scenarios by default.
        tallied: further fields of few values whose rows and positives are counted.
        key: a raw column whose values should all differ, ``None`` where there is none.
        split_by: a field, as a date, whose last value makes the test set and whose last but one
            the validation set: three files ``NAME.train.inter`` and so on instead of one.
        parts: the part of each value of ``split_by``, as train, where the raw files give it.
        row_for_each: a raw column of lists, separated by blanks, each of whose elements makes a
            row, ``None`` where each line is one.
        several_files: whether files of one name may lie in several folders; all are read, one
            after the other.
        side_tables: further raw files, with attributes of users and items.
        left_out: rows that are left out.
        sampled_by: the column by whose texts a sample is drawn, that of the users by default.
        other_forms: the same dataset of other raw files.
        homepage: the page where the file can be had, ``None`` where it is not public.
        download_url: the file itself, where it is free for all to fetch.
        licence: what is known of it.
        published: counts to compare with, by the names of ``ConversionReport.counts``.
        version: to be raised when other atomic files come of the same raw file.
    """

    name: str
    title: str
    raw_name: str
    form: Form
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
    parts: Mapping[str, str] | None = None
    row_for_each: str | None = None
    several_files: bool = False
    side_tables: tuple[SideTable, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    sampled_by: str | None = None
    other_forms: tuple[Converter, ...] = ()
    download_url: str | None = None
    published: Mapping[str, int] = field(default_factory=dict)
    version: int = 1

    @property
    def raw_names(self) -> tuple[str, ...]:
        """The published names of all raw files."""
        return (self.raw_name, *(table.raw_name for table in self.side_tables))

    @property
    def has_one_file(self) -> bool:
        """Whether the dataset is always made of one raw file, a row a line."""
        several = self.side_tables or self.other_forms or self.row_for_each is not None
        return not (several or self.several_files)

    @property
    def all_tallied(self) -> tuple[str, ...]:
        """The fields whose rows and positives are counted by value, each once."""
        split_by = () if self.split_by is None else (self.split_by,)
        return tuple(dict.fromkeys((self.scenario, *self.tallied, *split_by)))

    @property
    def columns_without_label(self) -> tuple[Column, ...]:
        """The raw columns of rows that are to be scored, in the header's order."""
        return tuple(column for column in self.columns if column.name != self.label)

    def outside_of_sample(self, size: float) -> LeftOut:
        """What leaves out the rows outside of a sample of users, or of what stands for them.

        Args:
            size: the share of them in the sample, in (0, 1].
        """
        users = (entity.column for entity in self.entities if entity.name == "user")
        column = self.sampled_by or next(users)
        return LeftOut(column, lambda text: share(text) >= size, "outside of the sample")

    def splitter(self, columns: Sequence[Column]) -> Splitter:
        """What takes lines of some of the columns apart."""
        return splitter_of(self.form, columns)

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


def splitter_of(form: Form, columns: Sequence[Column]) -> Splitter:
    """What takes lines of some columns apart: of those that the raw file has."""
    return form.splitter(tuple(column.name for column in columns if not column.made_of))
