"""What a config key may hold: small rules that models declare and the config is checked against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from recbole_midpg.common.errors import UsageError, did_you_mean


class Rule(Protocol):
    """One config key's type and range."""

    @property
    def allowed(self) -> str:
        """What is allowed, as words that end the sentence "expected ..."."""

    def accepts(self, value: Any) -> bool:
        """Whether ``value`` is allowed."""


Rules = Mapping[str, Rule]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Integer:
    """A whole number from ``minimum`` to ``maximum``."""

    minimum: int
    maximum: int | None = None

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        if self.maximum is None:
            return f"a whole number of at least {self.minimum}"
        return f"a whole number from {self.minimum} to {self.maximum}"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        if not _is_integer(value) or value < self.minimum:
            return False
        return self.maximum is None or value <= self.maximum


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
        if math.isinf(self.minimum) and math.isinf(self.maximum):
            return "a number"
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
class Text:
    """A text that is not empty, of the meaning ``allowed``."""

    allowed: str

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return isinstance(value, str) and value != ""


@dataclass(frozen=True)
class OrNone:
    """What another rule allows, or none."""

    rule: Rule

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        return f"{self.rule.allowed}, or ~ for none"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return value is None or self.rule.accepts(value)


@dataclass(frozen=True)
class Either:
    """What one rule allows, or another."""

    first: Rule
    second: Rule

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        return f"{self.first.allowed}, or {self.second.allowed}"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return self.first.accepts(value) or self.second.accepts(value)


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
class ByName:
    """A mapping from names to what a rule allows, as ``example``."""

    rule: Rule
    example: str

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        return f"a mapping as {self.example}, with {self.rule.allowed} for each"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return isinstance(value, dict) and all(
            isinstance(name, str) and self.rule.accepts(part) for name, part in value.items()
        )


@dataclass(frozen=True)
class Parts:
    """A mapping of known parts, each by its own rule; those not ``required`` may be left out."""

    rules: Rules
    required: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """See :class:`Rule`."""
        parts = ", ".join(f"{name} ({rule.allowed})" for name, rule in self.rules.items())
        return f"a mapping of {parts}"

    def accepts(self, value: Any) -> bool:
        """See :class:`Rule`."""
        return (
            isinstance(value, dict)
            and all(name in self.rules and self.rules[name].accepts(value[name]) for name in value)
            and all(name in value for name in self.required)
        )


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
