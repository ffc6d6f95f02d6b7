"""``time_split``: which rows train, validate and test by their time, checked before data is loaded.

Whoever scores tomorrow's rows by yesterday's model is judged by a random split too well: it trains
on rows that come after those of the test.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.rules import Integer, Text
from recbole_midpg.loading.atomic_header import AtomicField

LAST_DAY = "last_day"
_UTC = "UTC"
_PARTS = frozenset({"valid", "test", "days", "field", "zone"})


@dataclass(frozen=True)
class TimeSplitForm:
    """What ``time_split`` may hold."""

    allowed: str = (
        "last_day, {days: [1, 1]} of validation and test, or {valid: 2026-11-20, test: 2026-11-21} "
        "of the days or times from which rows validate and test (without valid none do); beside "
        "them field (TIME_FIELD) and zone (UTC), as Europe/Berlin"
    )

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        if not isinstance(value, dict):
            return isinstance(value, str) and value == LAST_DAY
        text = Text("")
        return (
            value.keys() <= _PARTS
            and (_are_days(value["days"]) if "days" in value else "test" in value)
            and not ("days" in value and {"valid", "test"} & value.keys())
            and all(_moment(value[part]) for part in ("valid", "test") if part in value)
            and all(text.accepts(value[part]) for part in ("field", "zone") if part in value)
        )


def _are_days(days: Any) -> bool:
    """Whether they are a number of days to validate on, or 0, and of days to test on."""
    least = (Integer(0), Integer(1))
    return (
        isinstance(days, (list, tuple))
        and len(days) == len(least)
        and all(rule.accepts(number) for rule, number in zip(least, days, strict=True))
    )


def _moment(value: Any) -> datetime.datetime | None:
    """A date or date-time as YAML, Python or a text has it; ``None`` where it is neither."""
    if isinstance(value, str):
        try:
            # Python 3.10 does not know the Z.
            return datetime.datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError:
            return None
    if isinstance(value, datetime.datetime):
        return value
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    return None


@dataclass(frozen=True)
class TimeSplit:
    """Where the rows of validation and of test begin.

    Attributes:
        field: whose numbers are the rows' times.
        zone: whose days they are.
        zone_name: its name.
        valid: from when rows validate; ``None`` for no validation, or where ``days`` counts.
        test: from when rows test; ``None`` where ``days`` counts.
        days: how many of the data's last days validate, and how many test.
    """

    field: str
    zone: datetime.tzinfo
    zone_name: str
    valid: datetime.datetime | None
    test: datetime.datetime | None
    days: tuple[int, int]

    @classmethod
    def of(cls, config: Any) -> TimeSplit | None:
        """The split of a config, ``None`` where none is set.

        Args:
            config: RecBole's ``Config`` or its values, of the right form.

        Raises:
            UsageError: there is no such zone.
        """
        value = config["time_split"]
        if value is None:
            return None
        parts: dict[str, Any] = value if isinstance(value, dict) else {"days": (1, 1)}
        zone_name = parts.get("zone", _UTC)
        zone = _zone(zone_name)
        valid, test = (
            None if part not in parts else _in_zone(_moment(parts[part]), zone)
            for part in ("valid", "test")
        )
        n_valid, n_test = parts.get("days", (0, 0))
        field = parts.get("field", config["TIME_FIELD"])
        return cls(field, zone, zone_name, valid, test, (n_valid, n_test))

    def bounds(self, last: float) -> tuple[float | None, float]:
        """From when rows validate, if any do, and test.

        Args:
            last: the time of the last row, in seconds since 1970 in UTC.

        Returns:
            Both in seconds since 1970 in UTC.
        """
        if self.test is not None:
            return None if self.valid is None else self.valid.timestamp(), self.test.timestamp()
        n_valid, n_test = self.days
        test = self._days_before(last, n_test - 1)
        return self._days_before(last, n_valid + n_test - 1) if n_valid else None, test

    def _days_before(self, last: float, days: int) -> float:
        """The beginning of the day that is so many days before that of a time."""
        day = self.moment(last).date() - datetime.timedelta(days=days)
        return datetime.datetime.combine(day, datetime.time(), self.zone).timestamp()

    def moment(self, seconds: float) -> datetime.datetime:
        """A time in the zone.

        Raises:
            OverflowError: it is beyond the years 1 to 9999.
        """
        since = datetime.timedelta(seconds=seconds)
        return (datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + since).astimezone(
            self.zone
        )


def _zone(name: str) -> datetime.tzinfo:
    if name == _UTC:
        return datetime.timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"time_split: zone: {name!r} is not known, expected a name as Europe/Berlin or UTC "
            "(the package tzdata has them where the system has none)."
        ) from error


def _in_zone(moment: datetime.datetime | None, zone: datetime.tzinfo) -> datetime.datetime | None:
    """A moment that names no zone, in the split's."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=zone)


def validates(value: Any) -> bool:
    """Whether a ``time_split`` leaves rows to validate on.

    Args:
        value: of the right form, not ``None``.
    """
    if not isinstance(value, dict):
        return True
    return "valid" in value or value.get("days", (0, 0))[0] > 0


def check_time_split(
    values: dict[str, Any],
    fields: Mapping[str, AtomicField] | None,
    given: Mapping[str, Any],
    of_dataset: Mapping[str, Any],
) -> None:
    """Check what can be known of ``time_split`` before data is loaded.

    Args:
        values: the config's values; dates become texts, as a checkpoint can hold them.
        fields: the fields of the atomic files; ``None`` where there are none yet.
        given: what the user's files, arguments and command line set.
        of_dataset: what the dataset's own config file sets.

    Raises:
        UsageError: another key splits too, the field has no times, or the times are not in order.
    """
    split = TimeSplit.of(values)
    if split is None:
        return
    value = values["time_split"]
    if isinstance(value, dict):
        values["time_split"] = value = {name: _plain(part) for name, part in value.items()}
    _check_other_splits(value, values, given, of_dataset)
    if split.valid is not None and split.test is not None and split.valid >= split.test:
        raise UsageError(
            f"time_split: valid: {value['valid']} is not before test: {value['test']}, expected "
            "validation to end where the test begins."
        )
    if fields is not None:
        _check_field(split.field, values, fields)


def refuse_time_split(config: Any) -> None:
    """Refuse ``time_split`` for a model that does not read rows.

    Raises:
        UsageError: it is set.
    """
    if config["time_split"] is not None:
        raise UsageError(
            f"time_split: {config['time_split']!r} does not go with {config['model']}, expected a "
            "context-aware model, or eval_args for the others."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.date):  # a date-time too
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _check_other_splits(
    value: Any, values: Mapping[str, Any], given: Mapping[str, Any], of_dataset: Mapping[str, Any]
) -> None:
    if values["benchmark_filename"] is not None:
        raise UsageError(
            f"time_split: {value!r} does not go with benchmark_filename, whose files are the "
            "split, expected one of the two."
        )
    # What a user sets wins over what a dataset's file says, but for a time_split in that file.
    sources = [given] if given.get("time_split") is not None else [given, of_dataset]
    for source in sources:
        arguments = source.get("eval_args")
        if isinstance(arguments, dict) and "split" in arguments:
            raise UsageError(
                f"time_split: {value!r} does not go with eval_args: split: {arguments['split']!r}, "
                "expected one of the two."
            )


def _check_field(name: Any, values: Mapping[str, Any], fields: Mapping[str, AtomicField]) -> None:
    """Check that the rows have a time."""
    made_labels = {values["LABEL_FIELD"], *(values["threshold"] or ())}
    usable = [
        field
        for field, of_file in fields.items()
        if of_file.loaded
        and of_file.type == "float"
        and of_file.file.endswith(".inter")
        and field not in made_labels
    ]
    if name not in usable:
        if name not in fields:
            reason = "is not a field of the data"
        elif name in made_labels:
            reason = "is what the label is made of"
        elif not fields[name].loaded:
            reason = f"of {fields[name].file} is not loaded (load_col: ~ loads all columns)"
        elif not fields[name].file.endswith(".inter"):
            reason = f"stands in {fields[name].file}, not in the rows"
        else:
            reason = f"is of type {fields[name].type}, not of numbers"
        raise UsageError(
            f"time_split: field: {name!r} {reason}{expected_some_of(usable, str(name))}"
        )
    for key in ("normalize_field", "discretization", "numeric"):
        if name in (values[key] or ()):
            raise UsageError(
                f"time_split: field: {name!r} does not go with {key}, which names it too, expected "
                "a field of times."
            )
