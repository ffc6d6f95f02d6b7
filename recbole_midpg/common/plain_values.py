"""Values of other kinds as plain ones, and back, for files that load without running code.

Plain values are ``None``, truth values, numbers, texts, and lists, tuples, sets and dictionaries of
such. A :class:`Codec` writes every other value as a dictionary whose keys are those of its
:class:`Kind`, as ``{"enum": "ModelType", "member": "CONTEXT"}``, and knows it by these keys when it
is read. Only the kinds of its table are ever made of what a file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

import numpy as np

NOT_ENCODED = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
"""What :meth:`Codec.decode`, and who reads on in its values, raises of what was not encoded."""

_PLAIN = (type(None), bool, int, float, str)
_CONTAINERS = (list, tuple, set)


class NotPlainError(TypeError):
    """A value that is not plain, and of no kind that the codec knows.

    Args:
        value: the value.
    """

    def __init__(self, value: Any) -> None:
        self.type_name = f"{type(value).__module__}.{type(value).__qualname__}"
        super().__init__(f"a {self.type_name} is no plain value")


@dataclass(frozen=True)
class Kind:
    """One kind of values: how to know, take apart and make them.

    Attributes:
        keys: the keys of the dictionary that is written, by which the kind is known again.
        includes: whether a value is of this kind.
        parts: takes a value apart; one part for each key, of any kind that the codec knows.
        make: makes the value of its parts.
    """

    keys: tuple[str, ...]
    includes: Callable[[Any], bool]
    parts: Callable[[Any], tuple[Any, ...]]
    make: Callable[..., Any]


def enum_kind(*enums: type[Enum]) -> Kind:
    """The members of some enums, by the names of both."""
    by_name = {enum.__name__: enum for enum in enums}
    return Kind(
        ("enum", "member"),
        lambda value: isinstance(value, enums),
        lambda member: (type(member).__name__, member.name),
        lambda name, member: by_name[name][member],
    )


def refuse(value: Any) -> NoReturn:
    """Refuse a value that is of no kind.

    Raises:
        NotPlainError: always.
    """
    raise NotPlainError(value)


# A dictionary that JSON or the codec itself would take for another one.
_MAPPING = Kind(
    ("keys", "values"),
    lambda value: isinstance(value, dict),
    lambda mapping: (list(mapping), list(mapping.values())),
    lambda keys, values: dict(zip(keys, values, strict=True)),
)


class Codec:
    """Encodes values as plain ones and decodes them.

    Args:
        kinds: the kinds that it knows; a value is of the first that includes it.
        leaves: types that the file can hold as they are, beside those of plain values.
        otherwise: makes a plain value of one that is of no kind; by default it is refused.
    """

    def __init__(
        self,
        *kinds: Kind,
        leaves: Sequence[type] = (),
        otherwise: Callable[[Any], Any] = refuse,
    ) -> None:
        self._kinds = kinds
        self._by_keys = {frozenset(kind.keys): kind for kind in (*kinds, _MAPPING)}
        self._leaves = (*_PLAIN, *leaves)
        self._otherwise = otherwise

    def encode(self, value: Any) -> Any:
        """Make plain values of a value; numbers of numpy become Python's.

        Raises:
            NotPlainError: it, or a part of it, is of no kind, unless ``otherwise`` was given.
        """
        for kind in self._kinds:
            if kind.includes(value):
                return self._encode_as(kind, value)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, self._leaves):
            return value
        if isinstance(value, dict):
            return self._encode_mapping(value)
        for container in _CONTAINERS:
            if isinstance(value, container):
                return container(self.encode(item) for item in value)
        return self._otherwise(value)

    def _encode_mapping(self, value: dict[Any, Any]) -> dict[str, Any]:
        if frozenset(value) in self._by_keys or not all(isinstance(key, str) for key in value):
            return self._encode_as(_MAPPING, value)
        return {str(key): self.encode(item) for key, item in value.items()}

    def _encode_as(self, kind: Kind, value: Any) -> dict[str, Any]:
        parts = zip(kind.keys, kind.parts(value), strict=True)
        return {key: self.encode(part) for key, part in parts}

    def decode(self, value: Any) -> Any:
        """Undo :meth:`encode`.

        Raises:
            Exception: one of :data:`NOT_ENCODED`, of values that :meth:`encode` did not give.
        """
        if isinstance(value, dict):
            parts = {key: self.decode(part) for key, part in value.items()}
            kind = self._by_keys.get(frozenset(value))
            return parts if kind is None else kind.make(*(parts[key] for key in kind.keys))
        for container in _CONTAINERS:
            if isinstance(value, container):
                return container(self.decode(item) for item in value)
        return value
