"""Search spaces in RecBole's ``.hyper`` files, read without running what they hold."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from recbole.model.abstract_recommender import ContextRecommender

from recbole_midpg.common.arguments import parse_value
from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.common.rules import Integer
from recbole_midpg.evaluation.row_keys import KEYS_OF_ROWS
from recbole_midpg.integration.config.config import model_properties, rules_of
from recbole_midpg.integration.config.key_names import RECBOLE_PROPERTIES, keys_of
from recbole_midpg.integration.models.model_names import defaults_of
from recbole_midpg.integration.models.outside_models import outside_models
from recbole_midpg.integration.models.registry import get_model
from recbole_midpg.models.base import ScenarioRecommender

_SPACES = Path(str(resources.files("recbole_midpg"))) / "properties" / "hyper"
_NUMBERS = {"uniform": 2, "loguniform": 2, "quniform": 3}
_LARGEST_LOGARITHM = math.floor(math.log(sys.float_info.max))
# Trials that differ in one of these are not comparable by their scores.
_NOT_SEARCHED = {
    *KEYS_OF_ROWS,
    *("model", "dataset", "data_path", "reproducibility", "repeatable"),
    *("metrics", "valid_metric", "valid_metric_bigger", "metric_decimal_place", "topk"),
    *("gauc_fields", "ece_bins"),
}


@dataclass(frozen=True)
class Dimension:
    """A line of a space.

    Attributes:
        key: the config key.
        kind: ``choice``, ``uniform``, ``loguniform`` or ``quniform``, as hyperopt means them.
        values: the options of a choice; else low and high, and the step of ``quniform``.
    """

    key: str
    kind: str
    values: tuple[Any, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it is ``quniform`` of whole numbers."""
        return self.kind == "quniform" and float(self.values[2]).is_integer()

    def value_of(self, drawn: Any) -> Any:
        """The config value that a draw stands for: hyperopt draws whole numbers as 8.0."""
        return round(drawn) if self.is_whole else drawn


def default_space(model: str) -> list[Dimension]:
    """The space that every context-aware model has without a file of the user's.

    What ``properties/hyper/common.hyper`` holds is searched for all models alike, where a model
    reads it; beside it stand the keys of the model's own file, which win over common ones.

    Args:
        model: a model of this package or of RecBole, or from outside: its own file is that of
            ``properties/hyper/``, or the one beside its class. There need not be one.

    Returns:
        The space's dimensions.

    Raises:
        UsageError: the model is not context-aware, or there is no such model.
    """
    model_class = get_model(model)
    name = model_class.__name__
    if not issubclass(model_class, ContextRecommender):
        raise UsageError(
            f"--space: there is no packaged space for {name}, expected a file of lines as "
            "learning_rate loguniform -8,-4 or embedding_size choice [8,16]."
        )
    unread = _unread_keys(model_class)
    common = [line for line in read_space(_SPACES / "common.hyper") if line.key not in unread]
    path = _SPACES / f"{defaults_of(name)}.hyper"
    if name in outside_models():
        path = outside_models()[name].space
    own = read_space(path) if path.is_file() else []
    return list({dimension.key: dimension for dimension in [*common, *own]}.values())


def _unread_keys(model_class: type) -> set[str]:
    """Common keys that a model does not read; the others are of any training."""
    name = model_class.__name__
    files = model_properties(name) or [RECBOLE_PROPERTIES / "model" / f"{name}.yaml"]
    unread = {"dropout_prob"} - keys_of(files)
    if not issubclass(model_class, ScenarioRecommender):
        unread.add("embedding_dropout")
    return unread


def read_space(path: str | Path) -> list[Dimension]:
    """Read a search space: lines of ``key kind values``, empty ones and ``#`` comments aside.

    Args:
        path: the file.

    Returns:
        Its dimensions.

    Raises:
        UsageError: the file cannot be read or a line is not of that form; names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"search space {str(path)!r}: it cannot be read ({error.strerror}), expected a file of "
            "lines as embedding_size choice [8,16]."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"search space {str(path)!r}: it is not UTF-8 text.") from error
    dimensions = [
        _read_line(line.split(maxsplit=2), f"search space {str(path)!r}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    keys = [dimension.key for dimension in dimensions]
    if not keys or len(set(keys)) < len(keys):
        raise UsageError(f"search space {str(path)!r}: expected one or more keys, each once.")
    return dimensions


def _read_line(words: list[str], place: str) -> Dimension:
    if len(words) < 3:  # noqa: PLR2004 - key, kind, values
        raise UsageError(f"{place}: expected three words: key, kind and values.")
    key, kind, text = words
    if key in _NOT_SEARCHED:
        raise UsageError(
            f"{place}: {key} cannot be searched, as it decides how a trial is scored or drawn, "
            "expected a key of the model or its training."
        )
    if kind == "choice":
        options = parse_value(text)
        if not isinstance(options, (list, tuple)) or not options:
            raise UsageError(f"{place}: {text!r} is not allowed, expected options as [8, 16].")
        return Dimension(key, kind, tuple(options))
    if kind not in _NUMBERS:
        hint = did_you_mean(kind, ["choice", *_NUMBERS]) or "."
        raise UsageError(f"{place}: {kind!r} is not a kind of dimension, expected choice, "
                         f"{', '.join(_NUMBERS)}{hint}")  # fmt: skip
    return Dimension(key, kind, _read_numbers(kind, text, place))


def _read_numbers(kind: str, text: str, place: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    form = "low,high,step" if kind == "quniform" else "low,high"
    refused = f"{place}: {text!r} is not allowed, expected finite numbers {form}"
    # numpy draws NaN of what is not finite and of a step of 0.
    if len(numbers) != _NUMBERS[kind] or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{refused}.")
    if numbers[0] >= numbers[1]:
        raise UsageError(f"{refused}, with low below high.")
    if kind == "quniform" and numbers[2] <= 0:
        raise UsageError(f"{refused}, with a step above 0.")
    if kind == "loguniform" and numbers[1] > _LARGEST_LOGARITHM:
        raise UsageError(
            f"{refused}, the natural logarithms of numbers, of at most {_LARGEST_LOGARITHM}."
        )
    return numbers


def count_settings(dimensions: Sequence[Dimension], defaults: Mapping[str, Any]) -> float:
    """How many settings there are to try: those of a space, and the defaults where it lacks them.

    Args:
        dimensions: the space.
        defaults: a value for each of its keys.

    Returns:
        A whole number; infinity where the space has a dimension of numbers.
    """
    if any(dimension.kind != "choice" for dimension in dimensions):
        return math.inf
    has_defaults = all(defaults[dimension.key] in dimension.values for dimension in dimensions)
    return math.prod(len(dimension.values) for dimension in dimensions) + (not has_defaults)


def require_whole_numbers(dimensions: Sequence[Dimension], config: Any) -> None:
    """Check that keys of whole numbers are drawn from such: else every trial but the first fails.

    Args:
        dimensions: the space.
        config: RecBole's ``Config``.

    Raises:
        UsageError: one is drawn from other numbers.
    """
    rules = rules_of(config)
    for dimension in dimensions:
        drawn = dimension.kind != "choice" and not dimension.is_whole
        if drawn and isinstance(rules.get(dimension.key), Integer):
            raise UsageError(
                f"search space: {dimension.key} is a whole number, which {dimension.kind} does not "
                "draw here, expected choice, or quniform with a whole step."
            )


def hyperopt_space(dimensions: list[Dimension], hp: Any) -> dict[str, Any]:
    """Turn dimensions into hyperopt's own, by its module ``hp``."""
    make: dict[str, Callable[..., Any]] = {
        "choice": lambda key, *options: hp.choice(key, list(options)),
        "uniform": hp.uniform,
        "loguniform": hp.loguniform,
        "quniform": hp.quniform,
    }
    return {
        dimension.key: make[dimension.kind](dimension.key, *dimension.values)
        for dimension in dimensions
    }
