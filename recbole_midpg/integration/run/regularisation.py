"""The keys that regularise a training, for all context-aware models alike, and what they need."""

from __future__ import annotations

from typing import Any

from recbole.utils import ModelType

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Number, Rules
from recbole_midpg.integration.dataset.batches import obstacle_to_parts
from recbole_midpg.models.base import ScenarioRecommender

REGULARISATION_RULES: Rules = {
    "dense_weight_decay": Number(),
    "embedding_l2": Number(),
    "embedding_prior": Number(),
    "embedding_dropout": Number(maximum=1.0, maximum_excluded=True),
}


def check_regularisation(config: Any) -> None:
    """Refuse a key where it would do nothing.

    Args:
        config: RecBole's ``Config``.

    Raises:
        UsageError: a key is set for a model that does not have it.
    """
    for key in REGULARISATION_RULES:
        if config[key] and config["MODEL_TYPE"] != ModelType.CONTEXT:
            raise UsageError(f"{key}: {config['model']} is not context-aware, expected 0.")
    obstacle = obstacle_to_parts(config)
    if config["embedding_prior"] and obstacle is not None:
        raise UsageError(
            f"embedding_prior: {config['embedding_prior']} is not allowed, since {obstacle}, "
            "expected 0."
        )
    is_own = issubclass(config.model_class, ScenarioRecommender)
    if config["embedding_dropout"] and not is_own:
        raise UsageError(
            f"embedding_dropout: {config['model']} embeds by itself, as it is no "
            "ScenarioRecommender of this package, expected 0."
        )
