"""What the columns of a log mean: from raw values to the fields of a dataset, the same each day.

A dataset that is made of a log keeps its schema beside its files, and every checkpoint of a model
that is trained on it keeps it too (``log_schema``), so that the next file of the log can be read
as the first one was.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.common.report_files import read_json, require_format
from recbole_midpg.event_logs.distinct import Distinct, spread, text_of, texts_of
from recbole_midpg.event_logs.times import TimeForm
from recbole_midpg.loading.atomic_reader import MISSING
from recbole_midpg.loading.column_encoding import BadValueError
from recbole_midpg.loading.number_scalers import LARGEST_NUMBER

SCHEMA_FORMAT = "recbole-midpg log schema 1"
KIND = "schema of a log"

AS_WRITTEN, WHOLE, BOOLEAN = "as written", "whole", "boolean"
"""How tokens are spelled: as they stand there; 7.0 as 7; True as true."""

PADDING = "[PAD]"
_MISSING = frozenset((*MISSING, PADDING))
# What ends a value or a line of an atomic file, and what an atomic file cannot hold at all.
_BREAKS = re.compile("[\t\r\n\0\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_WHOLE = re.compile(r"([+-]?\d+)\.0*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# Whole numbers of more digits are not exact in float64.
_EXACT = 1e15
_POSITIVE, _NEGATIVE = ("1", "true"), ("0", "false")
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class LogForm:
    """The form of a log's files.

    Attributes:
        kind: ``csv`` or ``parquet``.
        separator: of CSV files, what stands between two values.
        quoted: whether a value may stand in double quotes, with ``""`` for a quote inside.
        encoding: of CSV files.
    """

    kind: str = "csv"
    separator: str = ","
    quoted: bool = True
    encoding: str = "utf-8"


@dataclass(frozen=True)
class LogColumn:
    """A column that becomes a field.

    Attributes:
        name: its name in the log.
        field: the field's name.
        type: the field's type: ``token``, ``token_seq``, ``float`` or ``float_seq``.
        spelling: how its tokens are spelled.
        separator: what stands between two elements of a sequence's text.
        time: how it writes points in time; the field is Unix seconds.
    """

    name: str
    field: str
    type: str = "token"
    spelling: str = AS_WRITTEN
    separator: str | None = None
    time: TimeForm | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> LogColumn:
        """Undo ``asdict``."""
        time = plain.get("time")
        return cls(**{**plain, "time": None if time is None else TimeForm.from_plain(time)})

    @property
    def allowed(self) -> str:
        """What its values may be, as words that follow "expected"."""
        if self.time is not None:
            return self.time.allowed
        return "numbers below 3.4e38" if self.type == "float_seq" else "a number below 3.4e38"


@dataclass(frozen=True)
class Outcome:
    """A column of what became of an event: the label, or another one that is never a feature.

    Attributes:
        name: its name in the log.
        field: the field's name; it is 1 or 0.
        positive: the texts that are 1, numbers as whole ones where they are.
        negative: the texts that are 0; ``None`` for all others.
    """

    name: str
    field: str
    positive: tuple[str, ...] = _POSITIVE
    negative: tuple[str, ...] | None = _NEGATIVE

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Outcome:
        """Undo ``asdict``, of JSON's lists too."""
        negative = plain["negative"]
        return cls(
            plain["name"],
            plain["field"],
            tuple(plain["positive"]),
            None if negative is None else tuple(negative),
        )

    @property
    def allowed(self) -> str:
        """What its values may be, as words that follow "expected"."""
        if self.negative is None:
            return "a value"
        return f"{' or '.join(self.positive)} for 1, {' or '.join(self.negative)} for 0"


@dataclass(frozen=True)
class BadValue:
    """A value that its column cannot hold.

    Attributes:
        row: its row, from 0.
        column: the column's name in the log.
        value: its text.
        allowed: what is expected.
    """

    row: int
    column: str
    value: str
    allowed: str

    @property
    def problem(self) -> str:
        """A sentence without its place."""
        shown = repr(self.value[:_LONGEST_SHOWN]) + "..." * (len(self.value) > _LONGEST_SHOWN)
        return f"column {self.column!r}: {shown} is not allowed, expected {self.allowed}."


@dataclass(frozen=True)
class LogSchema:
    """What a log's columns mean.

    Attributes:
        form: of its files.
        columns: those that become fields, but for outcomes.
        label: the outcome that is predicted.
        outcomes: others that are kept beside it, not as features.
        given: the outcome that rows must have to be trained on, as the click of a purchase.
        missing: words that are missing values beside those of every atomic file (``NA``, ...).
        left_out: the columns of which nothing is made, and why.
        seq_separator: what stands between the elements of a sequence in the atomic file.
    """

    form: LogForm
    columns: tuple[LogColumn, ...]
    label: Outcome
    outcomes: tuple[Outcome, ...] = ()
    given: Outcome | None = None
    missing: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    seq_separator: str = "|"

    # ----------------------------------------------------------------------------------------------
    # Fields

    @property
    def types(self) -> dict[str, str]:
        """The type of each field, in the order of the atomic file."""
        outcomes = {outcome.field: "float" for outcome in (*self.outcomes, self.label)}
        return {column.field: column.type for column in self.columns} | outcomes

    @property
    def parts(self) -> tuple[LogColumn | Outcome, ...]:
        """What becomes a field, in the order of the atomic file."""
        return (*self.columns, *self.outcomes, self.label)

    @property
    def raw_names(self) -> dict[str, str]:
        """The column of each field, by the field's name."""
        return {part.field: part.name for part in self.parts}

    @property
    def columns_by_field(self) -> dict[str, str]:
        """As :attr:`raw_names`, and the column of :attr:`given`, which need not be a field."""
        given = {} if self.given is None else {self.given.field: self.given.name}
        return given | self.raw_names

    def fields_of(
        self, columns: Mapping[str, Any], wanted: Collection[str] | None = None
    ) -> dict[str, NDArray[np.object_]]:
        """Make the fields of some rows, as they stand in the atomic file.

        Args:
            columns: raw columns by name, ``(rows,)`` each: arrays, Series, sequences or
                :class:`Distinct`; a frame. Of columns that are not there no field is made.
            wanted: the fields to make; by default all of which the column is there, so the label
                and the other outcomes as well.

        Returns:
            Texts by field, ``(rows,)`` each, empty where a value is missing; a sequence's elements
            are joined by :attr:`seq_separator`.

        Raises:
            BadValueError: a value is not allowed.
        """
        fields, bad = self.read(columns, wanted)
        if bad:
            first = min(bad, key=lambda value: value.row)
            allowed = f"allowed, expected {first.allowed}"
            raise BadValueError(first.row, first.column, first.value, allowed)
        return fields

    def read(
        self, columns: Mapping[str, Any], wanted: Collection[str] | None = None
    ) -> tuple[dict[str, NDArray[np.object_]], list[BadValue]]:
        """Make the fields of some rows, and list what is wrong with them.

        Args:
            columns: see :meth:`fields_of`.
            wanted: see :meth:`fields_of`.

        Returns:
            Texts by field, where a bad value is empty; and the bad values, in the order of the
            columns.
        """
        fields: dict[str, NDArray[np.object_]] = {}
        bad: list[BadValue] = []
        for part in self.parts:
            if part.name in columns and (wanted is None or part.field in wanted):
                column = Distinct.of(columns[part.name])
                fields[part.field] = self._field(part, column, bad)
        return fields, bad

    def is_given(self, columns: Mapping[str, Any]) -> tuple[NDArray[np.bool_], list[BadValue]]:
        """Which rows are trained on, ``(rows,)``: those of which :attr:`given` is 1, else all.

        Args:
            columns: see :meth:`fields_of`.

        Returns:
            The rows, and values of the column that are neither.
        """
        if self.given is None:
            rows = len(Distinct.of(next(iter(columns.values()))))
            return np.ones(rows, np.bool_), []
        bad: list[BadValue] = []
        texts = self._field(self.given, Distinct.of(columns[self.given.name]), bad)
        return texts == "1", bad

    def _field(
        self, part: LogColumn | Outcome, column: Distinct, bad: list[BadValue]
    ) -> NDArray[np.object_]:
        texts, are_bad = self.texts_of(part, column.values)
        for place in np.flatnonzero(are_bad).tolist():
            value = column.values[place]
            shown = text_of(list(value) if isinstance(value, tuple) else value)
            bad.extend(
                BadValue(int(row), part.name, shown, part.allowed)
                for row in np.flatnonzero(column.codes == place)
            )
        return spread(texts, column.codes)

    def texts_of(
        self, part: LogColumn | Outcome, values: Any
    ) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        """The atomic file's texts of distinct values, ``(values,)``, and which values are bad."""
        if isinstance(part, Outcome):
            return self._outcomes(part, values)
        if part.time is not None:
            return self._times(part.time, values)
        if part.type.endswith("_seq"):
            return self._sequences(part, values)
        texts = self._stripped(texts_of(values))
        return self._numbers(texts) if part.type == "float" else self._tokens(part, texts)

    def _stripped(self, texts: Iterable[str]) -> NDArray[np.object_]:
        """Texts without white space around them, missing ones empty."""
        missing = _MISSING.union(self.missing)
        found = [text.strip() for text in texts]
        return _objects(["" if text in missing else text for text in found])

    @staticmethod
    def _tokens(
        part: LogColumn, texts: NDArray[np.object_]
    ) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        return _objects(_spelled(texts.tolist(), part.spelling)), np.zeros(len(texts), np.bool_)

    @staticmethod
    def _numbers(
        texts: NDArray[np.object_],
    ) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        numbers = [_number_text(text) if text else "" for text in texts]
        bad = np.fromiter((number is None for number in numbers), np.bool_, len(numbers))
        return _objects([number or "" for number in numbers]), bad

    def _sequences(
        self, part: LogColumn, values: Any
    ) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        rows = [
            [text_of(element) for element in value if element is not None]
            if isinstance(value, tuple)
            else text_of(value).split(part.separator)
            for value in values
        ]
        elements = _objects(list(dict.fromkeys(element for row in rows for element in row)))
        single = replace(part, type=part.type.removesuffix("_seq"))
        found, are_bad = self.texts_of(single, elements)
        texts = {
            element: text.replace(self.seq_separator, " ")
            for element, text in zip(elements.tolist(), found.tolist(), strict=True)
        }
        bad = set(elements[are_bad])
        joined = [
            self.seq_separator.join(filter(None, map(texts.__getitem__, row))) for row in rows
        ]
        rows_bad = [not bad.isdisjoint(row) for row in rows] if bad else [False] * len(rows)
        return _objects(joined), np.array(rows_bad, np.bool_)

    def _times(self, form: TimeForm, values: Any) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        is_text = values.dtype.kind == "O"
        missing = self._stripped(texts_of(values)) == "" if is_text else np.zeros(len(values), bool)
        seconds = form.seconds(values)
        bad = np.isnan(seconds) & ~missing
        if ((seconds % 1 == 0) & (np.abs(seconds) < _EXACT)).all():
            return _objects(list(map(str, seconds.astype(np.int64).tolist()))), bad
        texts = ["" if math.isnan(second) else _shortest(second) for second in seconds.tolist()]
        return _objects(texts), bad

    def _outcomes(
        self, outcome: Outcome, values: Any
    ) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        texts = self._stripped(texts_of(values))
        spelled = [outcome_word(text) for text in texts]
        found = [
            "1"
            if word in outcome.positive
            else "0"
            if word and (outcome.negative is None or word in outcome.negative)
            else ""
            for word in spelled
        ]
        bad = [bool(text) and not word for text, word in zip(texts, found, strict=True)]
        return _objects(found), np.array(bad, np.bool_)

    # ----------------------------------------------------------------------------------------------
    # Files

    def require_columns(self, place: str, names: Collection[str], wanted: Collection[str]) -> None:
        """Check that a file or a frame has the columns of some fields.

        Args:
            place: what has them, for the error.
            names: its columns.
            wanted: the fields; those of which nothing is said here are passed over.

        Raises:
            UsageError: a column is not there.
        """
        for name, raw in self.raw_names.items():
            if name in wanted and raw not in names:
                found = did_you_mean(raw, names).replace("did you mean", "is it")
                raise UsageError(
                    f"{place}: column {raw!r} is missing, which the log had that the model was "
                    f"trained on; found {', '.join(names) or 'no column'}{found or '.'}"
                )

    def to_plain(self) -> dict[str, Any]:
        """The schema as plain values."""
        return {"format": SCHEMA_FORMAT, **json.loads(json.dumps(asdict(self)))}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> LogSchema:
        """Undo :meth:`to_plain`.

        Raises:
            UsageError: the values are those of no schema.
        """
        values = require_format(dict(plain), "log_schema", SCHEMA_FORMAT, KIND)
        try:
            given = values["given"]
            return cls(
                form=LogForm(**values["form"]),
                columns=tuple(map(LogColumn.from_plain, values["columns"])),
                label=Outcome.from_plain(values["label"]),
                outcomes=tuple(map(Outcome.from_plain, values["outcomes"])),
                given=None if given is None else Outcome.from_plain(given),
                missing=tuple(values["missing"]),
                left_out=dict(values["left_out"]),
                seq_separator=str(values["seq_separator"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"log_schema: it is no {KIND} ({error!r}).") from error


def schema_path(folder: Path, name: str) -> Path:
    """The file of a dataset's schema, in the dataset's folder."""
    return folder / f"{name}.schema.json"


def read_plain_schema(folder: Path, name: str) -> dict[str, Any] | None:
    """Read the schema of a dataset as plain values; ``None`` where it was not made of a log.

    Raises:
        UsageError: the file is no schema.
    """
    path = schema_path(folder, name)
    if not path.is_file():
        return None
    return require_format(read_json(path, KIND), path, SCHEMA_FORMAT, KIND)


@dataclass(frozen=True)
class _SchemaRule:
    """The plain values of a schema."""

    allowed: str = "what prepare writes into NAME.schema.json, which nobody has to set"

    def accepts(self, value: Any) -> bool:
        """See ``common.rules.Rule``."""
        try:
            LogSchema.from_plain(value)
        except (UsageError, TypeError, ValueError):
            return False
        return True


LOG_SCHEMA = _SchemaRule()
"""What the config key ``log_schema`` may hold, beside nothing."""

# --------------------------------------------------------------------------------------------------
# Texts


def atomic_token(text: str) -> str:
    """A text as an atomic file can hold it: without line ends, tabs and a quote at its start."""
    text = _BREAKS.sub(" ", text).strip()
    return f"'{text[1:]}" if text.startswith('"') else text


def outcome_word(text: str) -> str:
    """How an outcome's texts are compared: without capitals, 1.0 as 1."""
    return _whole(text).lower()


def _spelled(texts: list[str], spelling: str) -> list[str]:
    if spelling == WHOLE:
        return [_whole(text) for text in texts]
    if spelling == BOOLEAN:
        return [text.lower() for text in texts]
    joined = "".join(texts)
    if '"' in joined or _BREAKS.search(joined):
        return [atomic_token(text) for text in texts]
    return texts


def _whole(text: str) -> str:
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def _number_text(text: str) -> str | None:
    """The shortest text of a number; ``None`` where it is none that models can compute with."""
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return _shortest(number) if abs(number) <= LARGEST_NUMBER else None


def _shortest(number: float) -> str:
    if number.is_integer() and abs(number) < _EXACT:
        return str(int(number))
    return repr(number)


def _objects(texts: Sequence[Any]) -> NDArray[np.object_]:
    found: NDArray[np.object_] = np.empty(len(texts), dtype=object)
    found[:] = texts
    return found
