"""Which metrics go with which mode of ``eval_args``, checked before any data is loaded.

A mode says which rows a split is scored on: ``labeled``, its own; ``full``, each user with every
item; ``uniN`` and ``popN``, its own and N sampled items for each. RecBole checks one pair of the
two and fails on the others after a whole epoch, as a batch of labelled rows has no users to rank
for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole.evaluator import register
from recbole.utils import EvaluatorType

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.rules import Integer, Names, Sizes, check_settings
from recbole_midpg.loading.atomic_header import AtomicField, feature_fields

_PHASES = ("valid", "test")
_ARGUMENTS = ("split", "order", "group_by", "mode")
_MODE = re.compile(r"labeled|full|(uni|pop)[1-9][0-9]*")


@dataclass(frozen=True)
class _MetricName:
    """The metric that chooses the epoch."""

    allowed: str = "a metric's name, as AUC or Recall@10"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        return isinstance(value, str)


@dataclass(frozen=True)
class _Depths:
    """How many items of a ranking count."""

    allowed: str = "a whole number of at least 1, or a list of them, as [10, 20]"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        return Integer(1).accepts(value) or Sizes(1).accepts(value)


def check_evaluation(values: Mapping[str, Any]) -> None:
    """Check the forms of what evaluation reads, and that metrics and modes go together.

    Args:
        values: the config's values, in any form that RecBole takes.

    Raises:
        UsageError: a value is not of its form or has an unknown part, metrics are of two kinds, or
            they do not go with the modes of ``eval_args``.
    """
    metrics, arguments = values["metrics"], values["eval_args"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    check_settings(values, {"valid_metric": _MetricName(), "topk": _Depths()})
    if not isinstance(arguments, dict):
        raise UsageError(
            f"eval_args: {arguments!r} is not allowed, expected a mapping as "
            "{split: {RS: [0.8, 0.1, 0.1]}, order: RO, group_by: ~, mode: labeled}."
        )
    _require_known("eval_args", arguments, _ARGUMENTS)
    if isinstance(arguments.get("mode"), dict):
        _require_known("eval_args: mode", arguments["mode"], _PHASES)
    _check_metric_names(metrics)
    modes = modes_of(arguments)
    for mode in modes.values():
        if not isinstance(mode, str) or not _MODE.fullmatch(mode):
            raise UsageError(
                f"eval_args: mode: {mode!r} is not allowed, expected labeled, full, uniN or popN "
                "with a number N of items, as uni100, for both splits or as "
                "{valid: uni100, test: full}."
            )
    _check_pair(metrics, modes)


def _require_known(key: str, given: Mapping[Any, Any], known: Sequence[str]) -> None:
    """Check the parts of a mapping, of which RecBole passes over those that it does not know."""
    for name in given:
        if name not in known:
            raise UsageError(
                f"{key}: {name!r} is no part of it{expected_some_of(known, str(name))}"
            )


def _check_metric_names(metrics: Any) -> None:
    if not Names().accepts(metrics) or not metrics:
        raise UsageError(f"metrics: {metrics!r} is not allowed, expected names, as [AUC, LogLoss].")
    for name in metrics:
        if name.lower() not in register.metric_types:
            known = [metric.__name__ for metric in register.metrics_dict.values()]
            raise UsageError(
                f"metrics: {name!r} is no metric{expected_some_of(sorted(known), name)}"
            )


def _check_pair(metrics: Sequence[str], modes: Mapping[str, str]) -> None:
    """Check metrics for the modes, and either for itself."""
    rankings, of_rows = (
        [name for name in metrics if register.metric_types[name.lower()] == kind]
        for kind in (EvaluatorType.RANKING, EvaluatorType.VALUE)
    )
    if rankings and of_rows:
        raise UsageError(
            f"metrics: {', '.join(rankings)} of rankings cannot be computed beside "
            f"{', '.join(of_rows)} of rows, expected metrics of one kind."
        )
    if rankings and "labeled" in modes.values():
        raise UsageError(
            f"eval_args: mode: {_said(modes)} does not go with metrics: "
            f"[{', '.join(rankings)}] of rankings, expected full, uniN or popN (as uni100) for "
            "validation and test, or metrics of rows, as [AUC, LogLoss]."
        )
    if of_rows and "full" in modes.values():
        raise UsageError(
            f"eval_args: mode: {_said(modes)} does not go with metrics: "
            f"[{', '.join(of_rows)}] of rows, expected labeled, uniN or popN (as uni100) for "
            "validation and test, or metrics of rankings, as [Recall, NDCG]."
        )
    if modes["valid"] == "labeled" != modes["test"]:
        raise UsageError(
            f"eval_args: mode: {_said(modes)} is not allowed, as RecBole cannot sample for the "
            "test after a labelled validation, expected one mode for both."
        )


def modes_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The modes of validation and test, by RecBole's defaults.

    Args:
        arguments: ``eval_args``.
    """
    mode = arguments.get("mode", "full")
    if not isinstance(mode, dict):
        return dict.fromkeys(_PHASES, mode)
    given = mode.get("valid", mode.get("test", "full"))
    return {phase: mode.get(phase, given) for phase in _PHASES}


def check_evaluated_rows(config: Any, fields: Mapping[str, AtomicField]) -> None:
    """Check that a context-aware model's data has what the modes of ``eval_args`` need.

    Args:
        config: RecBole's ``Config``.
        fields: the fields of the atomic files.

    Raises:
        UsageError: labelled rows have no label, or candidates lack a user, an item, or a feature
            that only rows have.
    """
    modes = modes_of(config["eval_args"])
    loaded = [name for name, field in fields.items() if field.loaded]
    label = config["LABEL_FIELD"]
    # Where training samples, it makes its labels itself; else the data's own are checked when read.
    is_unlabelled = config["train_neg_sample_args"] and not config["threshold"]
    if "labeled" in modes.values() and is_unlabelled and label not in loaded:
        raise UsageError(
            f"LABEL_FIELD: {label!r} is not a field that is loaded, and eval_args: mode: "
            "labeled needs labels (uniN, as uni100, needs none)"
            f"{expected_some_of(loaded, str(label))}"
        )
    if set(modes.values()) == {"labeled"}:
        return
    ids = [config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD")]
    for key, name in zip(("USER_ID_FIELD", "ITEM_ID_FIELD"), ids, strict=True):
        if name not in loaded:
            raise UsageError(
                f"{key}: {name!r} is not a loaded field, which eval_args: mode: {_said(modes)} "
                f"needs{expected_some_of(loaded, str(name))}"
            )
    of_rows = [
        name
        for name in feature_fields(config, dict(fields))
        if name not in ids and fields[name].file.endswith(".inter")
    ]
    if of_rows and "full" in modes.values():
        raise UsageError(
            f"eval_args: mode: {_said(modes)} cannot be done where a row has features of its own "
            f"({', '.join(of_rows)}), as an item that the user never met has none, expected uniN "
            "or popN (as uni100), which lends it the row's, or unload_col: {inter: "
            f"[{', '.join(of_rows)}]}}."
        )


def check_valid_ranking(values: Mapping[str, Any]) -> None:
    """Check that ``valid_metric`` is one of the rankings' metrics.

    Raises:
        UsageError: it is not computed.
    """
    results: list[str] = []
    for name in values["metrics"]:
        results += [name] if name.lower() == "gauc" else [f"{name}@{k}" for k in values["topk"]]
    if str(values["valid_metric"]).lower() not in {result.lower() for result in results}:
        raise UsageError(
            f"valid_metric: {values['valid_metric']!r} is not computed, expected one of "
            f"{', '.join(results)}, as metrics and topk make them."
        )


def _said(modes: Mapping[str, str]) -> str:
    """The modes as a config file has them."""
    if modes["valid"] == modes["test"]:
        return modes["test"]
    return f"{{valid: {modes['valid']}, test: {modes['test']}}}"
