"""Fields that no model embeds: ``unembedded_fields``, for our models and for RecBole's.

Cause: RecBole embeds every token field that it loads, and needs the user's and the item's id loaded
in any case. Where most users have one row, an embedding of the user's id learns that row by heart
in the second epoch and nothing that helps another.
"""

from __future__ import annotations

import functools
from typing import Any


def without_unembedded(stock: Any) -> Any:
    """Wrap ``Dataset.fields``, by which models ask for the fields of some sources."""

    @functools.wraps(stock)
    def fields(self: Any, ftype: Any = None, source: Any = None) -> list[str]:
        names = stock(self, ftype, source)
        if source is None:
            return names
        unembedded = self.config["unembedded_fields"] or ()
        return [name for name in names if name not in unembedded]

    return fields
