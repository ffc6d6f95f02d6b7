"""Columns of new values as a model's input, whether they are whole rows or parts of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.scoring.scoring import ScoringModel
from recbole_midpg.loading.column_encoding import TokenEncoder
from recbole_midpg.prediction.recognition import ValueCounts, count_values, warning
from recbole_midpg.training.device_rows import widen


def encode_columns(scoring: ScoringModel, columns: Mapping[str, Any]) -> dict[str, Tensor]:
    """Encode those columns that the model reads.

    Args:
        scoring: knows the fields.
        columns: see :meth:`~recbole_midpg.prediction.scorer.Scorer.encode`.

    Returns:
        Tensors by name, in the model's order, as ``Scorer.encode`` describes them.

    Raises:
        UsageError: columns differ in length, or a value cannot stand in its column.
    """
    scored = scoring.fields.scored
    given = read_columns(scoring, columns)
    check_lengths(columns, given)
    return {name: torch.from_numpy(scored[name].encoder.encode(columns[name])) for name in given}


def read_columns(scoring: ScoringModel, names: Iterable[Any]) -> list[str]:
    """Those of some columns that the model reads, in its order."""
    given = {str(name) for name in names}
    return [name for name in scoring.fields.scored if name in given]


def check_lengths(columns: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that columns are of one length.

    Raises:
        UsageError: they are not.
    """
    lengths = {name: len(columns[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"columns: their lengths are {lengths}, expected one length.")


def join_features(scoring: ScoringModel, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The features of users or items whose ids are encoded, but for those that are encoded too.

    Args:
        scoring: knows the features.
        encoded: columns of rows, see :func:`encode_columns`.

    Returns:
        Features of the same rows by name.
    """
    return {
        name: widen(features.index_select(0, encoded[entity.id_field]))
        for entity in scoring.entities
        if entity.id_field in encoded
        for name, features in entity.columns.items()
        if name not in encoded
    }


def read_rare_tokens(scoring: ScoringModel, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Encoded columns as the model reads them, features joined: rare tokens as unknown ones."""
    scored = scoring.fields.scored
    return {
        name: torch.from_numpy(encoder.read(column.numpy()))
        if isinstance(encoder := scored[name].encoder, TokenEncoder)
        else column
        for name, column in encoded.items()
    }


def count_columns(
    scoring: ScoringModel, columns: Mapping[str, Any], encoded: Mapping[str, Tensor]
) -> dict[str, ValueCounts]:
    """Count which values of columns training has seen.

    Args:
        scoring: knows the fields.
        columns: see :func:`encode_columns`.
        encoded: what :func:`encode_columns` makes of them.

    Returns:
        The counts of each column that the model reads, in its order.
    """
    scored = scoring.fields.scored
    return {
        name: count_values(scored[name].encoder, columns[name], encoded[name].numpy())
        for name in read_columns(scoring, columns)
    }


def unknown_warnings(scoring: ScoringModel, counts: Mapping[str, ValueCounts]) -> dict[str, str]:
    """Say of which columns so much is unknown that they may be written wrongly.

    Args:
        scoring: knows the fields.
        counts: by column, see :func:`count_columns`.

    Returns:
        By column a sentence with the share, an example and its likely cause, where there is one to
        say.
    """
    scored = scoring.fields.scored
    sentences = {name: warning(scored[name].encoder, counts[name]) for name in counts}
    return {name: sentence for name, sentence in sentences.items() if sentence is not None}
