"""Whole numbers that options take, refused in a sentence where they are not allowed."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from recbole_midpg.common.choices import LARGEST_SEED
from recbole_midpg.common.rules import Integer


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """The ``type`` of an option that takes a whole number.

    Args:
        minimum: the least that is allowed.
        maximum: the largest; any by default.

    Returns:
        A function that reads a number, or raises what argparse reports with the option's name.
    """
    rule = Integer(minimum, maximum=maximum)

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not rule.accepts(value):
            shown = repr(text) if value is None else value
            raise argparse.ArgumentTypeError(f"{shown} is not allowed, expected {rule.allowed}.")
        return value

    return read


COUNT = whole_number(1)
"""How many of something."""

SEED = whole_number(0, LARGEST_SEED)
"""A seed of numpy's and torch's generators."""
