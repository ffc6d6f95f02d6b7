"""Points in time, however a log writes them, as Unix seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs.distinct import texts_of

UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
"""How many of each unit a second has."""
ISO = "iso"

PLAUSIBLE_YEARS = (1980, 2099)
"""A number is taken for a time without being told so where it is one of these years in some unit.

Of these years each unit's numbers are far from those of the others, and from dates that are written
as numbers (20261101, 20261101120000) or counted in days, as spreadsheets do.
"""

# Seconds up to the year 5138: a number beyond is of a smaller unit. From year 1973 on each unit's
# numbers are apart from those of the others.
_LARGEST = 1e11
_ZONE = re.compile(r":\d\d(?:[.,]\d+)?\s*(?:[zZ]|[+-]\d\d(?::?\d\d)?)$")
_UTC = re.compile(r"\s*(?:UTC|GMT)$")
_ZONE_ANYWHERE, _UTC_ANYWHERE = re.compile(_ZONE.pattern, re.MULTILINE), re.compile("UTC|GMT")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"^(\d+)\.0*$", re.ASCII)
# Whatever part of it a pattern leaves out is read as another number than it has here.
_WRITTEN = pd.Timestamp("2019-11-23 14:45:56.789012", tz="UTC")


@dataclass(frozen=True)
class TimeForm:
    """How a column writes points in time.

    Attributes:
        form: one of :data:`UNITS` since 1970, :data:`ISO` for ISO 8601 with a ``T`` or a space
            between date and time, with a zone or without, or dates alone; or a pattern of
            ``strptime``, as ``%d.%m.%Y %H:%M``.
        zone: the time zone of what names none, as ``Europe/Berlin``. Of the hour that is there
            twice when summer time ends, the second is meant; a time in the hour that is left out
            when it begins is the first moment after it.
        years: of numbers the first and the last year in which they are times; ``None`` for all,
            as where the user has named the unit.
    """

    form: str = ISO
    zone: str = "UTC"
    years: tuple[int, int] | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> TimeForm:
        """Undo ``asdict``, of JSON's lists too."""
        years = plain.get("years")
        if years is not None:
            first, last = years
            years = int(first), int(last)
        return cls(**{**plain, "years": years})

    @property
    def allowed(self) -> str:
        """What is allowed, as words that follow "expected"."""
        if self.form in UNITS:
            years = "" if self.years is None else f" from {self.years[0]} to {self.years[1]}"
            return f"{self.form} since 1970{years}"
        if self.form == ISO:
            return "a time as 2026-11-20 13:45:00 or 2026-11-20T13:45:00Z"
        return f"a time of the form {self.form}"

    def seconds(self, values: NDArray[Any] | pd.DatetimeIndex) -> NDArray[np.float64]:
        """Unix seconds of some values, ``(values,)``; NaN where a value is no such time."""
        if not isinstance(values, pd.DatetimeIndex) and self.form in UNITS:
            return self._seconds_of_numbers(texts_of(values))
        seconds = np.full(len(values), np.nan)
        for rows, times in self._parts(values):
            seconds[rows] = self._seconds_of_index(times)
        return seconds

    def clock_changes(
        self, values: NDArray[Any] | pd.DatetimeIndex
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which values name a time that the zone does not have, and which one that it has twice.

        Args:
            values: as of :meth:`seconds`.

        Returns:
            Two masks, ``(values,)`` each: of times in an hour that the clocks leave out, and of
            those in one that they go through again.
        """
        absent, twice = np.zeros((2, len(values)), np.bool_)
        if self.zone == "UTC" or self.form in UNITS:
            return absent, twice
        for rows, times in self._parts(values):
            if times.tz is None:
                there = np.asarray(times.notna())
                first = np.ones(len(times), np.bool_)
                known = times.tz_localize(self.zone, ambiguous=first, nonexistent="NaT")
                absent[rows] = there & known.isna()
                known = times.tz_localize(self.zone, ambiguous="NaT", nonexistent="shift_forward")
                twice[rows] = there & known.isna()
        return absent, twice

    def _parts(
        self, values: NDArray[Any] | pd.DatetimeIndex
    ) -> Iterator[tuple[NDArray[np.bool_], pd.DatetimeIndex]]:
        """The points in time of some values that are no numbers: those with a zone, those without.

        Yields:
            Which values they are, ``(values,)``, and their times, NaT where a value is none.
        """
        if isinstance(values, pd.DatetimeIndex):
            yield np.ones(len(values), np.bool_), values
            return
        texts = np.array([text.strip() for text in texts_of(values)], dtype=object)
        if self.form != ISO:
            yield np.ones(len(texts), np.bool_), self._by_pattern(texts)
            return
        # Most logs name no zone in any of their times: one look at all of them together says so.
        together = "\n".join(texts)
        if _UTC_ANYWHERE.search(together):
            texts = np.array([_UTC.sub("Z", text) for text in texts], dtype=object)
            together = "\n".join(texts)
        has_zone = np.zeros(len(texts), np.bool_)
        if _ZONE_ANYWHERE.search(together):
            has_zone[:] = [bool(_ZONE.search(text)) for text in texts]
        # pandas takes 20261120 for a date too, which is as likely a number of seconds.
        is_date = np.array(["-" in text for text in texts], np.bool_)
        for rows, with_zone in ((is_date & has_zone, True), (is_date & ~has_zone, False)):
            if rows.any():
                yield rows, _parsed(texts[rows], "ISO8601", with_zone)

    def _by_pattern(self, texts: NDArray[np.object_]) -> pd.DatetimeIndex:
        # A date as 20261101 is 20261101.0 where a program kept the column as floats.
        if "." not in self.form:
            texts = np.array([_WHOLE.sub(r"\1", text) for text in texts], dtype=object)
        return _parsed(texts, self.form, has_zone=_names_zone(self.form))

    def _seconds_of_index(self, times: pd.DatetimeIndex) -> NDArray[np.float64]:
        if times.tz is None:
            times = times.tz_localize(
                self.zone, ambiguous=np.zeros(len(times), np.bool_), nonexistent="shift_forward"
            )
        micros = times.as_unit("us").asi8 / 1e6
        return np.where(times.isna(), np.nan, micros)

    def _seconds_of_numbers(self, texts: NDArray[np.object_]) -> NDArray[np.float64]:
        factor = UNITS[self.form]
        numbers = np.array(
            [float(text) if _NUMBER.fullmatch(text.strip()) else np.nan for text in texts],
            dtype=np.float64,
        )
        seconds = numbers / factor
        if self.years is not None:
            first, end = _bounds(self.years)
            return np.where((first <= seconds) & (seconds < end), seconds, np.nan)
        least = 0.0 if factor == 1 else _LARGEST / 1e3
        fits = (np.abs(seconds) < _LARGEST) & (np.abs(seconds) >= least)
        return np.where(fits, seconds, np.nan)


@dataclass
class TimesRead:
    """What the times of some rows have been read as.

    Attributes:
        first: the earliest, in Unix seconds; infinite where there are no rows.
        last: the latest.
        absent: rows with a time that the zone leaves out.
        twice: rows with a time that the zone has twice.
    """

    first: float = math.inf
    last: float = -math.inf
    absent: int = 0
    twice: int = 0

    def add(self, further: TimesRead) -> None:
        """Take in what further rows have been read as."""
        self.first = min(self.first, further.first)
        self.last = max(self.last, further.last)
        self.absent += further.absent
        self.twice += further.twice

    def sentences(self, zone: str) -> list[str]:
        """From when to when they are, and what the zone's clocks make of some, a sentence each."""
        found = [f"from {shown_time(self.first, zone)} to {shown_time(self.last, zone)} ({zone})."]
        if self.absent:
            found.append(
                f"{self.absent:,} rows have a time that {zone} leaves out as summer time begins, "
                "read as the first moment after it."
            )
        if self.twice:
            found.append(
                f"{self.twice:,} rows have a time that {zone} has twice as summer time ends, read "
                "as the second."
            )
        return found


def are_plausible(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers lie in :data:`PLAUSIBLE_YEARS` in some unit since 1970, ``(numbers,)``."""
    first, end = _bounds(PLAUSIBLE_YEARS)
    found = np.zeros(len(numbers), np.bool_)
    for factor in UNITS.values():
        found |= (first <= numbers / factor) & (numbers / factor < end)
    return found


def unit_of(number: float) -> str | None:
    """The unit since 1970 in which a number lies in :data:`PLAUSIBLE_YEARS`, if there is one."""
    first, end = _bounds(PLAUSIBLE_YEARS)
    fitting = (unit for unit, factor in UNITS.items() if first <= number / factor < end)
    return next(fitting, None)


def shown_time(seconds: float, zone: str = "UTC") -> str:
    """Unix seconds as a date and time of a zone, in whole seconds; empty beyond all calendars."""
    try:
        time = datetime.fromtimestamp(math.floor(seconds), ZoneInfo(zone))
    except (ValueError, OverflowError, OSError):
        return ""
    return time.replace(tzinfo=None).isoformat(" ")


def _bounds(years: tuple[int, int]) -> tuple[float, float]:
    """From the first year's first second to the one after the last year."""
    first, last = years
    begins = [datetime(year, 1, 1, tzinfo=timezone.utc) for year in (first, last + 1)]
    return begins[0].timestamp(), begins[1].timestamp()


def _names_zone(pattern: str) -> bool:
    return "%z" in pattern.lower()


def _parsed(texts: NDArray[np.object_], pattern: str, has_zone: bool) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(
        pd.to_datetime(pd.Index(texts, dtype=object), format=pattern, errors="coerce", utc=has_zone)
    )


def require_time_format(option: str, form: str) -> None:
    """Check how times are said to be written: a pattern has to tell the day and its year.

    Raises:
        UsageError: it is no pattern, or a time that is written by it is read as another one.
    """
    if form in {*UNITS, ISO}:
        return
    reason = _misread(form) if "%" in form else ""
    if reason is not None:
        raise UsageError(
            f"{option}: {form!r} is not allowed{reason and f', as {reason}'}, "
            f"expected one of {', '.join(UNITS)}, {ISO}, or a pattern with year, month and day, as "
            "'%d.%m.%Y %H:%M'."
        )


def _misread(pattern: str) -> str | None:
    """What is wrong with a pattern, by a time that is written and read by it; ``None``: nothing."""
    try:
        text = _WRITTEN.strftime(pattern)
        (time,) = _parsed(np.array([text], dtype=object), pattern, _names_zone(pattern))
    except (ValueError, NotImplementedError, OverflowError, re.error) as error:
        return f"it is no pattern of strptime ({error})"
    # Hours and what is smaller may be left out, from the smallest on.
    plain = _WRITTEN.tz_localize(None)
    told = [plain, *(plain.floor(unit) for unit in ("s", "min", "h", "D"))]
    found = time.tz_localize(None) if time.tzinfo is not None else time
    return None if found in told else f"it reads {text!r} as {found}"


def require_zone(option: str, zone: str) -> None:
    """Check the name of a time zone.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"{option}: {zone!r} is no time zone, expected a name as UTC or Europe/Berlin."
        ) from error
