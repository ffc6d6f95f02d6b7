"""Our functions in the place of RecBole's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def replace_everywhere(stock: Callable[..., Any], ours: Callable[..., Any]) -> None:
    """Replace a function in every module of RecBole that has imported it by name."""
    for module_name, module in list(sys.modules.items()):
        if (
            module_name.split(".")[0] == "recbole"
            and getattr(module, stock.__name__, None) is stock
        ):
            setattr(module, stock.__name__, ours)


class ModuleWith:
    """A module of which some names mean something else.

    Args:
        module: the module.
        names: what these names mean instead.
    """

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
