"""A dataset's state as plain values and arrays, and back: what a cache can keep without pickles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset.dataset as recbole_module
from numpy.typing import NDArray
from recbole.utils import FeatureSource, FeatureType

from recbole_midpg.loading.atomic_reader import Tokens

ENUMS: dict[str, type[Enum]] = {enum.__name__: enum for enum in (FeatureType, FeatureSource)}
"""The enums of a dataset's state, by name."""


class TokenTables(dict[str, Any]):
    """Tables of tokens by field, each made when it is first asked for.

    Args:
        form: the attribute of :class:`Tokens` that is the table, ``array`` or ``positions``.
        tokens: the tokens of each field, ``[PAD]`` first.
    """

    def __init__(self, form: str, tokens: dict[str, Tokens] | None = None) -> None:
        super().__init__(tokens or {})
        self.form = form

    def __getitem__(self, field: str) -> Any:
        value = super().__getitem__(field)
        return getattr(value, self.form) if isinstance(value, Tokens) else value

    def __eq__(self, other: object) -> bool:
        return dict(self.items()) == (dict(other.items()) if isinstance(other, dict) else other)

    __hash__ = None

    def __reduce__(self) -> tuple[type[TokenTables], tuple[str, dict[str, Tokens]]]:
        return TokenTables, (self.form, dict(self.tokens()))

    def copy(self) -> TokenTables:
        """A shallow copy, as ``dict.copy``."""
        return TokenTables(self.form, dict(self.tokens()))

    def get(self, field: str, default: Any = None) -> Any:
        """As ``dict.get``."""
        return self[field] if field in self else default  # noqa: SIM401 - this is get itself

    def values(self) -> Any:
        """As ``dict.values``; makes every table."""
        return [self[field] for field in self]

    def items(self) -> Any:
        """As ``dict.items``; makes every table."""
        return [(field, self[field]) for field in self]

    def tokens(self) -> Iterator[tuple[str, Tokens]]:
        """The fields and their tokens, not decoded."""
        return iter(super().items())


def make_frame(columns: Mapping[str, Any]) -> Any:
    """A frame of RecBole's own idea: on pandas 3 the one that fills in place."""
    return recbole_module.pd.DataFrame(columns, copy=False)


def object_array(rows: list[Any]) -> NDArray[np.object_]:
    """An array of objects, which numpy would else look into."""
    return np.fromiter(rows, dtype=object, count=len(rows))


def pack(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:  # noqa: PLR0911 - one a kind
    """Make of a dataset's attribute what JSON can express; arrays are put aside, by names."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Enum):
        return ["enum", type(value).__name__, value.name]
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            return ["rows", pack(_ragged(value), arrays)]
        if value.dtype.kind == "U":
            return ["texts", *value.tolist()]
        name = str(len(arrays))
        arrays[name] = value
        return ["array", name]
    if isinstance(value, Tokens):
        return ["tokens", pack(value.blob, arrays), pack(value.offsets, arrays)]
    if isinstance(value, TokenTables):
        return ["tables", value.form, pack(dict(value.tokens()), arrays)]
    if isinstance(value, dict):
        return ["dict", pack(list(value), arrays), pack(list(value.values()), arrays)]
    if isinstance(value, pd.DataFrame):
        columns = {name: value[name].to_numpy() for name in value.columns}
        return ["frame", pack(columns, arrays)]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(pack(item, arrays) for item in value)]
    raise TypeError(f"A dataset that holds a {type(value)} cannot be cached.")


def unpack(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Undo :func:`pack`."""
    if not isinstance(value, list):
        return value
    kind, *content = value
    if kind == "array":
        return arrays[content[0]]
    return _MAKERS[kind](*(unpack(item, arrays) for item in content))


def _ragged(column: NDArray[np.object_]) -> dict[str, Any]:
    """Make few arrays of a column of arrays, or of tuples of equally long arrays."""
    in_tuples = len(column) > 0 and isinstance(column[0], tuple)
    parts = list(zip(*column, strict=True)) if in_tuples else [column]
    lengths = np.array([len(row) for row in parts[0]], dtype=np.int64)
    flat = [np.concatenate(list(part)) for part in parts]
    return {"in_tuples": in_tuples, "lengths": lengths, "parts": flat}


def _rows(ragged: dict[str, Any]) -> NDArray[np.object_]:
    """Undo :func:`_ragged`."""
    ends = np.cumsum(ragged["lengths"])[:-1]
    parts = [np.split(part, ends) for part in ragged["parts"]]
    return object_array(list(zip(*parts, strict=True)) if ragged["in_tuples"] else parts[0])


_MAKERS: dict[str, Callable[..., Any]] = {
    "enum": lambda name, member: ENUMS[name][member],
    "texts": lambda *texts: np.array(texts, dtype=np.str_),
    "rows": _rows,
    "tokens": Tokens,
    "tables": TokenTables,
    "dict": lambda keys, values: dict(zip(keys, values, strict=True)),
    "frame": make_frame,
    "list": lambda *items: list(items),
    "tuple": lambda *items: items,
}
