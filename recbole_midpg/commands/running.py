"""Actions that are imported when they run, so that wrong words are told before."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from recbole_midpg import enter_recbole


def run_by(place: str) -> Callable[..., None]:
    """The action of a command.

    Args:
        place: where its function is, ``package.module:function``.

    Returns:
        A function that enters RecBole, imports the action and runs it with its own arguments.
    """

    def run(**options: Any) -> None:
        module, _, name = place.partition(":")
        enter_recbole()
        getattr(import_module(module), name)(**options)

    return run
