"""Kinds of models, by RecBole's ``MODEL_TYPE``."""

from __future__ import annotations

from recbole.utils import ModelType

OF_ROWS = frozenset({ModelType.CONTEXT, ModelType.DECISIONTREE})
"""Models of labelled rows: context-aware models and decision trees."""
