"""Numbers that models embed, scaled by what the training split says of them.

Cause: a number scales the embedding of its field, and RecBole takes it as large as it stands in the
file: a price of 300 makes logits of hundreds. Its own ``normalize_field`` and ``normalize_all``
take the least and the greatest number of all rows, those of the test split too. Here the scale is
fitted to the training split, applied to all three, and kept by the model and its checkpoints, so
that new rows get the same.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.utils import FeatureType, ModelType
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Choice
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction, kept_columns
from recbole_midpg.integration.dataset.split_columns import column_of
from recbole_midpg.loading.column_encoding import StandardScaler, scaler_from_plain

NUMERICAL_SCALING = Choice((StandardScaler.method, "none"))
"""What the key ``numerical_scaling`` may hold; a checkpoint without it is from before it."""

# How far the parameters of two fits to the same rows may be apart, in standard deviations.
_ROUNDING = 1e-5

Scalers = Mapping[str, StandardScaler]


def keeping_scalers(stock: Any) -> Any:
    """Wrap ``ContextRecommender.__init__``: models keep their dataset's scalers."""

    @functools.wraps(stock)
    def initialize(self: Any, config: Any, dataset: Any) -> None:
        stock(self, config, dataset)
        self.number_scalers = scalers_of(dataset)

    return initialize


def scalers_of(dataset: Any) -> dict[str, StandardScaler]:
    """The scalers of a dataset's numbers by field; none where nothing is scaled."""
    return dict(getattr(dataset, "number_scalers", None) or {})


# --------------------------------------------------------------------------------------------------
# Which numbers


def scales_numbers(config: Any) -> bool:
    """Whether a config asks for scaled numbers, and for a model that embeds numbers."""
    return (
        config["numerical_scaling"] == StandardScaler.method
        and config["MODEL_TYPE"] == ModelType.CONTEXT
    )


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


def fit_scalers(train: Any, fields: Sequence[str], given: Scalers | None) -> Scalers:
    """Fit a scaler to each field's numbers in the training split's rows, and log it.

    Args:
        train: RecBole's ``Dataset`` of the training split, built.
        fields: the fields; one that no table of the split has is passed over.
        given: those that a checkpoint has, which are taken as they are.

    Returns:
        The scalers by field.

    Raises:
        UsageError: a field has no finite number, or the given ones are of other fields.
    """
    columns = {name: column_of(train, name) for name in fields}
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
    scalers = {name: StandardScaler.fit(of_field) for name, of_field in numbers.items()}
    _report(train, scalers)
    return scalers


def _present(column: Tensor) -> np.ndarray:
    """The numbers of a column without what fills sequences up."""
    numbers, index = column.numpy()[..., 0], column.numpy()[..., 1]
    return numbers[index != 0]


def _report(train: Any, scalers: Scalers) -> None:
    if scalers:
        getLogger().info(
            f"{_listed(scalers)}: standardised by the training split's mean and standard deviation "
            "(numerical_scaling: none leaves numbers as they are)."
        )
    normalized = normalized_numbers(train.config, train.field2type)
    if normalized and scales_numbers(train.config):
        key = "normalize_field" if train.config["normalize_field"] else "normalize_all"
        getLogger().info(
            f"{_listed(normalized)}: not standardised, as {key} scales them by the least and the "
            "greatest number of all rows, those of the test split too."
        )


def scale_splits(splits: Sequence[Any], scalers: Scalers) -> None:
    """Put scaled columns into splits; a missing number becomes 0, the mean.

    Args:
        splits: RecBole's ``Dataset``, built, of one dataset. Their tables become new ones, which
            share all other columns with the dataset's.
        scalers: the scalers by field, which each split keeps as ``number_scalers``.
    """
    users, items = (_scaled_table(getattr(splits[0], f"{kind}_feat"), scalers) for kind in _KINDS)
    for split in splits:
        split.number_scalers = scalers
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


def _scaled_column(column: Tensor, scaler: StandardScaler) -> Tensor:
    """Scale a column of numbers ``(N, 2)`` or of sequences of them ``(N, length, 2)``.

    The last dimension is a number and the index of its embedding, 0 where a sequence has ended.
    """
    numbers, index = column.numpy()[..., 0], column.numpy()[..., 1]
    is_sequence = numbers.ndim > 1
    if not is_sequence:  # of a sequence no element is missing
        numbers = np.where(np.isnan(numbers), np.float32(scaler.mean), numbers)
    scaled = np.where(index == 0, np.float32(0), scaler.apply(numbers))
    return torch.from_numpy(np.stack([scaled, index], axis=-1))


# --------------------------------------------------------------------------------------------------
# In checkpoints


def scalers_to_plain(scalers: Scalers) -> dict[str, dict[str, Any]]:
    """Scalers as plain values, for a checkpoint."""
    return {name: scaler.to_plain() for name, scaler in scalers.items()}


def scalers_from_plain(plain: Any, place: str) -> dict[str, StandardScaler]:
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
                "(numerical_scaling)."
            )


def _scale_alike(one: StandardScaler | None, other: StandardScaler | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one.mean - other.mean) <= _ROUNDING * one.deviation and math.isclose(
        one.deviation, other.deviation, rel_tol=_ROUNDING
    )


def _words(scaler: StandardScaler | None) -> str:
    if scaler is None:
        return "as in the file"
    return f"standardised by mean {scaler.mean:g} and deviation {scaler.deviation:g}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "no field"
