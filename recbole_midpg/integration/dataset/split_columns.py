"""Columns of a split's rows, whichever table of RecBole's ``Dataset`` they are kept in."""

from __future__ import annotations

from typing import Any

import torch
from recbole.utils import FeatureSource

from recbole_midpg.integration.dataset.compact_interaction import kept_columns

MODEL_SOURCES = (
    FeatureSource.INTERACTION,
    FeatureSource.USER,
    FeatureSource.USER_ID,
    FeatureSource.ITEM,
    FeatureSource.ITEM_ID,
)
"""Where a context-aware model looks for its fields."""


def column_of(split: Any, field: str) -> torch.Tensor | None:
    """A field's values in a split's rows, the features of their users and items too.

    Args:
        split: RecBole's ``Dataset`` of the split, built.
        field: the field.

    Returns:
        ``(rows, ...)``, in as few bytes as it is kept in; ``None`` where no table has the field.
    """
    rows = kept_columns(split.inter_feat)
    for table, key in (
        (split.inter_feat, None),
        (split.user_feat, split.uid_field),
        (split.item_feat, split.iid_field),
    ):
        if table is not None and field in kept_columns(table):
            column = kept_columns(table)[field]
            return column if key is None else column[rows[key].long()]
    return None
