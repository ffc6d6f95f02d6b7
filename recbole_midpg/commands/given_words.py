"""A misspelt model, dataset or config key, reported before the seconds of RecBole's import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_midpg.common.choices import DATA_PATH
from recbole_midpg.common.file_names import require_file_name
from recbole_midpg.common.rules import Names
from recbole_midpg.integration.config.key_names import MODEL_PROPERTIES, require_known_keys
from recbole_midpg.integration.dataset.datasets import require_known_dataset
from recbole_midpg.integration.models.model_names import (
    defaults_of,
    own_model_names,
    recbole_models,
    unknown_model,
)


def require_known_words(model: Any, dataset: Any, given: Mapping[str, Any]) -> None:
    """Check the names of model, dataset and config keys, as far as names alone show.

    All else is checked with the config; so are the words that come with a model from outside,
    ``package.module:Class``, and the dataset of RecBole's own models, which RecBole looks for.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        given: config keys and values of the command line and of config files.

    Raises:
        UsageError: there is no such model or dataset, or a key is a misspelt one.
    """
    if not isinstance(model, str) or ":" in model:
        return
    defaults = defaults_of(model)
    is_own = defaults in own_model_names()
    if not is_own and model not in recbole_models():
        raise unknown_model(model)
    if Names().accepts(given.get("extra_keys") or ()):
        require_known_keys(given, [MODEL_PROPERTIES / f"{defaults}.yaml"] if is_own else [])
    data_path = given.get("data_path", DATA_PATH)
    if is_own and isinstance(data_path, str):
        require_known_dataset(require_file_name("dataset", dataset), Path(data_path))
