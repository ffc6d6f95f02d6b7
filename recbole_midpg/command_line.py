"""Reading ``--key=value`` and ``--key value``: nothing that is written there is ever run."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import yaml

from recbole_midpg.errors import UsageError

_SHORT_NAMES = {"-m": "--model", "-d": "--dataset"}
# Keys that may stand alone, and what they mean then.
_ALONE = {"resume": "True"}
# What YAML's safe loader raises, beside its own errors, for a value such as 2001-99-99.
YAML_VALUE_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
_WORDS = {"true": True, "false": False, "null": None, "~": None}


def parse_value(text: str) -> Any:
    """Read a value as a Python literal, as a YAML list or mapping, or else as text.

    RecBole evaluates values as Python code; a literal means the same here, and code is text.

    Args:
        text: what stands after the ``=``.

    Returns:
        A number, truth value, ``None``, list, tuple, mapping or text.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _parse_collection(text)
    plain = value is None or isinstance(value, (str, int, float, list, tuple, dict))
    return value if plain else text


def _parse_collection(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, *YAML_VALUE_ERRORS):
        return text
    return value if isinstance(value, (list, dict)) else text


def split_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Split command-line arguments into keys and the text of their values.

    Args:
        arguments: ``--key=value`` or ``--key value``, also ``-m`` and ``-d`` for model and dataset;
            ``--config_files`` takes several values, ``--resume`` may stand alone.

    Returns:
        The text of each key's value; several values are joined by spaces.

    Raises:
        UsageError: an argument belongs to no key, a key has no value, or has two.
    """
    texts: dict[str, str] = {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        name, has_value, value = _SHORT_NAMES.get(argument, argument).partition("=")
        if not name.startswith("--") or len(name) == len("--"):
            raise UsageError(f"argument {argument!r}: expected --key=value or --key value.")
        key = name[len("--") :]
        values = [value] if has_value else _following_values(key, remaining)
        if not values and key in _ALONE:
            values = [_ALONE[key]]
        if not values:
            raise UsageError(f"argument {argument!r}: a value is missing, expected {name}=value.")
        text = " ".join(values)
        if texts.get(key, text) != text:
            raise UsageError(f"argument {name}: both {texts[key]!r} and {text!r} are given.")
        texts[key] = text
    return texts


def config_values(arguments: Sequence[str]) -> dict[str, Any]:
    """Read command-line arguments as config values; see the two functions above."""
    return {key: parse_value(text) for key, text in split_arguments(arguments).items()}


def require_positive(option: str, value: int) -> None:
    """Check an option that counts something.

    Raises:
        UsageError: it is less than 1.
    """
    if value < 1:
        raise UsageError(f"--{option}: {value} is not allowed, expected at least 1.")


def _following_values(key: str, remaining: list[str]) -> list[str]:
    """Take a key's values off the front of the remaining arguments."""
    most = len(remaining) if key == "config_files" else 1
    values: list[str] = []
    while remaining and len(values) < most and not _is_key(remaining[0]):
        values.append(remaining.pop(0))
    return values


def _is_key(argument: str) -> bool:
    return argument.startswith("--") or argument in _SHORT_NAMES
