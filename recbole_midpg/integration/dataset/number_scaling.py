"""Numbers that models embed, scaled by what the training split says of them.

Cause: a number scales the embedding of its field, and RecBole takes it as large as it stands in the
file: a price of 300 makes logits of hundreds. Its own ``normalize_field`` and ``normalize_all``
take the least and the greatest number of all rows, those of the test split too. Here the scale is
fitted to the training split, applied to all three, and kept by the model and its checkpoints, so
that new rows get the same. The key ``numeric`` chooses how a field is scaled; where it does, a
missing number has an embedding of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.utils import FeatureType, ModelType
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import ByName, Choice, Integer, OrNone, Parts
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction, kept_columns
from recbole_midpg.integration.dataset.split_columns import column_of
from recbole_midpg.integration.models.model_names import TREES
from recbole_midpg.loading.number_scalers import (
    UNSCALED,
    Method,
    NumberScaler,
    QuantileBuckets,
    StandardScaler,
    fit_scaler,
    scaler_from_plain,
)

NUMERICAL_SCALING = Choice((StandardScaler.method, "none"))
"""What the key ``numerical_scaling`` may hold; a checkpoint without it is from before it."""

_MOST_BUCKETS = 100_000


@dataclass(frozen=True)
class ScalingMethod:
    """How ``numeric`` scales a field."""

    allowed: str = (
        "standard, log, quantile, {quantile: N} of 2 buckets or more, or none (as in the file)"
    )

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        quantile = QuantileBuckets.method
        by_number = Parts({quantile: Integer(2, maximum=_MOST_BUCKETS)}, (quantile,))
        return (isinstance(value, str) and value in _METHODS) or by_number.accepts(value)


_METHODS = ("standard", "log", "quantile", UNSCALED)
NUMERIC = OrNone(ByName(ScalingMethod(), "{price: log, age: quantile}"))
"""What the key ``numeric`` may hold."""

Scalers = Mapping[str, NumberScaler]


def keeping_scalers(stock: Any) -> Any:
    """Wrap ``ContextRecommender.__init__``: models keep their dataset's scalers."""

    @functools.wraps(stock)
    def initialize(self: Any, config: Any, dataset: Any) -> None:
        stock(self, config, dataset)
        self.number_scalers = scalers_of(dataset)

    return initialize


def scalers_of(dataset: Any) -> dict[str, NumberScaler]:
    """The scalers of a dataset's numbers by field; none where nothing is scaled."""
    return dict(getattr(dataset, "number_scalers", None) or {})


# --------------------------------------------------------------------------------------------------
# Which numbers


def scaling_methods(config: Any, field2type: Mapping[str, FeatureType]) -> dict[str, Method]:
    """How the numbers of a dataset are scaled: as ``numeric`` says, else ``numerical_scaling``.

    Args:
        config: RecBole's ``Config``; a checkpoint's may be from before these keys.
        field2type: the types of the dataset's fields.

    Returns:
        The method of each field that is scaled; none for a model that does not embed numbers.
    """
    if not embeds_numbers(config):
        return {}
    chosen, other = config["numeric"] or {}, config["numerical_scaling"] or UNSCALED
    methods = {name: chosen.get(name, other) for name in unchanged_numbers(config, field2type)}
    return {name: method for name, method in methods.items() if method != UNSCALED}


def embeds_numbers(config: Any) -> bool:
    """Whether a config's model embeds numbers, which trees take as they are."""
    return config["MODEL_TYPE"] == ModelType.CONTEXT and config["model"] not in TREES


def unchanged_numbers(config: Any, field2type: Mapping[str, FeatureType]) -> list[str]:
    """The ``numerical_features`` of a dataset that RecBole neither normalises nor discretizes."""
    others = {
        config["LABEL_FIELD"],
        *(config["threshold"] or ()),
        *(config["discretization"] or ()),
        *normalized_numbers(config, field2type),
    }
    return [name for name in _numbers(config, field2type) if name not in others]


def normalized_numbers(config: Any, field2type: Mapping[str, FeatureType]) -> list[str]:
    """The ``numerical_features`` of a dataset that RecBole's own keys normalise."""
    numbers = _numbers(config, field2type)
    fields = config["normalize_field"]
    if fields:
        return [name for name in numbers if name in fields]
    return numbers if config["normalize_all"] else []


def _numbers(config: Any, field2type: Mapping[str, FeatureType]) -> list[str]:
    kinds = (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
    return [name for name in config["numerical_features"] or () if field2type.get(name) in kinds]


# --------------------------------------------------------------------------------------------------
# Fitting and scaling


def fit_scalers(train: Any, methods: Mapping[str, Method], given: Scalers | None) -> Scalers:
    """Fit a scaler to each field's numbers in the training split's rows, and log it.

    Args:
        train: RecBole's ``Dataset`` of the training split, built.
        methods: of the fields; one that no table of the split has is passed over.
        given: the scalers that a checkpoint has, which are taken as they are.

    Returns:
        The scalers by field.

    Raises:
        UsageError: a field has no finite number, or the given ones are of other fields.
    """
    columns = {name: column_of(train, name) for name in methods}
    numbers = {name: _present(column) for name, column in columns.items() if column is not None}
    if given is not None:
        if given.keys() != numbers.keys():
            raise UsageError(
                f"numerical_features: the checkpoint has scalers of {_listed(given)}, "
                f"expected {_listed(numbers)}."
            )
        return given
    for name, of_field in numbers.items():
        if not np.isfinite(of_field).any():
            raise UsageError(
                f"numerical_features: {name!r} has no number in the training split's "
                f"{len(train):,} rows, expected some to scale by."
            )
    chosen = train.config["numeric"] or {}
    scalers = {
        name: fit_scaler(
            methods[name],
            of_field,
            learns_missing=name in chosen and bool(np.isnan(of_field).any()),
        )
        for name, of_field in numbers.items()
    }
    _report_chosen({name: numbers[name] for name in chosen if name in numbers}, scalers)
    _report_others(train, [name for name in scalers if name not in chosen])
    return scalers


def _present(column: Tensor) -> np.ndarray:
    """The numbers of a column without what fills sequences up."""
    numbers, index = column.numpy()[..., 0], column.numpy()[..., 1]
    return numbers[index != 0]


def _report_chosen(numbers: Mapping[str, np.ndarray], scalers: Scalers) -> None:
    """Log how the fields that ``numeric`` names are scaled, and what it does not help."""
    if not numbers:
        return
    parts = []
    for name, of_field in numbers.items():
        missing = float(np.isnan(of_field).mean())
        own = f", {missing:.1%} missing, by an embedding of their own" if missing else ""
        parts.append(f"{name} {scalers[name].words()}{own}")
        if len(np.unique(of_field[np.isfinite(of_field)])) == 1:
            getLogger().warning(
                f"numeric: {name!r} has one value in the training split, {_first_of(of_field):g}, "
                "and so tells a model nothing."
            )
    getLogger().info(f"Numbers by the training split: {'; '.join(parts)}.")


def _first_of(numbers: np.ndarray) -> float:
    return float(numbers[np.isfinite(numbers)][0])


def _report_others(train: Any, standardised: Sequence[str]) -> None:
    if standardised:
        getLogger().info(
            f"{_listed(standardised)}: standardised by the training split's mean and standard "
            "deviation (numerical_scaling: none leaves numbers as they are)."
        )
    config = train.config
    normalized = normalized_numbers(config, train.field2type)
    scales_others = config["numerical_scaling"] == StandardScaler.method
    if normalized and scales_others and embeds_numbers(config):
        key = "normalize_field" if config["normalize_field"] else "normalize_all"
        getLogger().info(
            f"{_listed(normalized)}: not standardised, as {key} scales them by the least and the "
            "greatest number of all rows, those of the test split too."
        )


def scale_splits(splits: Sequence[Any], scalers: Scalers) -> None:
    """Put scaled columns into splits, and how many embeddings their fields have.

    Args:
        splits: RecBole's ``Dataset``, built, of one dataset. Their tables become new ones, which
            share all other columns with the dataset's.
        scalers: the scalers by field, which each split keeps as ``number_scalers``.
    """
    users, items = (_scaled_table(getattr(splits[0], f"{kind}_feat"), scalers) for kind in _KINDS)
    sizes = {name: scaler.size for name, scaler in scalers.items()}
    for split in splits:
        split.number_scalers = scalers
        split.field2bucketnum = {**split.field2bucketnum, **sizes}
        split.inter_feat = _scaled_table(split.inter_feat, scalers)
        split.user_feat, split.item_feat = users, items


_KINDS = ("user", "item")


def _scaled_table(table: CompactInteraction | None, scalers: Scalers) -> CompactInteraction | None:
    if table is None or not scalers.keys() & kept_columns(table).keys():
        return table
    scaled = table[:]
    for name in scalers.keys() & scaled.narrow_columns.keys():
        scaled.narrow_columns[name] = _scaled_column(scaled.narrow_columns[name], scalers[name])
    return scaled


def _scaled_column(column: Tensor, scaler: NumberScaler) -> Tensor:
    """Scale a column of numbers ``(N, 2)`` or of sequences of them ``(N, length, 2)``.

    The last dimension is a number and the index of its embedding, 0 where a sequence has ended.
    """
    numbers, index = column.numpy()[..., 0], column.numpy()[..., 1]
    scaled = scaler.embed(numbers)
    if numbers.ndim > 1:
        scaled[np.isnan(numbers), 0] = np.nan  # of a sequence no element is missing
    scaled[index == 0] = 0
    return torch.from_numpy(scaled)


# --------------------------------------------------------------------------------------------------
# In checkpoints


def scalers_to_plain(scalers: Scalers) -> dict[str, dict[str, Any]]:
    """Scalers as plain values, for a checkpoint."""
    return {name: scaler.to_plain() for name, scaler in scalers.items()}


def scalers_from_plain(plain: Any, place: str) -> dict[str, NumberScaler]:
    """Undo :func:`scalers_to_plain`.

    Args:
        plain: the values, ``None`` in a checkpoint from before there were any.
        place: the checkpoint, for the error.

    Raises:
        UsageError: they are not what was written.
    """
    try:
        return {str(name): scaler_from_plain(values) for name, values in (plain or {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{place}: its scalers are damaged ({error!r}).") from error


def check_scalers(saved: Scalers, here: Scalers, place: str) -> None:
    """Compare a checkpoint's scalers with those of the data that its model is to read.

    Args:
        saved: the checkpoint's.
        here: the data's.
        place: the checkpoint, for the error.

    Raises:
        UsageError: they scale a field otherwise.
    """
    for name in sorted({*saved, *here}):
        if not _scale_alike(saved.get(name), here.get(name)):
            raise UsageError(
                f"{place}: it was trained on {name!r} {_words(saved.get(name))}, and here it is "
                f"{_words(here.get(name))}, expected the training split that it was trained on "
                "(numerical_scaling, numeric)."
            )


def _scale_alike(one: NumberScaler | None, other: NumberScaler | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.agrees_with(other)


def _words(scaler: NumberScaler | None) -> str:
    return "as in the file" if scaler is None else scaler.words()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "no field"
