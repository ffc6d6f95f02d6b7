"""RecBole's own models whose code evaluates a config value or unpickles a file.

Cause: ``KD_DAGFM`` passes the config's ``teacher`` to ``eval``; ``LDiffRec`` reads ``item_emb.npy``
of the dataset's folder with ``allow_pickle=True``; six models read the weights they begin with by a
bare ``torch.load``, which unpickles before torch 2.6. Python looks such names up in the module at
each call: there, and nowhere else, they are given another meaning. What keeps other models from
running is repaired in :mod:`recbole_midpg.integration.models.stock_repairs`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.replacing import ModuleWith
from recbole_midpg.integration.models.stock_repairs import REPAIRS

_TORCH_LOAD = frozenset({"convncf", "kd_dagfm", "nais", "neumf", "ract", "s3rec"})
_NUMPY_LOAD = frozenset({"ldiffrec"})
_EVAL = frozenset({"kd_dagfm"})


def repaired(model_class: type) -> type:
    """Repair the module of one of RecBole's models where it has to be; a second call does nothing.

    Args:
        model_class: any model.

    Returns:
        The same.
    """
    module: Any = sys.modules[model_class.__module__]
    package, _, name = module.__name__.rpartition(".")
    if package.startswith("recbole.model.") and not hasattr(module, "repaired_by_midpg"):
        module.repaired_by_midpg = True
        if name in _TORCH_LOAD:
            module.torch = ModuleWith(torch, load=_load_weights)
        if name in _NUMPY_LOAD:
            module.np = ModuleWith(np, load=_load_array)
        if name in _EVAL:
            module.eval = lambda text: _class_of(module, text)
        if name in REPAIRS:
            REPAIRS[name](module)
    return model_class


def _load_weights(path: Any, map_location: Any = None) -> Any:
    """Stand in for ``torch.load``."""
    # Imported here, as it imports the registry's look-ups.
    from recbole_midpg.integration.run.checkpoint import load_plain  # noqa: PLC0415

    try:
        return load_plain(path, map_location or "cpu", "weights")
    except OSError as error:
        raise UsageError(f"weights {path!r}: {error.strerror}.") from error


def _load_array(path: str, **_options: Any) -> Any:
    """Stand in for ``numpy.load``, which is asked to unpickle.

    Raises:
        UsageError: the file is no array of numbers.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: it cannot be read as an array of numbers ({error}).") from error


def _class_of(module: ModuleType, name: str) -> type:
    """Stand in for ``eval``: the class of a module by its name.

    Raises:
        UsageError: there is no such network.
    """
    networks = {
        key: member
        for key, member in vars(module).items()
        if isinstance(member, type) and member.__module__ == module.__name__
    }
    if name not in networks:
        raise UsageError(
            f"teacher: {name!r} is not a network of KD_DAGFM{expected_some_of(networks, name)}"
        )
    return networks[name]
