"""The names of models, of this package's and of RecBole's, known without importing them."""

from __future__ import annotations

import functools
import re

from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.integration.config.key_names import MODEL_PROPERTIES
from recbole_midpg.integration.recbole_files import recbole_folder


@functools.cache
def own_model_names() -> list[str]:
    """The names of this package's models, which have a file of defaults each."""
    return sorted((path.stem for path in MODEL_PROPERTIES.glob("*.yaml")), key=str.lower)


TREES = ("LightGBM", "XGBoost")
"""Models of boosted trees: context-aware in what they read, but without embeddings or steps."""

ENTIRE_SPACE = "ESMM_"
"""How the names of entire-space models begin; the rest is the name of their tower."""


def defaults_of(model: str) -> str:
    """The model of this package whose file of defaults a model has: its tower's, or its own."""
    tower = model.removeprefix(ENTIRE_SPACE)
    return tower if tower in own_model_names() else model


@functools.cache
def recbole_models() -> list[str]:
    """The names of RecBole's own models."""
    files = (recbole_folder() / "model").glob("*_recommender/*.py")
    # A model's file is its class in lower case; some have no properties, or by another name.
    return sorted(
        name
        for path in files
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if name.lower() == path.stem
    )


def unknown_model(name: str) -> UsageError:
    """The error of a model that is not known, with those that are."""
    own, stock = own_model_names(), recbole_models()
    towers = [f"{ENTIRE_SPACE}{tower}" for tower in own]
    return UsageError(
        f"model: {name!r} is not known{did_you_mean(name, [*own, *towers, *stock]) or '.'}\n"
        f"Models of recbole-midpg: {', '.join(own)}; {ENTIRE_SPACE}NAME for clicks and purchases.\n"
        f"Models of RecBole: {', '.join(stock)}.\n"
        "A model of your own is named package.module:Class."
    )
