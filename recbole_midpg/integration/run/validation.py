"""Runs without a validation split: trained for a given number of epochs, then tested once.

As the last fit after tuning, on all rows but the test's. RecBole's ``Trainer.fit`` can do without
validation, but its ``data_preparation`` makes a loader of three splits in any case, and fails on
two pre-split files, and in some modes of evaluation on a split without rows.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from logging import getLogger
from typing import Any

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.time_split import validates
from recbole_midpg.integration.run.terminal import FOR_TERMINAL

_WITH_VALIDATION, _WITHOUT_VALIDATION = 3, 2  # files of splits


def with_empty_validation(stock: Any) -> Any:
    """Wrap ``Dataset.build``, which makes as many splits as there are files."""

    @functools.wraps(stock)
    def build(self: Any) -> list[Any]:
        splits: list[Any] = stock(self)
        if len(splits) == _WITHOUT_VALIDATION:
            train, test = splits
            splits = [train, train.copy(train.inter_feat[[]]), test]
        return splits

    return build


def with_empty_results(stock: Any) -> Any:
    """Wrap ``Trainer.fit``: without validation its results are empty, and not ``None``.

    ``recbole.trainer.HyperTuning`` writes them as a mapping.
    """

    @functools.wraps(stock)
    def fit(self: Any, *args: Any, **kwargs: Any) -> tuple[float, Mapping[str, float]]:
        score, results = stock(self, *args, **kwargs)
        return score, OrderedDict() if results is None else results

    return fit


def has_validation(config: Any) -> bool:
    """Whether a config asks for a validation split.

    Args:
        config: RecBole's ``Config`` or its values, with a split that was checked for form.
    """
    files = config["benchmark_filename"]
    if config["time_split"] is not None:
        return validates(config["time_split"])
    if files is not None:
        return len(files) == _WITH_VALIDATION
    split = config["eval_args"]["split"]
    return split.get("LS") != "test_only" and ("RS" not in split or split["RS"][1] > 0)


def check_splits(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Check that a run has rows to be tested on, and without validation a number of epochs.

    Args:
        values: the config's values, with a split that was checked for form.
        given: what the user's files, arguments and command line set.

    Raises:
        UsageError: there is no test split; or no validation that could end a training, and
            ``epochs`` is left at its default.
    """
    split = values["eval_args"]["split"]
    by_share = values["benchmark_filename"] is None and values["time_split"] is None
    if by_share and (split.get("LS") == "valid_only" or ("RS" in split and split["RS"][2] == 0)):
        raise UsageError(
            f"eval_args: split: {split!r} leaves no rows for the test that ends a run, expected "
            "some, as {RS: [0.8, 0.1, 0.1]}, or [0.9, 0, 0.1] for a run without validation."
        )
    if not has_validation(values) and "epochs" not in given:
        raise UsageError(
            f"epochs: without a validation split nothing ends the training before all "
            f"{values['epochs']} epochs of the default, expected how many to train, as epochs: 10."
        )


def require_validation(config: Any, command: str) -> None:
    """Check that a config lets validation choose, as comparing models and settings needs it.

    Args:
        config: RecBole's ``Config``.
        command: what needs it.

    Raises:
        UsageError: there is no validation split, or it is never evaluated.
    """
    if config["eval_step"] == 0:
        raise UsageError(f"eval_step: 0 evaluates no epoch, and {command} needs validation.")
    if not has_validation(config):
        keys = ("time_split", "benchmark_filename", "eval_args")
        key = next(key for key in keys if config[key] is not None)
        raise UsageError(
            f"{key}: {config[key]!r} makes no validation split, and {command} needs one, expected "
            "rows in all three splits."
        )


def report_missing_validation(config: Any) -> None:
    """Log what a run does that no validation ends."""
    if has_validation(config) and config["eval_step"] > 0:
        return
    reason = "eval_step: 0" if has_validation(config) else "No validation split"
    sentence = f"{reason}: trains {config['epochs']} epochs, tests the last weights."
    getLogger().info(sentence, extra=FOR_TERMINAL)
