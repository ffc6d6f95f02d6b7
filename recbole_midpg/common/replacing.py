"""Copies of others' functions and views of their modules, with some names replaced."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any


class ModuleWith:
    """A view of a module with some of its names replaced; the module stays as it is.

    Args:
        module: the module.
        names: the values that these names have instead.
    """

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def function_with(function: Any, **names: Any) -> Any:
    """Copy a function, with some of the global names that it reads replaced.

    Args:
        function: a function or method written in Python.
        names: the values that these names have instead.
    """
    return FunctionType(function.__code__, {**function.__globals__, **names})
