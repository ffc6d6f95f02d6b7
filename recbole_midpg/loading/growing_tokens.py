"""Tokens that a field has learned, and those that new rows add behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.loading.atomic_reader import MISSING, Tokens, concatenate
from recbole_midpg.loading.column_encoding import (
    TokenEncoder,
    TokenSequenceEncoder,
    distinct_values,
    elements_of,
)

_MISSING = frozenset(MISSING)


class GrowingTokens:
    """An encoder that gives every token an id: known ones keep theirs, new ones get the next.

    Args:
        encoder: knows the tokens so far; it stays as it is.
    """

    def __init__(self, encoder: TokenEncoder) -> None:
        self._known = encoder
        self._encoder = replace(encoder)
        self._ids = self._encoder.ids  # of the copy alone: what is added here the encoder finds
        self._added: list[str] = []

    @property
    def added(self) -> int:
        """How many new tokens there are."""
        return len(self._added)

    def encode(self, column: Any) -> NDArray[np.int64]:
        """Encode a column, new tokens in the order of their first appearance.

        Args:
            column: see :class:`~recbole_midpg.loading.column_encoding.Encoder`.

        Raises:
            BadValueError: a value cannot stand in this column.
        """
        _, distinct = distinct_values(column)
        for value in distinct:
            for token in self._tokens_of(value):
                if token not in self._ids:
                    self._ids[token] = len(self._known.tokens) + len(self._added)
                    self._added.append(token)
        return self._encoder.encode(column)

    def _tokens_of(self, value: Any) -> list[str]:
        """The tokens of a value that is not missing."""
        if isinstance(self._known, TokenSequenceEncoder):
            kept = elements_of(value, self._known.separator)[: self._known.width]
            return [str(element) for element in kept]
        is_none = value in _MISSING or isinstance(value, tuple)
        is_known = is_none or self._encoder.id_of(value) != self._encoder.unknown
        return [] if is_known else [str(value)]

    def grown(self) -> TokenEncoder:
        """An encoder of the known and the new tokens."""
        if not self._added:
            return self._known
        tokens = concatenate([self._known.tokens, Tokens.of(self._added)])
        rare = self._known.rare
        if rare is not None:
            rare = replace(rare, added=rare.added + self.added)
        return replace(self._known, tokens=tokens, rare=rare)
