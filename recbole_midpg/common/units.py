"""Numbers written for people, in units that suit them."""

from __future__ import annotations

_KILO = 1000


def in_units(n_bytes: float) -> str:
    """Write a number of bytes in the decimal unit that suits it, as ``1.8 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < _KILO:
            return f"{n_bytes:,.0f} {unit}"
        n_bytes /= _KILO
    return f"{n_bytes:,.1f} GB"
