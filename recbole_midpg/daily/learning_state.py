"""What it takes to go on learning from new rows: a trained model, its optimizer, what it has seen.

A training leaves it in its checkpoint and its dataset. Whoever goes on writes all of it into one
file, in the form of a scorer with one part more, so that whatever reads a scorer reads it too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run.checkpoint import load_plain
from recbole_midpg.integration.scoring.scoring import (
    BUNDLE,
    ScoringModel,
    read_scoring_model,
    write_scoring_model,
)
from recbole_midpg.loading.dataset_cache import sha256_of

_VERSION = 1


@dataclass(frozen=True)
class SeenFile:
    """A file of rows that a model has learned from.

    Attributes:
        name: the file's name, without its folder.
        sha256: of its bytes.
        rows: how many it has.
        first: the earliest time of its rows, ``None`` where they have none.
        last: the latest.
        scores: how well its rows were predicted before they were learned, a line for each scenario
            in plain values; empty where that was not asked.
    """

    name: str
    sha256: str
    rows: int
    first: float | None
    last: float | None
    scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class LearningState:
    """A model that can go on learning.

    Attributes:
        scoring: the model and its fields.
        optimizer: the optimizer's state, in torch's format, by the order of the model's parameters.
        seen: the files learned since the training, in their order.
        origin: the SHA-256 of the training's checkpoint.
    """

    scoring: ScoringModel
    optimizer: Mapping[str, Any]
    seen: tuple[SeenFile, ...]
    origin: str


def read_learning_state(path: str | os.PathLike[str]) -> LearningState:
    """Read a training's checkpoint, whose dataset has to be where it was, or what went on from it.

    Args:
        path: the file.

    Raises:
        UsageError: it cannot be read safely, the model is not context-aware or the dataset is
            missing or another one, or the file holds no optimizer.
    """
    scoring = read_scoring_model(path)
    place = f"checkpoint {os.fspath(path)!r}"
    plain = load_plain(path, "cpu", "checkpoint")
    if plain.get("format") != BUNDLE:
        if not plain.get("optimizer"):
            raise _no_optimizer(place)
        return LearningState(scoring, plain["optimizer"], (), digest_of(path))
    learning = plain.get("learning")
    if learning is None:
        raise _no_optimizer(place)
    if learning.get("version") != _VERSION:
        raise UsageError(
            f"{place}: what it has learned is of version {learning.get('version')!r}, "
            f"expected {_VERSION}."
        )
    try:
        seen = tuple(SeenFile(**values) for values in learning["seen"])
        return LearningState(scoring, learning["optimizer"], seen, learning["origin"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"{place}: it does not say what it has seen ({error!r}).") from error


def _no_optimizer(place: str) -> UsageError:
    return UsageError(
        f"{place}: it has no state of the optimizer, expected the checkpoint of a training or a "
        "file of --continue_from (an exported scorer cannot go on learning)."
    )


def write_learning_state(state: LearningState, path: str | os.PathLike[str]) -> None:
    """Write a file that needs no dataset to score and to go on learning, whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    learning = {
        "version": _VERSION,
        "optimizer": dict(state.optimizer),
        "seen": [asdict(file) for file in state.seen],
        "origin": state.origin,
    }
    write_scoring_model(state.scoring, path, learning)


def digest_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - any path
            return sha256_of(file)
    except OSError as error:
        raise UsageError(
            f"input {os.fspath(path)!r}: it cannot be read ({error.strerror})."
        ) from error
