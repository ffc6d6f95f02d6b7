"""What RecBole's own models read of a config and of files, without running what is there.

Cause: ``KD_DAGFM`` passes the config's ``teacher`` to ``eval``; ``LDiffRec`` reads ``item_emb.npy``
of the dataset's folder with ``allow_pickle=True``; six models read the weights they begin with by a
bare ``torch.load``, which unpickles before torch 2.6. Python looks such names up in the model's
module at each call, where these functions stand in their place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.model.context_aware_recommender import kd_dagfm

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.integration.run.checkpoint import load_plain


def load_weights(path: Any, map_location: Any = None) -> Any:
    """Stand in for ``torch.load``.

    Raises:
        UsageError: the file is not there, or holds more than plain values and tensors.
    """
    try:
        return load_plain(path, map_location or "cpu", "weights")
    except OSError as error:
        raise UsageError(f"weights {path!r}: {error.strerror}.") from error


def load_array(path: str, **_options: Any) -> Any:
    """Stand in for ``numpy.load``, which is asked to unpickle.

    Raises:
        UsageError: the file is no array of numbers.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: it cannot be read as an array of numbers ({error}).") from error


def network_named(name: str) -> type:
    """Stand in for ``eval`` of KD_DAGFM: the class of one of its module's networks by its name.

    Raises:
        UsageError: there is no such network.
    """
    networks = {
        key: member
        for key, member in vars(kd_dagfm).items()
        if isinstance(member, type) and member.__module__ == kd_dagfm.__name__
    }
    if name not in networks:
        raise UsageError(
            f"teacher: {name!r} is not a network of KD_DAGFM{expected_some_of(networks, name)}"
        )
    return networks[name]
