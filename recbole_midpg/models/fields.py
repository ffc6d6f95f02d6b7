"""What a model needs to know of a dataset: its fields, not its rows.

RecBole's ``Dataset`` is one, and so is whatever describes the fields of a dataset that is no longer
there, as for predictions from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from recbole.utils import FeatureType


class Fields(Protocol):
    """The fields that a model embeds."""

    @property
    def field2type(self) -> Mapping[str, FeatureType]:
        """The type of each field."""

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        """The fields of some types and from some sources, of all by default, in one order."""

    def num(self, field: str) -> int:
        """How many embeddings a field has: of a token field, its tokens with padding."""


class TrainingFields(Fields, Protocol):
    """The fields of a dataset that a model is trained on."""

    @property
    def inter_num(self) -> int:
        """How many rows an epoch has."""
