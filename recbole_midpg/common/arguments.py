"""Reading ``--key=value`` and ``--key value``: nothing that is written there is ever run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from typing import Any

import yaml

from recbole_midpg.common.choices import LARGEST_SEED
from recbole_midpg.common.errors import UsageError

_SHORT_NAMES = {"-m": "--model", "-d": "--dataset"}
# Keys that may stand alone, and what they mean then.
_ALONE = {"resume": "True", "verbose": "True", "force": "True"}
# What YAML's safe loader raises, beside its own errors, for a value such as 2001-99-99.
YAML_VALUE_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
_MOST_VALUES = 100_000
_WORDS = {"true": True, "false": False, "null": None, "~": None}


def parse_value(text: str) -> Any:
    """Read a value as a Python literal, as a YAML list or mapping, or else as text.

    RecBole evaluates values as Python code; a literal means the same here, and code is text.

    Args:
        text: what stands after the ``=``.

    Returns:
        A number, truth value, ``None``, list, tuple, mapping or text.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        with warnings.catch_warnings():
            # Of a file's name as 4.inter Python's parser says that it is no number.
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _parse_collection(text)
    plain = value is None or isinstance(value, (str, int, float, list, tuple, dict))
    return value if plain else text


def _parse_collection(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        value = load_yaml(text)
    except (yaml.YAMLError, *YAML_VALUE_ERRORS):
        return text
    return value if isinstance(value, (list, dict)) else text


def load_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Read YAML that holds as many values as it seems to, each under a key of its own.

    References to references can stand for more values than fit the memory, or for themselves;
    whoever prints such a value, as RecBole's log does, does not come back. And of a key that stands
    twice PyYAML takes the later value without a word.

    Args:
        text: the YAML.
        loader: a safe loader.

    Raises:
        YAMLError: the text is no YAML, stands for too many values, or has a key twice.
        Exception: one of :data:`YAML_VALUE_ERRORS`.
    """
    root = yaml.compose(text, Loader=loader)
    _count(root, {})
    _refuse_repeated_keys(root)
    return yaml.load(text, Loader=loader)


def _count(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many values a node stands for, references written out."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES  # what it is where it holds itself
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    if known[id(node)] >= _MOST_VALUES:
        problem = f"it stands for {_MOST_VALUES:,} values or more"
        raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
    return known[id(node)]


def _refuse_repeated_keys(node: yaml.Node | None) -> None:
    """Raise where a mapping, or one within it, has a key twice; it holds itself nowhere."""
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            _refuse_repeated_keys(part)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in lines:
                problem = f"the key {key.value!r} stands in line {lines[key.value]} already"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        _refuse_repeated_keys(value)


def split_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Split command-line arguments into keys and the text of their values.

    Args:
        arguments: ``--key=value`` or ``--key value``, also ``-m`` and ``-d`` for model and dataset;
            ``--config_files`` takes several values, ``--resume``, ``--verbose`` and ``--force`` may
            stand alone.

    Returns:
        The text of each key's value; several values are joined by spaces.

    Raises:
        UsageError: an argument belongs to no key, a key has no value, or has two.
    """
    texts: dict[str, str] = {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        name, has_value, value = _SHORT_NAMES.get(argument, argument).partition("=")
        if not name.startswith("--") or len(name) == len("--"):
            raise UsageError(f"argument {argument!r}: expected --key=value or --key value.")
        key = name[len("--") :]
        values = [value] if has_value else _following_values(key, remaining)
        if not values and key in _ALONE:
            values = [_ALONE[key]]
        if not values:
            raise UsageError(f"argument {argument!r}: a value is missing, expected {name}=value.")
        text = " ".join(values)
        if texts.get(key, text) != text:
            raise UsageError(f"argument {name}: both {texts[key]!r} and {text!r} are given.")
        texts[key] = text
    return texts


def config_values(arguments: Sequence[str]) -> dict[str, Any]:
    """Read command-line arguments as config values; see the two functions above."""
    return {key: parse_value(text) for key, text in split_arguments(arguments).items()}


def listed_names(words: Sequence[str]) -> list[str]:
    """The names of an option that takes several, with spaces or commas between them.

    Args:
        words: as ``["DNN", "DPG"]``, ``["DNN,DPG"]`` or ``["[DNN,DPG]"]``, as a config has it.
    """
    return [name for word in words for name in word.strip("[]").split(",") if name]


def model_names(words: Sequence[str]) -> list[str]:
    """The models of ``--models``, written as :func:`listed_names` has it.

    Raises:
        UsageError: there are none, or one is there twice.
    """
    models = listed_names(words)
    if not models:
        raise UsageError(f"--models: {' '.join(words)!r} names no model, expected one or several.")
    if len(set(models)) < len(models):
        raise UsageError(f"--models: {' '.join(models)} has a model twice, expected each once.")
    return models


def require_positive(option: str, value: int) -> None:
    """Check an option that counts something.

    Raises:
        UsageError: it is less than 1.
    """
    if value < 1:
        raise UsageError(f"--{option}: {value} is not allowed, expected at least 1.")


def require_seeds(first: int, count: int = 1) -> None:
    """Check ``--seed``, and the seeds that follow from it on, one a trial.

    Args:
        first: the first seed.
        count: how many there are.

    Raises:
        UsageError: numpy takes one of them for no seed.
    """
    largest = LARGEST_SEED - (count - 1)
    if not 0 <= first <= largest:
        following = f", as {count} seeds follow from it on" if count > 1 else ""
        raise UsageError(
            f"--seed: {first} is not allowed, expected a whole number from 0 to "
            f"{largest}{following}."
        )


def require_trials(trials: int, seed: int, jobs: int) -> None:
    """Check the options of a command that trains models several times.

    Args:
        trials: how many times each model is trained.
        seed: of the first; each further one has the next number.
        jobs: how many are trained at a time.

    Raises:
        UsageError: one is out of range.
    """
    require_positive("trials", trials)
    require_positive("jobs", jobs)
    require_seeds(seed, trials)


def _following_values(key: str, remaining: list[str]) -> list[str]:
    """Take a key's values off the front of the remaining arguments."""
    most = len(remaining) if key == "config_files" else 1
    values: list[str] = []
    while remaining and len(values) < most and not _is_key(remaining[0]):
        values.append(remaining.pop(0))
    return values


def _is_key(argument: str) -> bool:
    return argument.startswith("--") or argument in _SHORT_NAMES
