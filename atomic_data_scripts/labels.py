"""Labels of 0 and 1."""

from __future__ import annotations

from .columns import Column, one_of


def label(name: str, field: str = "label") -> Column:
    """A column of 0 and 1 that becomes a field of a label."""
    return Column(name, (f"{field}:float",), one_of(("0", "1")))


def is_one(text: str) -> bool:
    """Whether a label is 1."""
    return text == "1"
