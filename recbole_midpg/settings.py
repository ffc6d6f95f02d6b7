"""What a config key may hold: small rules that models declare and the config is checked against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from recbole_midpg.errors import UsageError, did_you_mean


class Rule(Protocol):
    """One config key's type and range."""

    @property
    def allowed(self) -> str:
        """What is allowed, as words that end the sentence "expected ..."."""

    def accepts(self, value: Any) -> bool:
        """Whether ``value`` is allowed."""


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Integer:
    """A whole number of at least ``minimum``."""

    minimum: int

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        return f"a whole number of at least {self.minimum}"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return _is_integer(value) and value >= self.minimum


@dataclass(frozen=True)
class Number:
    """A finite number within ``[minimum, maximum]``, or within the open ends named so."""

    minimum: float = 0.0
    maximum: float = math.inf
    minimum_excluded: bool = False
    maximum_excluded: bool = False

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        low = f"{'greater than' if self.minimum_excluded else 'at least'} {self.minimum:g}"
        if math.isinf(self.maximum):
            return f"a number {low}"
        high = f"{'less than' if self.maximum_excluded else 'at most'} {self.maximum:g}"
        return f"a number {low} and {high}"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not math.isfinite(value):
            return False
        above = value > self.minimum if self.minimum_excluded else value >= self.minimum
        below = value < self.maximum if self.maximum_excluded else value <= self.maximum
        return above and below


@dataclass(frozen=True)
class Flag:
    """True or False."""

    allowed: str = "True or False"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Switch:
    """True, False, or auto for whichever is better."""

    allowed: str = "auto, True or False"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return isinstance(value, bool) or value == "auto"


@dataclass(frozen=True)
class FolderName:
    """A folder's name, or none."""

    allowed: str = "a folder's name, or ~ for none"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return value is None or (isinstance(value, str) and value != "")


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        return f"one of {', '.join(self.options)}"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return value in self.options


@dataclass(frozen=True)
class Word(Choice):
    """One of a few words, in capitals or not."""

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return isinstance(value, str) and value.lower() in self.options


@dataclass(frozen=True)
class Mapped:
    """A mapping from names, or none."""

    example: str

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        return f"a mapping as {self.example}, or ~ for none"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return value is None or isinstance(value, dict)


@dataclass(frozen=True)
class Sizes:
    """A list of layer widths, each at least 1, with at least ``minimum_length`` of them."""

    minimum_length: int = 0

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        least = "a list" if self.minimum_length == 0 else f"{self.minimum_length} or more"
        return f"{least} of whole numbers of at least 1, as [128, 64, 32]"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return (
            isinstance(value, (list, tuple))
            and len(value) >= self.minimum_length
            and all(_is_integer(size) and size >= 1 for size in value)
        )


@dataclass(frozen=True)
class Names:
    """A list of names, each at most once."""

    allowed: str = "a list of names, each once, as [occupation, gender]"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return (
            isinstance(value, (list, tuple))
            and all(isinstance(name, str) for name in value)
            and len(set(value)) == len(value)
        )


Rules = Mapping[str, Rule]


def check_settings(values: Mapping[str, Any], rules: Rules) -> None:
    """Check config values against the rules of their keys.

    Args:
        values: config keys and values; keys without a rule are passed over.
        rules: the rule of each key that is checked; a key absent from ``values`` is missing.

    Raises:
        UsageError: a key is missing, or its value is not allowed.
    """
    for key, rule in rules.items():
        if key not in values:
            raise UsageError(f"{key}: no value is set, expected {rule.allowed}.")
        value = values[key]
        if not rule.accepts(value):
            hint = (
                did_you_mean(value, rule.options)
                if isinstance(rule, Choice) and isinstance(value, str)
                else ""
            )
            ending = hint or "."
            raise UsageError(f"{key}: {value!r} is not allowed, expected {rule.allowed}{ending}")
