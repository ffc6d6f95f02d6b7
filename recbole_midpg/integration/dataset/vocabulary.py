"""What a checkpoint and its dataset must agree on: the token that each embedding stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.utils import FeatureType

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.compact_interaction import kept_columns
from recbole_midpg.integration.dataset.dataset_state import TokenTables
from recbole_midpg.loading.atomic_reader import Tokens


def vocabulary_of(dataset: Any) -> dict[str, str]:
    """Digest the tokens of each field, in the order of their ids.

    Args:
        dataset: RecBole's ``Dataset``.

    Returns:
        Hexadecimal digits by token field; the same for two datasets where each id stands for the
        same token in both.
    """
    tables = dataset.field2id_token
    kept: dict[str, Any] = dict(tables.tokens() if isinstance(tables, TokenTables) else tables)
    token_like = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
    return {
        str(field): _digest(tokens)  # a name that was read from a file is of numpy
        for field, tokens in sorted(kept.items())
        if dataset.field2type.get(field) in token_like
    }


def _digest(tokens: Any) -> str:
    if not isinstance(tokens, Tokens):
        tokens = Tokens.of([str(token) for token in tokens])
    offsets = tokens.offsets.astype(np.int64)
    digest = hashlib.sha256(offsets.tobytes())
    digest.update(tokens.blob[: int(offsets[-1])].tobytes())
    return digest.hexdigest()[:32]


def check_vocabulary(saved: Mapping[str, str], here: Mapping[str, str], place: str) -> None:
    """Compare a checkpoint's vocabulary with a dataset's.

    Args:
        saved: what :func:`vocabulary_of` gave when the checkpoint was written.
        here: what it gives now.
        place: the checkpoint, for the error.

    Raises:
        UsageError: a field's tokens are others, or there are other fields; names the field.
    """
    for field in sorted({*saved, *here}):
        if saved.get(field) == here.get(field):
            continue
        if field in saved and field in here:
            problem = "has other tokens, or in another order, in this dataset"
        else:
            problem = f"is only in {'that' if field in saved else 'this'} dataset"
        raise UsageError(
            f"{place}: the field {field!r} {problem}, "
            "expected the dataset that the model was trained on."
        )


def digest_of_rows(*splits: Any) -> str:
    """Digest the values of splits' rows, and of all users' and items' features.

    Args:
        splits: RecBole's ``Dataset``, built, one or more of the same features.

    Returns:
        Hexadecimal digits; other rows, or the same in another order, have others.
    """
    digest = hashlib.sha256()
    rows = [split.inter_feat for split in splits]
    for table in (*rows, splits[0].user_feat, splits[0].item_feat):
        if table is None:
            continue
        for name, column in kept_columns(table).items():
            values = np.ascontiguousarray(column.cpu().numpy())
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:32]
