"""Moments: Unix times to seconds, and to the hour and day that a clock on the spot shows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .columns import ParseValue

CLOCK_FIELDS = ("timestamp:float", "hour:token", "day:token")
"""What :func:`clock` makes."""

_SECONDS = re.compile(r"[1-9]\d{8,9}", re.ASCII)
_MILLISECONDS = re.compile(r"[1-9]\d{11,12}", re.ASCII)


def unix_seconds(value: str) -> str:
    """Accept Unix seconds from 1973 on, nine or ten digits."""
    if _SECONDS.fullmatch(value):
        return value
    raise ValueError("expected Unix seconds, nine or ten digits")


def unix_milliseconds(value: str) -> str:
    """Turn Unix milliseconds from 1973 on, twelve or thirteen digits, into whole seconds."""
    if _MILLISECONDS.fullmatch(value):
        return value[:-3]
    raise ValueError("expected Unix milliseconds, twelve or thirteen digits")


def clock(hours_from_utc: int, seconds: ParseValue = unix_seconds) -> ParseValue:
    """Turn a moment into Unix seconds, and the hour and day of a zone, as ``2018-09-24``.

    Args:
        hours_from_utc: the zone, east of Greenwich positive.
        seconds: from a raw value to Unix seconds.
    """
    zone = timezone(timedelta(hours=hours_from_utc))

    def parse(value: str) -> str:
        text = seconds(value)
        moment = datetime.fromtimestamp(int(text), zone)
        return f"{text}\t{moment.hour}\t{moment:%Y-%m-%d}"

    return parse
