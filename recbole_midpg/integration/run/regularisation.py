"""The keys that regularise a training, for all context-aware models alike, and what they need."""

from __future__ import annotations

from logging import getLogger
from typing import Any

from recbole.utils import ModelType

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import ByName, Either, Number, Rules
from recbole_midpg.integration.dataset.batches import obstacle_to_parts
from recbole_midpg.integration.models.model_names import TREES
from recbole_midpg.models.base import ScenarioRecommender

REGULARISATION_RULES: Rules = {
    "dense_weight_decay": Number(),
    "embedding_l2": Number(),
    "embedding_prior": Either(Number(), ByName(Number(), "{user_id: 30, item_id: 8}")),
    "embedding_dropout": Number(maximum=1.0, maximum_excluded=True),
}


def check_regularisation(config: Any) -> None:
    """Refuse a key where it would do nothing, or leave it out where it is the dataset's default.

    Args:
        config: RecBole's ``Config``.

    Raises:
        UsageError: the user sets a key for a model or a training that does not have it.
    """
    for key in REGULARISATION_RULES:
        obstacle = _obstacle(key, config) if config[key] else None
        if obstacle is not None:
            leave_out(key, obstacle, config)


def leave_out(key: str, obstacle: str, config: Any) -> None:
    """Refuse a key that would do nothing, or set it to 0 where it is the dataset's default.

    Args:
        key: a key of :data:`REGULARISATION_RULES`.
        obstacle: why it would do nothing.
        config: RecBole's ``Config``.

    Raises:
        UsageError: the user has set it.
    """
    if key in config.external_config_dict:
        raise UsageError(f"{key}: {obstacle}, expected 0.")
    getLogger().info(f"{key}: {config[key]} of the dataset's config is left out, as {obstacle}.")
    config.final_config_dict[key] = 0.0


def _obstacle(key: str, config: Any) -> str | None:
    """Why a key would do nothing; ``None`` where it does something."""
    if config["MODEL_TYPE"] != ModelType.CONTEXT:
        return f"{config['model']} is not context-aware"
    if config["model"] in TREES:
        return f"{config['model']} grows trees"
    is_own = issubclass(config.model_class, ScenarioRecommender)
    if key == "embedding_dropout" and not is_own:
        return f"{config['model']} embeds by itself, being no ScenarioRecommender of this package"
    return obstacle_to_parts(config) if key == "embedding_prior" else None
