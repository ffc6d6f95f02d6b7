"""What it takes to score new rows: a trained model and what training learned of its fields.

A checkpoint holds weights, by token ids and on training's scale of numbers; which token has which
id, what the scale is and which features a user or an item has, only the dataset knows. Here the
dataset is loaded once more as in training, with a look at its numbers before and after each step
that changes them, and what a row needs is kept: in a file of its own, the dataset is not needed any
more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset.dataset import Dataset
from recbole.utils import FeatureSource, FeatureType, ModelType, get_model
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.plain_values import NOT_ENCODED, Codec
from recbole_midpg.integration.dataset.compact_interaction import narrow
from recbole_midpg.integration.dataset.datasets import atomic_files_exist
from recbole_midpg.integration.dataset.fast_dataset import FastDataset
from recbole_midpg.integration.dataset.number_scaling import scalers_from_plain
from recbole_midpg.integration.dataset.rare_tokens import rare_tokens_from_plain
from recbole_midpg.integration.dataset.saved_dataset import build_dataset, dataset_class_of
from recbole_midpg.integration.dataset.split_columns import MODEL_SOURCES
from recbole_midpg.integration.dataset.vocabulary import check_vocabulary, vocabulary_of
from recbole_midpg.integration.run.checkpoint import (
    config_from_plain,
    config_to_plain,
    load_checkpoint,
    load_plain,
    write_atomically,
)
from recbole_midpg.loading.column_encoding import (
    Encoder,
    EqualBuckets,
    LogarithmicBuckets,
    NumberEncoder,
    NumberScale,
    NumberSequenceEncoder,
    TokenEncoder,
    TokenSequenceEncoder,
    tokens_from_plain,
    tokens_to_plain,
)
from recbole_midpg.loading.items_by_user import ItemsByUser, SeenItems
from recbole_midpg.loading.number_scalers import NumberScaler
from recbole_midpg.loading.rare_tokens import RareTokens
from recbole_midpg.training.device_faults import Occupants, reporting_faults

# Where features of users and of items come from, and the dataset's name of the id that joins them.
_ENTITIES = {FeatureSource.USER: "uid_field", FeatureSource.ITEM: "iid_field"}
TOKEN_LIKE = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
BUNDLE = "recbole_midpg.scorer"
_BUNDLE_VERSION = 2
# Files of the first version have no scalers of numbers.
_READ_VERSIONS = (1, _BUNDLE_VERSION)


@dataclass(frozen=True)
class ScoredField:
    """A field that a model reads.

    Attributes:
        type: how its values look.
        source: where training had it from.
        size: how many embeddings it has.
        encoder: makes the model's input of new values.
    """

    type: FeatureType
    source: FeatureSource
    size: int
    encoder: Encoder


@dataclass(frozen=True)
class EntityFeatures:
    """The features of all users or of all items.

    Attributes:
        id_field: the field that names the user or the item.
        columns: the features, each by id, ``(ids, ...)``, narrow; at id 0 those of a missing one,
            and at the last id of an unknown one where the ids have one.
    """

    id_field: str
    columns: dict[str, Tensor]


@dataclass(frozen=True)
class FieldTable:
    """The fields that a model reads; a model takes it for its dataset.

    Attributes:
        scored: the fields by name, in the order in which the model embeds them.
        inter_num: how many training rows there were.
        unembedded: those of the fields by which features are joined, and nothing else.
    """

    scored: dict[str, ScoredField]
    inter_num: int
    unembedded: frozenset[str]

    @property
    def field2type(self) -> dict[str, FeatureType]:
        """As RecBole's ``Dataset.field2type``."""
        return {name: scored.type for name, scored in self.scored.items()}

    @property
    def field2source(self) -> dict[str, FeatureSource]:
        """As RecBole's ``Dataset.field2source``."""
        return {name: scored.source for name, scored in self.scored.items()}

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        """As RecBole's ``Dataset.fields``: the fields of some types and from some sources."""
        return [
            name
            for name, scored in self.scored.items()
            if name not in self.unembedded
            and (ftype is None or scored.type in ftype)
            and (source is None or scored.source in source)
        ]

    def num(self, name: str) -> int:
        """As RecBole's ``Dataset.num``: how many embeddings a field has."""
        return self.scored[name].size


@dataclass(frozen=True)
class ScoringModel:
    """A trained model and what it takes to make its input.

    Attributes:
        config: RecBole's ``Config``.
        model: in evaluation mode, without gradients, on the config's device.
        fields: what the model reads.
        entities: the features that are joined to a row.
        seen: the items that each user has met in the dataset's rows, where they were asked for.
    """

    config: Config
    model: nn.Module
    fields: FieldTable
    entities: list[EntityFeatures]
    seen: SeenItems | None = None


# --------------------------------------------------------------------------------------------------
# From a checkpoint and its dataset


def read_scoring_model(path: str | os.PathLike[str], keep_seen: bool = False) -> ScoringModel:
    """Read a checkpoint, whose dataset has to be where it was, or a file that has all it takes.

    Args:
        path: a file written by training or by :func:`write_scoring_model`.
        keep_seen: whether to keep :attr:`ScoringModel.seen`, which only a dataset has.

    Raises:
        UsageError: the file cannot be read safely, the model is not context-aware, or the dataset
            is missing or another one; or the file has no dataset and its rows are asked for.
    """
    place = f"checkpoint {os.fspath(path)!r}"
    if not Path(path).is_file():
        raise UsageError(f"{place}: there is no such file.")
    plain = load_plain(path, "cpu", "checkpoint")
    if isinstance(plain, dict) and plain.get("format") == BUNDLE:
        if keep_seen:
            raise UsageError(
                f"{place}: it does not hold which items a user has met, expected the checkpoint "
                "of a training, its dataset where it was."
            )
        return _from_bundle(plain, place)
    checkpoint = load_checkpoint(path)
    config = checkpoint["config"]
    if config["MODEL_TYPE"] is not ModelType.CONTEXT or dataset_class_of(config) is not FastDataset:
        raise _not_context_aware(config, place)
    if not atomic_files_exist(config):
        raise UsageError(
            f"{place}: the dataset {config['dataset']} is not in {config['data_path']}, expected "
            "the files that the model was trained on (a file of recbole-midpg export --output "
            "NAME.scorer needs none)."
        )
    dataset = build_dataset(_ObservedDataset, config)
    vocabulary = checkpoint.get("vocabulary")
    if vocabulary is not None:
        check_vocabulary(vocabulary, vocabulary_of(dataset), place)
    dataset.use_scalers(scalers_from_plain(checkpoint.get("number_scalers"), place))
    dataset.fitted_rare_tokens = rare_tokens_from_plain(checkpoint.get("rare_tokens"), place)
    seen = _seen_items(dataset) if keep_seen else None
    fields, entities = _learned_by_training(dataset)
    scoring = _assemble(config, fields, entities, checkpoint["state_dict"], place)
    return replace(scoring, seen=seen)


def _not_context_aware(config: Config, place: str) -> UsageError:
    return UsageError(
        f"{place}: it holds a {config['model']}, expected a context-aware model, which reads "
        "each row by itself."
    )


def _assemble(
    config: Config,
    fields: FieldTable,
    entities: list[EntityFeatures],
    weights: Mapping[str, Tensor],
    place: str,
) -> ScoringModel:
    model_class = get_model(config["model"])
    if model_class.type is not ModelType.CONTEXT:
        raise _not_context_aware(config, place)
    model = model_class(config, fields)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"{place}: its weights do not fit the dataset {config['dataset']} in "
            f"{config['data_path']}, expected the files that the model was trained on."
        ) from error
    with reporting_faults(Occupants(config, model, stage="prediction")):
        model = model.to(config["device"]).eval().requires_grad_(False)
    return ScoringModel(config, model, fields, entities)


def _seen_items(dataset: _ObservedDataset) -> SeenItems:
    """The items of each user in all rows of a dataset that is not split yet, whatever the label."""
    tokens = dict(dataset.field2id_token.tokens())
    users, items = dataset.uid_field, dataset.iid_field
    return SeenItems(
        TokenEncoder(users, tokens[users]),
        TokenEncoder(items, tokens[items]),
        ItemsByUser.of(*(dataset.inter_feat[name].to_numpy() for name in (users, items))),
    )


def _learned_by_training(dataset: _ObservedDataset) -> tuple[FieldTable, list[EntityFeatures]]:
    """What training learned of the fields of a dataset."""
    config = dataset.config
    training: Any = dataset.build()[0]
    tables = {
        FeatureSource.USER: training.user_feat,
        FeatureSource.ITEM: training.item_feat,
    }
    scored: dict[str, ScoredField] = {}
    embedded = training.fields(source=MODEL_SOURCES)
    joined_by = [
        getattr(training, id_field)
        for source, id_field in _ENTITIES.items()
        if any(training.field2source[name] is source for name in embedded)
    ]
    for name in dict.fromkeys([*embedded, *joined_by]):
        kind, source = training.field2type[name], training.field2source[name]
        is_number = kind not in TOKEN_LIKE
        if name == config["LABEL_FIELD"] or (is_number and name not in dataset.scales):
            continue
        values = tables.get(source, training.inter_feat).narrow_columns[name]
        width = values.shape[1] if values.dim() > 1 else 1
        encoder = _encoder(dataset, training, name, width)
        scored[name] = ScoredField(kind, source, training.num(name), encoder)
    entities = []
    for source, id_field in _ENTITIES.items():
        features = [name for name in scored if scored[name].source is source]
        if features:
            columns = tables[source].narrow_columns
            id_name = getattr(training, id_field)
            of_all = {name: columns[name] for name in features}
            if id_name in training.rare_tokens:
                of_all = {
                    name: _with_unknown_entity(column, training.rare_tokens.get(name))
                    for name, column in of_all.items()
                }
            entities.append(EntityFeatures(id_name, of_all))
    unembedded = frozenset(scored).difference(embedded)
    return FieldTable(scored, training.inter_num, unembedded), entities


def _with_unknown_entity(column: Tensor, rare: RareTokens | None) -> Tensor:
    """A feature's column, by id, with the unknown user's or item's at the end.

    Of an unknown one no feature is known: it is missing, as that of id 0, and a token is unknown.
    """
    last = column[:1].long() if rare is not None else column[:1]
    if rare is not None:
        last.view(1, -1)[:, :1] = rare.unknown
    return narrow(torch.cat([column, last]))


def _encoder(dataset: _ObservedDataset, training: Any, name: str, width: int) -> Encoder:
    separator, kind = dataset.config["seq_separator"], training.field2type[name]
    if kind is FeatureType.FLOAT:
        return NumberEncoder(name, dataset.scales[name])
    if kind is FeatureType.FLOAT_SEQ:
        return NumberSequenceEncoder(name, dataset.scales[name], separator, width)
    tokens, rare = dict(training.field2id_token.tokens())[name], training.rare_tokens.get(name)
    if kind is FeatureType.TOKEN:
        return TokenEncoder(name, tokens, rare=rare)
    return TokenSequenceEncoder(name, tokens, separator, width, rare=rare)


class _ObservedDataset(FastDataset):
    """A dataset that notes what filling, normalising and discretizing do to the model's numbers.

    It is loaded from its files, not from the cache, whose numbers are changed already.

    Attributes:
        scales: the scale of each number field that a model embeds.
    """

    def _from_scratch(self) -> None:
        self.scales: dict[str, NumberScale] = {}
        Dataset._from_scratch(self)

    def use_scalers(self, scalers: Mapping[str, NumberScaler]) -> None:
        """Scale by the numbers that training took, whatever rows the split has here."""
        self.number_scalers = scalers
        for name in scalers.keys() & self.scales.keys():
            self.scales[name] = NumberScale(self.scales[name].missing, scaler=scalers[name])

    def _number_columns(self) -> list[tuple[str, Any]]:
        """The fields of numbers that a model embeds, and the column of each as it is now."""
        return [
            (name, self.field2feats(name)[0][name])
            for name in self.config["numerical_features"]
            if self.field2type.get(name) in {FeatureType.FLOAT, FeatureType.FLOAT_SEQ}
        ]

    def _all_numbers(self, name: str, column: Any) -> Any:
        """A column's numbers one after the other."""
        if self.field2type[name] is FeatureType.FLOAT:
            return column.to_numpy()
        return np.concatenate(list(column))

    def _fill_nan(self) -> None:
        for name, column in self._number_columns():
            is_float = self.field2type[name] is FeatureType.FLOAT
            # An element of a sequence is never missing.
            self.scales[name] = NumberScale(float(column.mean()) if is_float else 0.0)
        super()._fill_nan()

    def _normalize(self) -> None:
        normalised = self.config["normalize_field"] or []
        if not normalised and self.config["normalize_all"]:
            normalised = self.float_like_fields
        for name, column in self._number_columns():
            if name in normalised:
                numbers = self._all_numbers(name, column)
                bounds = float(numbers.min()), float(numbers.max())
                self.scales[name] = replace(self.scales[name], bounds=bounds)
        super()._normalize()

    def _discretization(self) -> None:
        methods = self.config["discretization"] or {}
        before = {
            name: self._all_numbers(name, column)
            for name, column in self._number_columns()
            if name in methods
        }
        super()._discretization()
        for name, numbers in before.items():
            buckets = _buckets(methods[name], numbers, self.field2bucketnum[name])
            self.scales[name] = replace(self.scales[name], buckets=buckets)


def _buckets(
    method: Mapping[str, Any], numbers: Any, size: int
) -> EqualBuckets | LogarithmicBuckets:
    if method["method"] == LogarithmicBuckets.method:
        return LogarithmicBuckets(np.unique(LogarithmicBuckets.results(numbers)))
    upper = float(numbers.max() + 1e-9)  # RecBole's own margin
    return EqualBuckets(float(numbers.min()), upper, int(method["bucket"]), size)


# --------------------------------------------------------------------------------------------------
# A file that has all it takes


def write_scoring_model(
    scoring: ScoringModel,
    path: str | os.PathLike[str],
    learning: Mapping[str, Any] | None = None,
) -> None:
    """Write all that scoring takes into one file of plain values and tensors, or nothing.

    Args:
        scoring: the model.
        path: the file.
        learning: what it takes besides to learn on, plain values and tensors; nothing by default.

    Raises:
        UsageError: the file cannot be written.
    """
    entities = [{"id_field": e.id_field, "columns": e.columns} for e in scoring.entities]
    state = {
        "format": BUNDLE,
        "version": _BUNDLE_VERSION,
        "config": config_to_plain(scoring.config),
        "state_dict": scoring.model.state_dict(),
        "inter_num": scoring.fields.inter_num,
        "fields": _FIELD_VALUES.encode(
            [_field_to_plain(scored) for scored in scoring.fields.scored.values()]
        ),
        "entities": entities,
    }
    if learning is not None:
        state["learning"] = learning
    write_atomically(state, path)


def _from_bundle(plain: dict[str, Any], place: str) -> ScoringModel:
    if plain.get("version") not in _READ_VERSIONS:
        raise UsageError(
            f"{place}: it is a scorer of version {plain.get('version')!r}, "
            f"expected {_BUNDLE_VERSION}."
        )
    try:
        fields = [_field_from_plain(values) for values in plain["fields"]]
        config = config_from_plain(plain["config"], place)
        weights = plain["state_dict"]
        table = FieldTable(
            {scored.encoder.field: scored for scored in fields},
            plain["inter_num"],
            frozenset(config["unembedded_fields"] or ()),
        )
        entities = [EntityFeatures(**values) for values in plain["entities"]]
    except UsageError:
        raise
    except NOT_ENCODED as error:
        raise UsageError(f"{place}: the file holds no scorer ({error!r}).") from error
    return _assemble(config, table, entities, weights, place)


# A field's arrays are tensors in the file, and read as arrays by who makes the encoder of them.
_FIELD_VALUES = Codec(leaves=(Tensor,), otherwise=lambda array: torch.from_numpy(np.array(array)))
_ENCODERS: dict[str, Callable[..., Encoder]] = {
    FeatureType.TOKEN.name: TokenEncoder,
    FeatureType.TOKEN_SEQ.name: TokenSequenceEncoder,
    FeatureType.FLOAT.name: NumberEncoder,
    FeatureType.FLOAT_SEQ.name: NumberSequenceEncoder,
}


def _field_to_plain(scored: ScoredField) -> dict[str, Any]:
    encoder: dict[str, Any] = dict(vars(scored.encoder))
    encoder.pop("ids", None)  # made of the tokens when they are first looked up
    rare = encoder.pop("rare", None)
    if rare is not None:
        encoder["rare"] = rare.to_plain()
    if "tokens" in encoder:
        encoder["tokens"] = tokens_to_plain(encoder["tokens"])
    if "scale" in encoder:
        encoder["scale"] = encoder["scale"].to_plain()
    return {
        "type": scored.type.name,
        "source": scored.source.name,
        "size": scored.size,
        "encoder": encoder,
    }


def _field_from_plain(plain: Mapping[str, Any]) -> ScoredField:
    encoder = dict(plain["encoder"])
    if "tokens" in encoder:
        encoder["tokens"] = tokens_from_plain(encoder["tokens"])
    if "rare" in encoder:
        encoder["rare"] = RareTokens.from_plain(encoder["rare"])
    if "scale" in encoder:
        encoder["scale"] = NumberScale.from_plain(encoder["scale"])
    return ScoredField(
        FeatureType[plain["type"]],
        FeatureSource[plain["source"]],
        plain["size"],
        _ENCODERS[plain["type"]](**encoder),
    )
