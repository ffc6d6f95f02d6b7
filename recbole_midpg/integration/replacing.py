"""Our functions in the place of RecBole's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def replace_everywhere(stock: Callable[..., Any], ours: Callable[..., Any]) -> None:
    """Replace a function in every module of RecBole that has imported it by name."""
    for module_name, module in list(sys.modules.items()):
        if (
            module_name.split(".")[0] == "recbole"
            and getattr(module, stock.__name__, None) is stock
        ):
            setattr(module, stock.__name__, ours)
