"""Ratings in stars."""

from __future__ import annotations

import re

POSITIVE_RATING = 4

_RATING = re.compile(r"[1-5](\.0+)?", re.ASCII)


def rating(value: str) -> str:
    """Accept whole stars from 1 to 5, as 5 or 5.0, kept as written."""
    if _RATING.fullmatch(value):
        return value
    raise ValueError("expected whole stars from 1 to 5")


def is_liked(text: str) -> bool:
    """Whether a rating makes a row positive: 4 or 5 stars."""
    return float(text) >= POSITIVE_RATING
