"""Our models and trainers in the places where RecBole looks for its own."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import torch
from recbole.utils import utils as recbole_utils

from recbole_midpg import models
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models import decision_trees
from recbole_midpg.integration.models.flops import copies_share_data, count_flops
from recbole_midpg.integration.models.model_names import (
    ENTIRE_SPACE,
    recbole_models,
    unknown_model,
)
from recbole_midpg.integration.models.model_needs import RANK_ALL_ITEMS
from recbole_midpg.integration.models.outside_models import import_model, outside_models
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.entire_space import EntireSpaceModel, entire_space_model

_stock_get_model = recbole_utils.get_model
_stock_get_flops = recbole_utils.get_flops


def register_models() -> None:
    """Let RecBole find our models' modules by its own names; a second call does nothing new."""
    for name, model_class in own_models().items():
        # The module itself under RecBole's name: the class keeps one identity.
        alias = f"recbole.model.context_aware_recommender.{name.lower()}"
        sys.modules[alias] = sys.modules[model_class.__module__]


@functools.cache
def own_models() -> dict[str, type[ScenarioRecommender]]:
    """This package's model classes by name, in the order of their files."""
    found: dict[str, type[ScenarioRecommender]] = {}
    for info in pkgutil.iter_modules(models.__path__):
        module = importlib.import_module(f"{models.__name__}.{info.name}")
        for name, member in vars(module).items():
            is_model = isinstance(member, type) and issubclass(member, ScenarioRecommender)
            if is_model and name.lower() == info.name:
                found[name] = member
    return found


@functools.cache
def entire_space_models() -> dict[str, type[EntireSpaceModel]]:
    """The entire-space models by name, one with each model of this package as its towers."""
    return {f"{ENTIRE_SPACE}{tower}": entire_space_model(tower) for tower in own_models()}


def get_model(model_name: str) -> type:
    """Stand in for ``recbole.utils.get_model``, with an error that lists what exists.

    Args:
        model_name: a model of this package, of RecBole or from outside, by the name of its class;
            or ``package.module:Class``.

    Returns:
        The model's class.

    Raises:
        UsageError: there is no such model, or a package that it needs is not installed.
    """
    if ":" in model_name:
        return import_model(model_name)
    if model_name in outside_models():
        return outside_models()[model_name].model_class
    if model_name in entire_space_models():
        return entire_space_models()[model_name]
    if model_name in own_models():
        # RecBole would look among its general models first and import them all, for a second.
        return own_models()[model_name]
    if model_name in decision_trees.TREE_MODELS:
        return decision_trees.tree_model(model_name)
    try:
        # Importing RecBole's SINE, which a look-up among sequential models does, switches on
        # torch's anomaly detection, which slows all training in the process.
        with torch.autograd.set_detect_anomaly(torch.is_anomaly_enabled()):
            model_class = _stock_get_model(model_name)
    except (ValueError, ImportError, AttributeError) as error:
        if model_name in recbole_models():
            raise UsageError(f"model: {model_name!r} cannot be imported here: {error}.") from error
        raise unknown_model(model_name) from error
    if not isinstance(model_class, type):  # another name of a module of models, as __init__
        raise unknown_model(model_name)
    for change in _CHANGES.pop(model_class.__module__, ()):
        change()
    return model_class


# By the name of the module of one of RecBole's models: what is changed there, until it is.
_CHANGES: dict[str, list[Callable[[], None]]] = {}


def when_asked_for(module: str, change: Callable[[], None]) -> None:
    """Let a change wait for the first time that one of RecBole's models is asked for.

    Args:
        module: the model's, which RecBole imports then.
        change: what :func:`get_model` does once it is imported.
    """
    _CHANGES.setdefault(module, []).append(change)


def get_flops(
    model: Any, dataset: Any, device: Any, logger: Any, transform: Any, verbose: bool = False
) -> float:
    """Stand in for ``recbole.utils.get_flops``, which knows nothing of our layers.

    RecBole's own models are still counted by RecBole, but for those that cannot score single rows:
    NaN stands for theirs.
    """
    if type(model).__name__ in RANK_ALL_ITEMS:
        return float("nan")
    if isinstance(model, ScenarioRecommender):
        return count_flops(model, dataset, device, transform)
    with copies_share_data(model):
        return _stock_get_flops(model, dataset, device, logger, transform, verbose)
