"""The version of this package, and those of what it computes with."""

from __future__ import annotations

import sys
from importlib import metadata

__version__ = "0.2.0"
_PACKAGES = ("recbole-midpg", "recbole", "torch", "numpy", "pandas")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that make a result."""
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
