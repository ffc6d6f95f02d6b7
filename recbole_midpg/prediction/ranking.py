"""The best items for users, in a situation that is given.

Every candidate item is scored for every request, which is a user and what is not known of a user or
an item alone, as the scenario. The model's input is put together of four parts: the request's
columns, the situation that all requests share, the items' columns, and the features that training
had for the request's user and for the item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource
from torch import Tensor

from recbole_midpg.common.errors import UsageError, did_you_mean, expected_some_of
from recbole_midpg.common.rules import Integer
from recbole_midpg.evaluation.cross_product import score_pairs
from recbole_midpg.integration.scoring.scoring import ScoringModel
from recbole_midpg.loading.column_encoding import BadValueError, TokenEncoder, distinct_values
from recbole_midpg.loading.items_by_user import SeenItems
from recbole_midpg.prediction.encoding import (
    check_lengths,
    count_columns,
    encode_columns,
    join_features,
    read_columns,
    read_rare_tokens,
)
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.training.device_faults import Occupants, reporting_faults

RANK, SCORE = "rank", "score"

# Scores in memory at a time, of whole requests.
_BLOCK_PAIRS = 1 << 20
_OF_USERS = (FeatureSource.USER_ID, FeatureSource.USER)
_OF_ITEMS = (FeatureSource.ITEM_ID, FeatureSource.ITEM)


@dataclass(frozen=True)
class RankedItems:
    """The best items of some requests, in the order of the requests and, within one, of the ranks.

    Attributes:
        requests: the number of the request, from 0, ``(rows,)``.
        ranks: the rank of the item for this request, from 1, ``(rows,)``.
        items: the place of the item among the candidates, ``(rows,)``.
        scores: the probability of the label being 1, ``(rows,)``.
    """

    requests: NDArray[np.int64]
    ranks: NDArray[np.int64]
    items: NDArray[np.int64]
    scores: NDArray[np.float32]


class ItemRanking:
    """Ranks candidate items by a model's scores.

    Args:
        scoring: the model and what it takes to make its input.
        k: how many items a request gets; fewer where there are fewer.
        context: by field the value of all requests, for fields that the model reads and that are
            neither the ids nor features of items.
        items: the candidates, as a column of tokens, or as columns by name with features or context
            of each; by default every item that training has an id for, in the order of the ids.
        exclude: the items that a user does not get.
        items_name: what the candidates are called in errors.

    Attributes:
        counts: which values of the context and of the items' columns training has seen, by column.

    Raises:
        BadValueError: a value of a candidate is not allowed, or it is there twice.
        UsageError: the model reads nothing of an item, or a field or value is not allowed.
    """

    def __init__(
        self,
        scoring: ScoringModel,
        k: int,
        context: Mapping[str, Any] | None = None,
        items: Any = None,
        exclude: SeenItems | None = None,
        items_name: str = "items",
    ) -> None:
        if not Integer(1).accepts(k):
            raise UsageError(f"k: {k!r} is not allowed, expected {Integer(1).allowed}.")
        self.scoring, self.k, self.context = scoring, k, dict(context or {})
        self.user_field: str = scoring.config["USER_ID_FIELD"]
        self.item_field: str = scoring.config["ITEM_ID_FIELD"]
        if self.item_field not in scoring.fields.scored:
            raise UsageError(
                f"the model reads nothing of an item, neither {self.item_field} nor features, so "
                "all items have one score, expected a model that does."
            )
        columns = self._items_or_all(items, items_name)
        self._given_of_items = encode_columns(scoring, columns)
        joined = join_features(scoring, self._given_of_items)
        self._items_columns = read_rare_tokens(scoring, self._given_of_items | joined)
        self.items = pd.Series(list(columns[self.item_field]))
        self._given_of_all = self._encoded_context()
        self.counts: dict[str, ValueCounts] = count_columns(
            scoring, {name: [value] for name, value in self.context.items()}, self._given_of_all
        )
        if items is not None:
            self.counts |= count_columns(scoring, columns, self._given_of_items)
        self._excluded = None if exclude is None else exclude.among(self.items)

    @property
    def requests_at_once(self) -> int:
        """How many requests are scored together, so that memory has room for their scores."""
        return max(1, _BLOCK_PAIRS // len(self.items))

    def _items_or_all(self, items: Any, place: str) -> Mapping[str, Any]:
        """The candidates' columns, checked."""
        if items is None:
            encoder = cast(TokenEncoder, self.scoring.fields.scored[self.item_field].encoder)
            return {self.item_field: encoder.names}
        columns = as_columns(place, self.item_field, items)
        self._check_sources(place, columns, _OF_USERS)
        tokens = columns[self.item_field]
        if not len(tokens):
            raise UsageError(f"{place}: there is none, expected at least one.")
        codes, _ = distinct_values(tokens)
        unfit = (codes < 0) | pd.Series(codes).duplicated().to_numpy()
        if unfit.any():
            row = int(np.argmax(unfit))
            allowed = "allowed, expected tokens, each once"
            raise BadValueError(row, self.item_field, list(tokens)[row], allowed)
        return columns

    def _encoded_context(self) -> dict[str, Tensor]:
        """The context as columns of one row."""
        self._check_sources("context", self.context, (FeatureSource.USER_ID, *_OF_ITEMS))
        for name in self.context:
            if name not in self.scoring.fields.scored:
                raise UsageError(
                    f"context: {name!r} is not a field that the model reads"
                    f"{expected_some_of(self.scoring.fields.scored, str(name))}"
                )
            if name in self._given_of_items:
                raise UsageError(f"context: {name!r} is a column of the items, expected it once.")
        try:
            return encode_columns(
                self.scoring, {name: [value] for name, value in self.context.items()}
            )
        except BadValueError as error:
            raise UsageError(f"context: {error.problem}") from error

    def _check_sources(
        self, part: str, names: Iterable[Any], foreign: Sequence[FeatureSource]
    ) -> None:
        """Check that a part of the input brings no fields of another.

        Raises:
            UsageError: a field is from one of the foreign sources.
        """
        for name in read_columns(self.scoring, names):
            source = self.scoring.fields.scored[name].source
            if source in foreign:
                owner = "users" if source in _OF_USERS else "items"
                raise UsageError(
                    f"{part}: {name!r} is of {owner}, expected it among the columns of the {owner}."
                )

    def check(self, names: list[str]) -> None:
        """Check that requests with these columns can be ranked.

        Args:
            names: the columns' names; what the model does not read is passed over.

        Raises:
            UsageError: the user is not among them, a column is the items', one is there twice, or a
                field that the model reads comes from nowhere.
        """
        if self.user_field not in names:
            raise UsageError(f"column {self.user_field!r} of the users is missing.")
        self._check_sources("users", names, _OF_ITEMS)
        given = read_columns(self.scoring, names)
        for name in given:
            if name in self.context or name in self._given_of_items:
                other = "in the context" if name in self.context else "among the items' columns"
                raise UsageError(f"column {name!r} is {other} too, expected it once.")
        for name in (RANK, SCORE):
            if name in given or name in self.context:
                raise UsageError(f"column {name!r} is not allowed, as the result has one.")
        joined = {
            name
            for entity in self.scoring.entities
            if entity.id_field in (self.user_field, self.item_field)
            for name in entity.columns
        }
        present = {*given, *self._given_of_all, *self._given_of_items, *joined}
        missing = [name for name in self.scoring.fields.scored if name not in present]
        if missing:
            values = " ".join(f"{name}=…" for name in missing)
            raise UsageError(
                f"the model reads {', '.join(missing)} of each row, which neither the user nor the "
                f"item determines, expected a value for all requests (context: {values}), or a "
                "column of the users or of the items."
            )

    def encode(self, requests: Mapping[str, Any]) -> dict[str, Tensor]:
        """Encode what the model reads of requests.

        Args:
            requests: columns by name, of which one has the users' tokens.

        Raises:
            UsageError: see :meth:`check`; columns differ in length, or a value cannot stand in its
                column.
        """
        self.check([str(name) for name in requests])
        check_lengths(requests, self._kept(requests))
        return encode_columns(self.scoring, requests)

    def table(self, requests: Mapping[str, Any], encoded: Mapping[str, Tensor]) -> pd.DataFrame:
        """Find the best items of requests, :attr:`requests_at_once` at a time.

        Args:
            requests: columns by name, of which one has the users' tokens.
            encoded: what :meth:`encode` makes of them.

        Returns:
            See :meth:`~recbole_midpg.prediction.scorer.Scorer.top_k`.

        Raises:
            UsageError: a score is not a number, or the GPU fails.
        """
        frame = pd.DataFrame({name: list(requests[name]) for name in self._kept(requests)})
        size = self.requests_at_once
        parts = []
        for start in range(0, max(len(frame), 1), size):
            block = slice(start, start + size)
            of_block = {name: column[block] for name, column in encoded.items()}
            parts.append(self._ranked(frame.iloc[block], of_block))
        return pd.concat(parts, ignore_index=True)

    def columns(self, names: Iterable[Any]) -> list[str]:
        """The columns of the result for requests with columns of these names."""
        return [*self._kept(names), *self.context, RANK, self.item_field, SCORE]

    def _kept(self, names: Iterable[Any]) -> list[str]:
        """Those of requests' columns that the result has: the user's and what the model reads."""
        return list(dict.fromkeys([self.user_field, *read_columns(self.scoring, names)]))

    def _ranked(self, requests: pd.DataFrame, encoded: Mapping[str, Tensor]) -> pd.DataFrame:
        """The best items of some requests that are scored together."""
        scores = self._scores(encoded, len(requests))
        if scores.isnan().any():
            name = self.scoring.config["model"]
            raise UsageError(f"{name}: a score is NaN, expected a model whose weights are numbers.")
        if self._excluded is not None:
            user_ids = self._excluded.seen.users.encode(requests[self.user_field]).tolist()
            for row, user in zip(scores, user_ids, strict=True):
                row[torch.from_numpy(self._excluded.places_of(user))] = -torch.inf
        best = best_of(scores, self.k)
        table = requests.iloc[best.requests].reset_index(drop=True)
        for name, value in self.context.items():
            table[name] = pd.Series([value]).repeat(len(table)).to_numpy()
        table[RANK] = best.ranks
        table[self.item_field] = self.items.iloc[best.items].to_numpy()
        table[SCORE] = best.scores
        return table

    def _scores(self, encoded: Mapping[str, Tensor], n_requests: int) -> Tensor:
        """The scores of all items for some requests, ``(requests, items)``, on the CPU."""
        model, config = self.scoring.model, self.scoring.config
        given = dict(encoded)
        for name, column in self._given_of_all.items():
            given[name] = column.expand(n_requests, *column.shape[1:])
        read = read_rare_tokens(self.scoring, given | join_features(self.scoring, given))
        device = config["device"]

        def predict(columns: dict[str, Tensor]) -> Tensor:
            return model.predict(Interaction(columns))

        with reporting_faults(Occupants(config, model, stage="prediction")):
            of_requests = {name: c.to(device) for name, c in read.items()}
            batch_size = config["eval_batch_size"]
            of_items = self._of_items()
            return score_pairs(predict, of_requests, of_items, n_requests, batch_size).cpu()

    def _of_items(self) -> dict[str, Tensor]:
        """The items' columns on the model's device, copied there once."""
        device = self.scoring.config["device"]
        self._items_columns = {n: c.to(device) for n, c in self._items_columns.items()}
        return self._items_columns


def best_of(scores: Tensor, k: int) -> RankedItems:
    """Find the ``k`` greatest scores of each row, equal ones in the order of their places.

    Args:
        scores: ``(requests, items)``, on the CPU; minus infinity where an item is excluded.
        k: how many; fewer where fewer items are not excluded.
    """
    n_items = scores.shape[1]
    # torch.topk takes any of equal scores: it gives the least score that is wanted, and what
    # reaches that, mostly k items, is sorted.
    least = scores.topk(min(k, n_items), dim=1).values[:, -1:]
    wanted = (scores >= least) & (scores > -torch.inf)
    requests, items = (places.numpy() for places in wanted.nonzero(as_tuple=True))
    values = scores.numpy()[requests, items]
    order = np.lexsort((items, -values, requests))
    requests, items, values = requests[order], items[order], values[order]
    ranks = np.arange(1, len(requests) + 1) - np.searchsorted(requests, requests)
    kept = ranks <= k
    return RankedItems(requests[kept], ranks[kept], items[kept], values[kept])


def pairs_to_exclude(scoring: ScoringModel, pairs: Any, place: str = "exclude") -> SeenItems:
    """Make of pairs of users and items what :class:`ItemRanking` does not give.

    Args:
        scoring: names the columns.
        pairs: the columns of the users' and the items' ids in a mapping or a frame.
        place: what they are called in errors.

    Raises:
        UsageError: a column is missing, or they differ in length.
    """
    if not isinstance(pairs, (Mapping, pd.DataFrame)):
        raise UsageError(f"{place}: expected columns of users and of items, or Scorer.seen.")
    names = [scoring.config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD")]
    columns = [as_columns(place, name, pairs)[name] for name in names]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise UsageError(f"{place}: {lengths[0]:,} users and {lengths[1]:,} items, expected pairs.")
    return SeenItems.of_pairs(*names, *columns)


def as_columns(what: str, field: str, values: Any) -> Mapping[str, Any]:
    """Columns by name, of which one has tokens of users or items.

    Args:
        what: what they are of, for errors.
        field: the tokens' column.
        values: a frame or a mapping of columns, or the tokens alone.

    Raises:
        UsageError: the tokens' column is not among them, or the tokens are one text.
    """
    if isinstance(values, (str, bytes)):
        raise UsageError(f"{what}: {values!r} is not allowed, expected a list of tokens.")
    if not isinstance(values, (Mapping, pd.DataFrame)):
        return {field: values}
    columns = {str(name): values[name] for name in values}
    if field not in columns:
        hint = did_you_mean(field, columns).replace("did you mean", "is it")
        raise UsageError(
            f"{what}: the column {field!r} is missing; found {', '.join(columns)}{hint or '.'}"
        )
    return columns
