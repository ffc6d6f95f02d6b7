"""Chance that is the same in every run: by a hash of a text."""

from __future__ import annotations

from zlib import crc32


def share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, spread evenly over many texts."""
    return crc32(text.encode()) / (1 << 32)
