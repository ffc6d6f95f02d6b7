"""The items that each user has met, to be looked up by the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.loading.atomic_reader import Integers, Tokens
from recbole_midpg.loading.column_encoding import TokenEncoder, distinct_values


@dataclass(frozen=True)
class ItemsByUser:
    """Rows of users and items, the items of one user one after the other.

    Attributes:
        starts: where each user's items begin, and where the last one's end, ``(users + 1,)``.
        items: the item of each row, ``(rows,)``; a user may have one twice.
    """

    starts: NDArray[np.int64]
    items: Integers

    @classmethod
    def of(cls, users: Integers, items: Integers) -> ItemsByUser:
        """Put rows in the order of their users.

        Args:
            users: the user's id in each row, from 0, ``(rows,)``.
            items: the item's id in each row, ``(rows,)``.
        """
        counts = np.bincount(users, minlength=1)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return cls(starts, items[np.argsort(users, kind="stable")])

    def items_of(self, user: int) -> Integers:
        """The items of a user's rows; none where the user has no row."""
        if user >= len(self.starts) - 1:
            return self.items[:0]
        return self.items[self.starts[user] : self.starts[user + 1]]


@dataclass(frozen=True)
class SeenItems:
    """The items that each user has met, by their tokens.

    Attributes:
        users: gives the users their ids; 0 is a user without rows.
        items: gives the items theirs; 0 is an item that nobody has met.
        by_user: the rows, by these ids.
    """

    users: TokenEncoder
    items: TokenEncoder
    by_user: ItemsByUser

    @classmethod
    def of_pairs(cls, user_field: str, item_field: str, users: Any, items: Any) -> SeenItems:
        """Make it of pairs of tokens, whatever training has seen of them.

        Args:
            user_field: the name of the users' column, for errors.
            item_field: the name of the items' column.
            users: the user of each pair, a column as :class:`TokenEncoder` takes it.
            items: the item of each pair, as many.
        """
        encoders = [
            TokenEncoder(name, Tokens.of(["", *map(_token, distinct_values(column)[1])]))
            for name, column in ((user_field, users), (item_field, items))
        ]
        by_user = ItemsByUser.of(encoders[0].encode(users), encoders[1].encode(items))
        return cls(encoders[0], encoders[1], by_user)

    def among(self, candidates: Any) -> SeenCandidates:
        """Prepare to look for some items alone.

        Args:
            candidates: a column of different tokens, ``(candidates,)``.
        """
        places = np.full(len(self.items.tokens), -1)
        places[self.items.encode(candidates)] = np.arange(len(candidates))
        places[0] = -1
        return SeenCandidates(self, places)


@dataclass(frozen=True)
class SeenCandidates:
    """Which of some items users have met.

    Attributes:
        seen: all that they have met.
        places: by the id of each item its place among the candidates, -1 where it is none of them.
    """

    seen: SeenItems
    places: NDArray[np.int64]

    def places_of(self, user: int) -> NDArray[np.int64]:
        """The places of the candidates that a user has met, by the user's id; one may be twice."""
        if user == 0:
            return self.places[:0]
        places = self.places[self.seen.by_user.items_of(user)]
        return places[places >= 0]


def _token(value: Any) -> str:
    """The token that a value stands for; a whole float is an integer beside missing values."""
    whole = isinstance(value, (float, np.floating)) and value.is_integer()
    return str(int(value)) if whole else str(value)
