"""Points in time, however a log writes them, as Unix seconds."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
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

# Seconds up to the year 5138: a number beyond is of a smaller unit. From year 1973 on each unit's
# numbers are apart from those of the others.
_LARGEST = 1e11
_ZONE = re.compile(r":\d\d(?:[.,]\d+)?\s*(?:[zZ]|[+-]\d\d(?::?\d\d)?)$")
_UTC = re.compile(r"\s*(?:UTC|GMT)$")
_ZONE_ANYWHERE, _UTC_ANYWHERE = re.compile(_ZONE.pattern, re.MULTILINE), re.compile("UTC|GMT")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class TimeForm:
    """How a column writes points in time.

    Attributes:
        form: one of :data:`UNITS` since 1970, :data:`ISO` for ISO 8601 with a ``T`` or a space
            between date and time, with a zone or without, or dates alone; or a pattern of
            ``strptime``, as ``%d.%m.%Y %H:%M``.
        zone: the time zone of what names none, as ``Europe/Berlin``. Of the hour that is there
            twice when summer time ends, the second is meant.
    """

    form: str = ISO
    zone: str = "UTC"

    @property
    def allowed(self) -> str:
        """What is allowed, as words that follow "expected"."""
        if self.form in UNITS:
            return f"{self.form} since 1970"
        if self.form == ISO:
            return "a time as 2026-11-20 13:45:00 or 2026-11-20T13:45:00Z"
        return f"a time of the form {self.form}"

    def seconds(self, values: NDArray[Any] | pd.DatetimeIndex) -> NDArray[np.float64]:
        """Unix seconds of some values, ``(values,)``; NaN where a value is no such time."""
        if isinstance(values, pd.DatetimeIndex):
            return self._seconds_of_index(values)
        texts = texts_of(values)
        if self.form in UNITS:
            return self._seconds_of_numbers(texts)
        texts = np.array([text.strip() for text in texts], dtype=object)
        if self.form != ISO:
            return self._parsed(texts, self.form, has_zone="%z" in self.form.lower())
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
        seconds = np.full(len(texts), np.nan)
        for rows, with_zone in ((is_date & has_zone, True), (is_date & ~has_zone, False)):
            if rows.any():
                seconds[rows] = self._parsed(texts[rows], "ISO8601", with_zone)
        return seconds

    def _parsed(
        self, texts: NDArray[np.object_], pattern: str, has_zone: bool
    ) -> NDArray[np.float64]:
        times = pd.to_datetime(
            pd.Index(texts, dtype=object), format=pattern, errors="coerce", utc=has_zone
        )
        return self._seconds_of_index(pd.DatetimeIndex(times))

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
        least = 0.0 if factor == 1 else _LARGEST / 1e3
        fits = (np.abs(seconds) < _LARGEST) & (np.abs(seconds) >= least)
        return np.where(fits, seconds, np.nan)

    def to_plain(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)


def guess_unit(largest: float) -> str:
    """The unit of numbers since 1970, by the largest of them: seconds below 1e11, and so on."""
    for unit, factor in UNITS.items():
        if largest < _LARGEST * factor:
            return unit
    return "nanoseconds"


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
