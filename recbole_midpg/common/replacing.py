"""Modules and functions of others in which some names mean something else."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any


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


def function_with(function: Any, **names: Any) -> Any:
    """Copy a function, with some of the global names that it reads replaced.

    Args:
        function: a function or method written in Python.
        names: what these names mean instead.
    """
    return FunctionType(function.__code__, {**function.__globals__, **names})
