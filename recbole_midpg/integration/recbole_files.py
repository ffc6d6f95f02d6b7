"""Where RecBole is installed, known without importing it."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def recbole_folder() -> Path:
    """The folder of RecBole's files.

    Raises:
        ModuleNotFoundError: RecBole is not installed.
    """
    spec = find_spec("recbole")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'recbole'", name="recbole")
    return Path(spec.origin).parent
