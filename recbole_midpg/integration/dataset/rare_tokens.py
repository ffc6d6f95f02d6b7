"""Rare tokens that models read as an unknown one: ``min_count``.

Cause: RecBole gives every token that it loads an embedding, those that stand in the validation or
test split alone too, and new rows' unseen tokens the one of ``[PAD]``, which nothing trains where
no value is missing. Here the tokens with fewer training rows than ``min_count`` are read as the
field's ``[UNK]``.

A dataset's tables keep the tokens as they were loaded: by them features are joined, and results
grouped. They are read as ``[UNK]`` where the model's columns are put together, after the join, so
that a rare user has the features of his own. Sequences, by which nothing is joined or grouped, are
replaced in the tables.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from recbole.data.dataset.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.rules import Integer
from recbole_midpg.integration.dataset.compact_interaction import (
    CompactInteraction,
    kept_columns,
)
from recbole_midpg.integration.dataset.dataset_state import TokenTables
from recbole_midpg.integration.dataset.split_columns import MODEL_SOURCES
from recbole_midpg.loading.atomic_header import AtomicField, embeddable_fields
from recbole_midpg.loading.atomic_reader import Tokens, concatenate
from recbole_midpg.loading.rare_tokens import UNKNOWN, RareTokens, rows_by_token, rows_with_rare
from recbole_midpg.training.device_rows import Features, RowTables

Rare = Mapping[str, RareTokens]
"""The rare tokens by field, of those fields that have an unknown token."""

_TOKEN_LIKE = [FeatureType.TOKEN, FeatureType.TOKEN_SEQ]


# --------------------------------------------------------------------------------------------------
# The config key


@dataclass(frozen=True)
class MinCount:
    """A number for all token fields, or one for each that is named."""

    allowed: str = (
        "a whole number of at least 0 for all token fields, or a mapping as {user_id: 5}, with one "
        "for each, or ~ for none"
    )

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        numbers = value.values() if isinstance(value, dict) else [value]
        names = value if isinstance(value, dict) else ()
        return value is None or (
            all(isinstance(name, str) for name in names)
            and all(Integer(minimum=0).accepts(number) for number in numbers)
        )


def check_min_count(config: Any, fields: Mapping[str, AtomicField] | None) -> None:
    """Check that a context-aware model can read rare tokens as unknown ones.

    Args:
        config: RecBole's ``Config``.
        fields: the fields of the dataset's files, ``None`` where these are not there yet.

    Raises:
        UsageError: a name is no token field that the model embeds, one has an embedding from a
            file, or negatives are sampled.
    """
    wanted = config["min_count"]
    if not wanted:
        return
    mode = config["eval_args"].get("mode")
    modes = set(mode.values()) if isinstance(mode, dict) else {mode}
    if config["train_neg_sample_args"] or modes != {"labeled"}:
        raise UsageError(
            f"min_count: {wanted!r} does not go with sampled or ranked items, expected labelled "
            "rows (train_neg_sample_args: ~, and eval_args: mode: labeled)."
        )
    if fields is None:
        return
    ids = [config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD")]
    usable = [
        name
        for name in dict.fromkeys([*embeddable_fields(config, dict(fields)), *ids])
        if name in fields and fields[name].type.startswith("token")
    ]
    for name in wanted if isinstance(wanted, dict) else ():
        if name not in usable:
            raise UsageError(
                f"min_count: {name!r} is not a token field that is loaded"
                f"{expected_some_of(usable, name)}"
            )
    preloaded = config["preload_weight"] or {}
    for name in preloaded:
        if name in usable and (not isinstance(wanted, dict) or wanted.get(name)):
            raise UsageError(
                f"min_count: {name!r} has its embeddings from {preloaded[name]!r} "
                f"(preload_weight), which has none of {UNKNOWN}, expected other fields."
            )


def refuse_min_count(config: Any) -> None:
    """Refuse the key for a model that does not read each row by itself.

    Raises:
        UsageError: it is set.
    """
    if config["min_count"]:
        raise UsageError(
            f"min_count: {config['model']} does not read it, expected ~, or a context-aware model."
        )


def _min_counts(dataset: Any) -> dict[str, int]:
    """The least number of rows by field, in the order of the fields."""
    wanted = dataset.config["min_count"]
    if not wanted:
        return {}
    features = dataset.fields(ftype=_TOKEN_LIKE, source=MODEL_SOURCES)
    joined_by = [
        key
        for key, table in (
            (dataset.uid_field, dataset.user_feat),
            (dataset.iid_field, dataset.item_feat),
        )
        if table is not None
    ]
    names = [
        name
        for name in dict.fromkeys([*features, *joined_by])
        if name in dataset.field2id_token and name != dataset.label_field
    ]
    counts = wanted if isinstance(wanted, dict) else dict.fromkeys(names, wanted)
    return {name: counts[name] for name in names if counts.get(name)}


# --------------------------------------------------------------------------------------------------
# Datasets


class ReadsRareTokens(Dataset):
    """A ``Dataset`` whose splits read rare tokens as unknown ones.

    Attributes:
        fitted_rare_tokens: those that :meth:`build` takes; ``None`` lets it find them in the
            training split.
        rare_tokens: of a split: what it reads as the last token of a field. There is none in a
            dataset that is not split.
    """

    fitted_rare_tokens: Rare | None = None
    rare_tokens: Rare = MappingProxyType({})

    def build(self) -> list[Any]:
        """Split by RecBole's own method, and let the splits read rare tokens as unknown ones.

        Raises:
            UsageError: :attr:`fitted_rare_tokens` are of other fields or tokens.
        """
        splits = super().build()
        rare = _fit(splits[0], _min_counts(splits[0]), self.fitted_rare_tokens)
        if rare:
            _give(splits, rare)
        return splits

    @property
    def user_num(self) -> int:
        """How many users there are, ``[PAD]`` counted and ``[UNK]`` not."""
        return super().user_num - (self.uid_field in self.rare_tokens)

    @property
    def item_num(self) -> int:
        """How many items there are, ``[PAD]`` counted and ``[UNK]`` not."""
        return super().item_num - (self.iid_field in self.rare_tokens)

    def join(self, df: Interaction) -> Interaction:
        """Join features, and read rare tokens as unknown ones."""
        return self._read(super().join(df))

    def get_user_feature(self) -> Interaction:
        """The features of users as a model reads them, by the users' ids."""
        return self._read(super().get_user_feature())

    def get_item_feature(self) -> Interaction:
        """The features of items as a model reads them, by the items' ids."""
        return self._read(super().get_item_feature())

    def _read(self, table: Interaction) -> Interaction:
        reading = read_as(self)
        names = [name for name in reading if name in table]
        if not names:
            return table
        read = table[:]
        for name in names:
            read[name] = reading[name][table[name].long()].long()
        return read


def read_as(dataset: Any) -> dict[str, Tensor]:
    """As which id each id is read, narrow, by token field with rare tokens; not of sequences."""
    return {
        name: torch.from_numpy(rare.read_as)
        for name, rare in getattr(dataset, "rare_tokens", {}).items()
        if dataset.field2type[name] is FeatureType.TOKEN
    }


def _give(splits: Sequence[Any], rare: Rare) -> None:
    """Give splits their rare tokens, and the fields of these one more token."""
    first = splits[0]
    id_token, token_id = _with_unknown(first, rare)
    sequences = [name for name in rare if first.field2type[name] is FeatureType.TOKEN_SEQ]
    users, items = (
        _read_sequences(table, rare, sequences) for table in (first.user_feat, first.item_feat)
    )
    for split in splits:
        split.rare_tokens = rare
        split.field2id_token, split.field2token_id = id_token, token_id
        split.inter_feat = _read_sequences(split.inter_feat, rare, sequences)
        split.user_feat, split.item_feat = users, items


def _with_unknown(dataset: Any, rare: Rare) -> tuple[TokenTables, TokenTables]:
    """The tokens of all fields, those of some with one more, by id and by text."""
    longer = {name: concatenate([_tokens_of(dataset, name), Tokens.of([UNKNOWN])]) for name in rare}
    tables = (("array", dataset.field2id_token), ("positions", dataset.field2token_id))
    by_id, by_text = (
        TokenTables(form, {**dict(dict.items(table)), **longer}) for form, table in tables
    )
    return by_id, by_text


def _tokens_of(dataset: Any, name: str) -> Tokens:
    tokens = dict.__getitem__(dataset.field2id_token, name)
    return tokens if isinstance(tokens, Tokens) else Tokens.of(map(str, tokens))


def _read_sequences(
    table: CompactInteraction | None, rare: Rare, names: Sequence[str]
) -> CompactInteraction | None:
    """A table that shares all columns but those of sequences with another."""
    here = [name for name in names if table is not None and name in kept_columns(table)]
    if table is None or not here:
        return table
    read = table[:]
    for name in here:
        read[name] = torch.from_numpy(rare[name].read_as[table[name].numpy()])
    return read


# --------------------------------------------------------------------------------------------------
# Finding the rare ones


def _fit(train: Any, min_counts: Mapping[str, int], given: Rare | None) -> Rare:
    """Find the rare tokens in the training split's rows, and log how many there are.

    Args:
        train: RecBole's ``Dataset`` of the training split, built.
        min_counts: see the config key, by field.
        given: those that a checkpoint has, which are taken as they are.

    Raises:
        UsageError: the given ones are of other fields or tokens.
    """
    tokens = {name: _tokens_of(train, name) for name in min_counts}
    if given is not None:
        if {name: len(of) for name, of in tokens.items()} != {
            name: rare.unknown for name, rare in given.items()
        }:
            raise UsageError(
                f"min_count: the checkpoint has rare tokens of {_listed(given)}, expected as many "
                f"tokens as there are here of {_listed(tokens)}."
            )
        return given
    rare, untrained = {}, []
    for name, min_count in min_counts.items():
        ids, weights = _training_ids(train, name)
        counts = rows_by_token(ids, len(tokens[name]), weights)
        rare[name] = RareTokens.fit(counts, min_count, tokens[name])
        n_rows = rows_with_rare(ids, rare[name], weights)
        n_tokens, n_rare = len(tokens[name]) - 1, int(rare[name].is_rare.sum())
        getLogger().info(
            f"min_count: {n_rare:,} of {n_tokens:,} tokens of {name} have fewer than {min_count:,} "
            f"training rows and are read as {UNKNOWN}, in {n_rows / max(len(train), 1):.2%} of "
            "these rows."
        )
        if not n_rows:
            untrained.append(f"{name} ({n_tokens:,} tokens, min_count {min_count:,})")
    if untrained:
        getLogger().warning(
            f"min_count: no training row has a rare token of {', '.join(untrained)}: {UNKNOWN} is "
            "as it was drawn there, and so are the scores of new tokens; a higher min_count trains "
            "it."
        )
    return rare


def _training_ids(train: Any, name: str) -> tuple[Any, Any]:
    """A field's ids, and how many training rows have each: of features, as many as their owner."""
    rows = kept_columns(train.inter_feat)
    owners = (
        (train.user_feat, train.uid_field, FeatureSource.USER),
        (train.item_feat, train.iid_field, FeatureSource.ITEM),
    )
    for table, key, source in owners:
        if table is not None and train.field2source[name] is source:
            column = kept_columns(table)[name].numpy()
            weights = rows_by_token(rows[key].numpy(), len(column)) if key in rows else None
            return column, weights
    return rows[name].numpy(), None


# --------------------------------------------------------------------------------------------------
# Batches


def as_loaded(field: str) -> str:
    """The column that keeps a field's tokens as they were loaded, where results are grouped."""
    return f"{field} as loaded"


def reading_rare_tokens(tables: RowTables, dataset: Any) -> RowTables:
    """Let rows be gathered as a model reads them: after the join, rare tokens as unknown ones.

    The fields by which results are grouped are kept as they were loaded too, see
    :func:`as_loaded`.

    Args:
        tables: a split's rows, and the features that are joined to them.
        dataset: RecBole's ``Dataset`` of the split.
    """
    columns = {name for _, table in [("", tables.rows), *tables.features] for name in table}
    reading = {name: column for name, column in read_as(dataset).items() if name in columns}
    if not reading:
        return tables
    config = dataset.config
    grouping = {config["scenario_id_field"], *(config["gauc_fields"] or ())} & reading.keys()

    def kept(table: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {**table, **{as_loaded(name): table[name] for name in grouping & table.keys()}}

    features = [Features(key, kept(table)) for key, table in tables.features]
    # What is looked up by an id may be the id as which it is read.
    read = [Features(name, {name: column}) for name, column in reading.items()]
    return RowTables(kept(tables.rows), [*features, *read])


# --------------------------------------------------------------------------------------------------
# In models and checkpoints


def keeping_rare_tokens(stock: Any) -> Any:
    """Wrap ``ContextRecommender.__init__``: models keep their dataset's rare tokens."""

    @functools.wraps(stock)
    def initialize(self: Any, config: Any, dataset: Any) -> None:
        stock(self, config, dataset)
        self.rare_tokens = rare_tokens_of(dataset)

    return initialize


def rare_tokens_of(dataset: Any) -> dict[str, RareTokens]:
    """The rare tokens of a split by field; none where nothing is read as unknown."""
    return dict(getattr(dataset, "rare_tokens", {}))


def rare_tokens_to_plain(rare: Rare) -> dict[str, dict[str, Any]]:
    """Rare tokens as plain values and tensors, for a checkpoint."""
    return {name: _with_tensor(tokens.to_plain()) for name, tokens in rare.items()}


def _with_tensor(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {**plain, "bits": torch.from_numpy(plain["bits"])}


def rare_tokens_from_plain(plain: Any, place: str) -> dict[str, RareTokens]:
    """Undo :func:`rare_tokens_to_plain`.

    Args:
        plain: the values, ``None`` in a checkpoint from before there were any.
        place: the checkpoint, for the error.

    Raises:
        UsageError: they are not what was written.
    """
    try:
        return {
            str(name): RareTokens.from_plain({**values, "bits": np.asarray(values["bits"].cpu())})
            for name, values in (plain or {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{place}: its rare tokens are damaged ({error!r}).") from error


def check_rare_tokens(saved: Rare, here: Rare, place: str) -> None:
    """Compare a checkpoint's rare tokens with those of the data that its model is to read.

    Args:
        saved: the checkpoint's.
        here: the data's.
        place: the checkpoint, for the error.

    Raises:
        UsageError: other tokens are rare.
    """
    for name in sorted({*saved, *here}):
        one, other = saved.get(name), here.get(name)
        if one is None or other is None or not one.equals(other):
            raise UsageError(
                f"{place}: it was trained with {_words(one)} of {name!r}, and here there are "
                f"{_words(other)}, expected the training split that it was trained on (min_count)."
            )


def _words(rare: RareTokens | None) -> str:
    if rare is None:
        return "no rare tokens"
    return f"{int(rare.is_rare.sum()):,} rare tokens of {rare.unknown - 1:,}"


def _listed(names: Any) -> str:
    return ", ".join(names) or "no field"
