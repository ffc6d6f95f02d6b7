"""What becomes of each column of a log: by what the user says of it, else by stated rules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.event_logs.profile import FEW, ColumnProfile, LogProfile
from recbole_midpg.event_logs.schema import (
    AS_WRITTEN,
    BOOLEAN,
    WHOLE,
    LogColumn,
    LogForm,
    LogSchema,
    Outcome,
    outcome_word,
)
from recbole_midpg.event_logs.times import (
    ISO,
    PLAUSIBLE_YEARS,
    UNITS,
    TimeForm,
    require_time_format,
    require_zone,
    shown_time,
    unit_of,
)

FEW_WHOLE_NUMBERS = 100
"""Whole numbers of at most so many distinct values are tokens."""
MOSTLY_MISSING = 0.99
"""A column of which this share is missing is left out."""
TELLING = 0.97
"""A column that tells the label with this AUC by itself is left out: it is an outcome of it."""
TELLING_OF_TWO = 0.9
"""The same for a column of two values."""
ALL_DISTINCT = 0.95
"""A column in which this share of the values is distinct is left out, as an id of rows."""

_MOSTLY = 0.9
_ID_ROWS = 100
_IN_SEQUENCE = 0.2
_IDS = re.compile(r"(^|[_\W])(id|ids|code|key|no|nr|zip|hash|sku|ean)$|Id$|ID$")
_NOT_IN_NAMES = re.compile(r"[\s:,;'\"#\[\]{}\0-\x1f]+")
_LONGEST_EXAMPLE = 24
_MOST_NAMED = 20
_SEQ_SEPARATOR = "|"


@dataclass(frozen=True)
class ColumnRoles:
    """What the user says of columns.

    Attributes:
        label: the column that is predicted.
        user: the user's id.
        item: the item's id.
        scenario: columns that make the scenario.
        time: the event's time.
        positive: the label's texts that are 1; by default 1 and true.
        given: the outcome that a row must have to be trained on.
        outcomes: others that are loaded and are no features.
        multi: by column what stands between the elements of its sequences.
        number: columns that are numbers.
        token: columns that are tokens.
        drop: columns to leave out.
        time_format: how ``time`` is written, one of ``times.UNITS``, ``iso``, or a pattern of
            ``strptime``; by default what the data show.
        zone: the time zone of times that name none.
        missing: words for missing values.
    """

    label: str
    user: str
    item: str
    scenario: tuple[str, ...] = ()
    time: str | None = None
    positive: tuple[str, ...] = ()
    given: str | None = None
    outcomes: tuple[str, ...] = ()
    multi: Mapping[str, str] = field(default_factory=dict)
    number: tuple[str, ...] = ()
    token: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    time_format: str | None = None
    zone: str = "UTC"
    missing: tuple[str, ...] = ()

    def options(self) -> Iterator[tuple[str, str]]:
        """Each option that names a column, and the column."""
        yield from (("--label", self.label), ("--user", self.user), ("--item", self.item))
        yield from (("--scenario", name) for name in self.scenario)
        if self.time is not None:
            yield "--time", self.time
        if self.given is not None:
            yield "--given", self.given
        yield from (("--outcome", name) for name in self.outcomes)
        yield from (("--multi", name) for name in self.multi)
        yield from (("--number", name) for name in self.number)
        yield from (("--token", name) for name in self.token)
        yield from (("--drop", name) for name in self.drop)

    def check(self, names: Sequence[str]) -> None:
        """Check the options against each other and against a log's columns.

        Raises:
            UsageError: a column is not there, or has two meanings.
        """
        meanings: dict[str, list[str]] = {}
        for option, name in self.options():
            if name not in names:
                raise UsageError(
                    f"{option}: there is no column {name!r}{expected_some_of(names, name)}"
                )
            before = meanings.setdefault(name, [])
            if option in before:
                raise UsageError(f"{option}: column {name!r} is named twice, expected once.")
            for other in before:
                if not _go_together({other, option}):
                    raise UsageError(
                        f"column {name!r}: {other} and {option} name it, expected one of them."
                    )
            before.append(option)
        for option, value, usual in (
            ("--time-format", self.time_format, None),
            ("--zone", self.zone, "UTC"),
        ):
            if self.time is None and value != usual:
                raise UsageError(f"{option}: {value!r} is for --time, which is absent.")
        if self.time_format is not None:
            require_time_format("--time-format", self.time_format)
        require_zone("--zone", self.zone)

    def label_outcome(self) -> Outcome:
        """The label."""
        name = field_name(self.label)
        if not self.positive:
            return Outcome(self.label, name)
        return Outcome(self.label, name, tuple(map(outcome_word, self.positive)), None)


@dataclass(frozen=True)
class ColumnKind:
    """What becomes of a column, and why.

    Attributes:
        name: the column.
        kind: ``token``, ``sequence``, ``number``, ``time``, ``label``, ``outcome``, ``given`` or
            ``left out``.
        reason: in a few words.
    """

    name: str
    kind: str
    reason: str


def _go_together(options: set[str]) -> bool:
    """Whether two options may name the same column."""
    if "--multi" in options:
        return not options.isdisjoint({"--number", "--token"})
    return "--token" in options and options <= {"--scenario", "--token", "--user", "--item"}


def require_positives(profile: LogProfile, roles: ColumnRoles) -> None:
    """Check that each value of ``--positive`` is there.

    Raises:
        UsageError: no row has one of them.
    """
    absent = [word for word in roles.positive if outcome_word(word) not in profile.positives]
    if absent:
        label = profile.columns[roles.label]
        allowed = f"its values, as {label.example!r}"
        if label.few is not None and len(label.few) <= _MOST_NAMED:
            allowed = f"some of {', '.join(sorted(label.few))}"
        raise UsageError(
            f"--positive: no row has {absent[0]!r} in column {roles.label!r}, expected {allowed}."
        )


def field_name(name: str) -> str:
    """A column's name as a field can have it: colons, white space and marks become ``_``."""
    return _NOT_IN_NAMES.sub("_", name).strip("_") or "column"


def decide(
    profile: LogProfile, roles: ColumnRoles, unusable: Mapping[str, str]
) -> list[ColumnKind]:
    """Decide what becomes of each column.

    Args:
        profile: of the log.
        roles: what the user says.
        unusable: columns that cannot be read, with their types.
    """
    kinds = [_kind(name, profile, roles) for name in profile.columns]
    tables = [
        ColumnKind(name, "left out", f"holds tables ({kind})") for name, kind in unusable.items()
    ]
    return kinds + tables


def _kind(name: str, profile: LogProfile, roles: ColumnRoles) -> ColumnKind:
    said = _said(name, roles)
    return said if said is not None else ColumnKind(name, *_by_rules(name, profile))


def _said(name: str, roles: ColumnRoles) -> ColumnKind | None:
    """What the user says of a column."""
    kinds = {
        "--label": ("label", "--label"),
        "--given": ("given", "rows in which it is 1 are trained on"),
        "--outcome": ("outcome", "loaded, not a feature"),
        "--time": ("time", "--time"),
        "--multi": ("sequence", "--multi"),
        "--number": ("number", "--number"),
        "--drop": ("left out", "--drop"),
    }
    options = [option for option, column in roles.options() if column == name]
    if not options:
        return None
    for option, (kind, reason) in kinds.items():
        if option in options:
            numeric = option == "--multi" and name in roles.number
            return ColumnKind(name, "sequence of numbers" if numeric else kind, reason)
    return ColumnKind(name, "token", options[0])


def _by_rules(name: str, profile: LogProfile) -> tuple[str, str]:  # noqa: PLR0911 - a rule a line
    column = profile.columns[name]
    if column.present <= (1 - MOSTLY_MISSING) * column.rows:
        return "left out", "missing in nearly all rows" if column.present else "always missing"
    if column.distinct == 1 and not column.missing:
        return "left out", "the same in all rows"
    area = profile.telling(name)
    is_pair = column.few is not None and len(column.few) + (column.missing > 0) == 2  # noqa: PLR2004
    if area >= (TELLING_OF_TWO if is_pair else TELLING):
        return "left out", f"tells the label (AUC {area:.3f}): an outcome? --token keeps it"
    if profile.follows_from(name):
        return (
            "left out",
            "a value of it comes with positive rows only: an outcome? --token keeps it",
        )
    if column.is_list:
        return "sequence", "lists"
    if column.dates >= _MOSTLY * column.present:
        return "left out", "a time besides --time"
    is_number = column.numbers == column.present
    has_ids = column.rows >= _ID_ROWS and column.distinct >= ALL_DISTINCT * column.present
    if has_ids and (column.is_whole or not is_number):
        return "left out", "different in each row: an id of rows?"
    return _number(name, column) if is_number else _text(column)


def _number(name: str, column: ColumnProfile) -> tuple[str, str]:
    if not column.is_whole:
        return "number", "numbers with fractions"
    if _IDS.search(name):
        return "token", "whole numbers, named as ids are"
    if column.few is not None and len(column.few) <= FEW_WHOLE_NUMBERS:
        return "token", f"whole numbers, at most {FEW_WHOLE_NUMBERS} distinct"
    return "number", f"whole numbers, more than {FEW_WHOLE_NUMBERS} distinct"


def _text(column: ColumnProfile) -> tuple[str, str]:
    if column.is_boolean:
        return "token", "true or false"
    for mark, share in column.elements.items():
        if share >= _IN_SEQUENCE and _has_few_elements(column, mark):
            return "sequence", f"elements between {mark!r}"
    if column.numbers >= _MOSTLY * column.present:
        return "token", f"numbers, and {column.no_number[:_LONGEST_EXAMPLE]!r} (--missing?)"
    return "token", "text"


def _has_few_elements(column: ColumnProfile, mark: str) -> bool:
    """Whether fewer distinct elements than texts stand between the marks."""
    if column.few is None:
        return False
    elements = {element.strip() for text in column.few for element in text.split(mark)}
    return len(elements) < len(column.few)


# --------------------------------------------------------------------------------------------------


def make_schema(
    profile: LogProfile, roles: ColumnRoles, kinds: Sequence[ColumnKind], form: LogForm
) -> LogSchema:
    """Make the schema of a log whose columns are decided on.

    Raises:
        UsageError: the time is written in a form that has to be named.
    """
    order = [roles.user, roles.item, *roles.scenario]
    rank = {"token": 0, "sequence": 1, "sequence of numbers": 2, "number": 3, "time": 4}
    ranked = sorted(
        (kind for kind in kinds if kind.kind in rank),
        key=lambda kind: (
            order.index(kind.name) if kind.name in order else len(order),
            rank[kind.kind],
        ),
    )
    names: set[str] = set()
    columns = tuple(_column(kind, profile, roles, names) for kind in ranked)
    label = roles.label_outcome()
    outcomes = tuple(Outcome(name, _free_name(name, names)) for name in roles.outcomes)
    separators = {column.separator for column in columns if column.separator not in (None, "\t")}
    return LogSchema(
        form=form,
        columns=columns,
        label=Outcome(label.name, _free_name(label.name, names), label.positive, label.negative),
        outcomes=outcomes,
        given=None if roles.given is None else Outcome(roles.given, field_name(roles.given)),
        missing=roles.missing,
        left_out={kind.name: kind.reason for kind in kinds if kind.kind == "left out"},
        # What no element can hold, where all are separated by it.
        seq_separator=separators.pop() if len(separators) == 1 else _SEQ_SEPARATOR,
    )


def _column(
    kind: ColumnKind, profile: LogProfile, roles: ColumnRoles, names: set[str]
) -> LogColumn:
    column = profile.columns[kind.name]
    name = _free_name(kind.name, names)
    if kind.kind == "time":
        return LogColumn(kind.name, name, "float", time=_time_form(column, kind.name, roles))
    if kind.kind == "number":
        return LogColumn(kind.name, name, "float")
    if kind.kind.startswith("sequence"):
        marks = [mark for mark in column.elements if column.elements[mark] >= _IN_SEQUENCE]
        separator = roles.multi.get(
            kind.name, "|" if column.is_list else (*marks, _SEQ_SEPARATOR)[0]
        )
        return LogColumn(
            kind.name,
            name,
            "token_seq" if kind.kind == "sequence" else "float_seq",
            separator=separator,
        )
    all_whole = column.numbers == column.present and column.is_whole
    spelling = WHOLE if all_whole else BOOLEAN if column.is_boolean else AS_WRITTEN
    return LogColumn(kind.name, name, "token", spelling=spelling)


def _free_name(name: str, taken: set[str]) -> str:
    found = first = field_name(name)
    count = 1
    while found in taken:
        count += 1
        found = f"{first}_{count}"
    taken.add(found)
    return found


def _time_form(column: ColumnProfile, name: str, roles: ColumnRoles) -> TimeForm:
    if roles.time_format is not None:
        return TimeForm(roles.time_format, roles.zone)
    unit = unit_of(column.latest)
    if unit is not None and column.unix_times >= _MOSTLY * column.present:
        return TimeForm(unit, roles.zone, PLAUSIBLE_YEARS)
    if column.dates >= _MOSTLY * column.present:
        return TimeForm(ISO, roles.zone)
    first, last = PLAUSIBLE_YEARS
    example = f"{column.example!r}{_as_unix_time(column.example)}"
    raise UsageError(
        f"--time: of {column.present:,} values of column {name!r}, as {example}, {column.dates:,} "
        f"are times in ISO 8601 and {column.unix_times:,} are numbers since 1970 of the years "
        f"{first} to {last}, expected nine in ten to be one of the two; --time-format says how "
        "others are written, as '%d.%m.%Y %H:%M', %Y%m%d of 20261120, or seconds where they are "
        "in any year."
    )


def _as_unix_time(text: str) -> str:
    """What a number would be as seconds since 1970, as words in brackets; else nothing."""
    try:
        seconds = float(text)
    except ValueError:
        return ""
    shown = shown_time(seconds)
    return f" ({shown} as seconds since 1970)" if shown else ""


def time_words(form: TimeForm) -> str:
    """How times are read, in a few words."""
    if form.form in UNITS:
        return f"{form.form} since 1970"
    return (
        f"{form.form.upper() if form.form == ISO else form.form}, {form.zone} where none is named"
    )


# --------------------------------------------------------------------------------------------------


def table(profile: LogProfile, kinds: Sequence[ColumnKind], names: Mapping[str, str]) -> str:
    """What becomes of each column, a line each.

    Args:
        profile: of the log.
        kinds: what becomes of its columns.
        names: by column the field's name.
    """
    rows = [("column", "becomes", "distinct", "missing", "example", "why")]
    for kind in kinds:
        column = profile.columns.get(kind.name)
        field_of = names.get(kind.name, kind.name)
        becomes = kind.kind if field_of == kind.name else f"{kind.kind} {field_of}"
        if column is None:
            rows.append((kind.name, becomes, "", "", "", kind.reason))
            continue
        exact = column.distinct <= FEW and column.few is not None
        rows.append(
            (
                kind.name,
                becomes,
                f"{column.distinct:,}" if exact else f"~{column.distinct:,}",
                f"{column.missing / max(column.rows, 1):.1%}" if column.missing else "-",
                column.example[:_LONGEST_EXAMPLE],
                kind.reason,
            )
        )
    return _aligned([list(map(_on_one_line, row)) for row in rows], to_the_right={2, 3})


def _on_one_line(text: str) -> str:
    """A text with what would break or colour a line written as Python writes it."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)


def _aligned(rows: Sequence[Sequence[str]], to_the_right: Collection[int]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place in to_the_right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
