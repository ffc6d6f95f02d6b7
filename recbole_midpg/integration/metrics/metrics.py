"""RecBole's metrics of values, made exact, and this package's metrics of scenarios and groups.

All may stand in ``metrics`` and, PCOC aside, in ``valid_metric``, for our models and for RecBole's.
A metric of each scenario gives a result a scenario, named as ``auc/Headphones``; scenarios in which
it is not defined, as the AUC of rows of one class, are left out and counted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from logging import getLogger
from typing import Any, ClassVar

import numpy as np
from recbole.evaluator import base_metric, register
from recbole.utils import EvaluatorType

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.evaluation import measures
from recbole_midpg.evaluation.baseline_run import PHASE, TEST, VALID, baseline_auc
from recbole_midpg.evaluation.grouped_metrics import GroupedValues
from recbole_midpg.evaluation.measures import Measure, auc_of_many_groups
from recbole_midpg.evaluation.scenario_table import (
    ScenarioRow,
    ScenarioTable,
    scenario_rows,
    scenario_table,
)
from recbole_midpg.integration.config.eval_modes import check_valid_ranking
from recbole_midpg.integration.metrics import collecting
from recbole_midpg.integration.metrics.collecting import SCENARIO, SCENARIO_NAMES, group_key

LEFT_OUT = "scenarios left out"


# --------------------------------------------------------------------------------------------------
# Metrics of all rows


def scores_and_labels(self: Any, dataobject: Any) -> tuple[np.ndarray, np.ndarray]:
    """Stand in for ``LossMetric.used_info``: vectors, of one row too."""
    scores, labels = dataobject.get("rec.score"), dataobject.get("data.label")
    return scores.reshape(-1).cpu().numpy(), labels.reshape(-1).cpu().numpy()


_MEASURES: dict[str, Callable[[Any], Measure]] = {
    "auc": lambda _: measures.AUC,
    "logloss": lambda _: measures.LOG_LOSS,
    "prauc": lambda _: measures.AVERAGE_PRECISION,
    "pcoc": lambda _: measures.PREDICTED_OVER_OBSERVED,
    "ece": lambda config: measures.calibration_error(config["ece_bins"]),
}


class _ValueMetric(base_metric.LossMetric):
    """A metric of scores and labels, whose result has the class's name in lower case.

    Attributes:
        measure: which measure it is made of, a key of ``_MEASURES``.
    """

    measure: ClassVar[str]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.config = config
        self.of_rows = _MEASURES[self.measure](config)

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Calculate the metric of what was collected."""
        value = self.of_rows(dataobject.column("data.label"), dataobject.column("rec.score"))
        return {type(self).__name__.lower(): round(value, self.decimal_place)}


class AUC(_ValueMetric):
    """RecBole's metric ``AUC``, exact for ties; NaN where the rows are of one class."""

    measure = "auc"

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Calculate the metric of what was collected."""
        results = super().calculate_metric(dataobject)
        if np.isnan(results["auc"]):
            getLogger().warning(
                "AUC is not defined: the evaluated rows are of one class only, or scores are NaN."
            )
        return results


class LogLoss(_ValueMetric):
    """RecBole's metric ``LogLoss``."""

    measure = "logloss"
    smaller = True


class PRAUC(_ValueMetric):
    """The area under the precision-recall curve (average precision)."""

    measure = "prauc"


class PCOC(_ValueMetric):
    """Mean prediction over mean label; the best value is 1, so it chooses no epoch."""

    measure = "pcoc"


class ECE(_ValueMetric):
    """The expected calibration error over ``ece_bins`` bins of equal width."""

    measure = "ece"
    smaller = True


class RelaImpr(_ValueMetric):
    r"""The relative improvement in AUC over a named run, in per cent.

    .. math:: \left(\frac{\text{AUC} - 0.5}{\text{AUC}_\text{base} - 0.5} - 1\right) \cdot 100\%

    (Yan et al., ICML 2014.) ``baseline_run`` names the run's report, the JSON file beside its
    checkpoint. Validation is compared with its validation, test with its test.
    """

    measure = "auc"

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Calculate the metric of what was collected."""
        base = baseline_auc(self.config, dataobject.get(PHASE))
        area = self.of_rows(dataobject.column("data.label"), dataobject.column("rec.score"))
        improvement = 100 * ((area - 0.5) / (base - 0.5) - 1)
        return {"relaimpr": round(improvement, self.decimal_place)}


# --------------------------------------------------------------------------------------------------
# Metrics of scenarios


class _ScenarioMetric(_ValueMetric):
    """A metric of the rows of each scenario."""

    metric_need: ClassVar[list[str]] = ["rec.score", "data.label", SCENARIO]

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Calculate the metric of what was collected."""
        values = self.of_rows.by_group(
            *(dataobject.column(name) for name in ("data.label", "rec.score", SCENARIO))
        )
        results: dict[str, float] = {
            name: round(value, self.decimal_place)
            for name, value in self.summarize(values, dataobject).items()
        }
        if values.left_out:
            results[LEFT_OUT] = values.left_out
        return results

    def summarize(self, values: GroupedValues, dataobject: Any) -> dict[str, float]:
        """Name what the metric reports of the scenarios' values: a value each."""
        names = dataobject.get(SCENARIO_NAMES)
        return {
            f"{self.measure}/{names[scenario]}": value
            for scenario, value in zip(values.groups, values.values, strict=True)
            if not np.isnan(value)
        }


class _MeanOfScenarios(_ScenarioMetric):
    """The plain mean over scenarios."""

    def summarize(self, values: GroupedValues, dataobject: Any) -> dict[str, float]:
        """See :class:`_ScenarioMetric`."""
        return {type(self).__name__.lower(): values.mean()}


class _WeightedMeanOfScenarios(_ScenarioMetric):
    """The mean over scenarios, each counted by its rows."""

    def summarize(self, values: GroupedValues, dataobject: Any) -> dict[str, float]:
        """See :class:`_ScenarioMetric`."""
        return {type(self).__name__.lower(): values.weighted_mean()}


class ScenarioAUC(_ScenarioMetric):
    """The AUC of each scenario: ``auc/NAME``."""

    measure = "auc"


class ScenarioLogLoss(_ScenarioMetric):
    """The LogLoss of each scenario: ``logloss/NAME``."""

    measure = "logloss"
    smaller = True


class ScenarioPRAUC(_ScenarioMetric):
    """The area under each scenario's precision-recall curve: ``prauc/NAME``."""

    measure = "prauc"


class ScenarioPCOC(_ScenarioMetric):
    """Mean prediction over mean label of each scenario: ``pcoc/NAME``."""

    measure = "pcoc"


class ScenarioECE(_ScenarioMetric):
    """The expected calibration error of each scenario: ``ece/NAME``."""

    measure = "ece"
    smaller = True


class MeanScenarioAUC(_MeanOfScenarios):
    """The mean of the scenarios' AUC."""

    measure = "auc"


class MeanScenarioLogLoss(_MeanOfScenarios):
    """The mean of the scenarios' LogLoss."""

    measure = "logloss"
    smaller = True


class WeightedScenarioAUC(_WeightedMeanOfScenarios):
    """The mean of the scenarios' AUC, each counted by its rows: GAUC by scenario."""

    measure = "auc"


class WeightedScenarioLogLoss(_WeightedMeanOfScenarios):
    """The mean of the scenarios' LogLoss, each counted by its rows: LogLoss itself."""

    measure = "logloss"
    smaller = True


class WorstScenarioAUC(_ScenarioMetric):
    """The lowest AUC of a scenario."""

    measure = "auc"

    def summarize(self, values: GroupedValues, dataobject: Any) -> dict[str, float]:
        """See :class:`_ScenarioMetric`."""
        return {"worstscenarioauc": float(np.fmin.reduce(values.values, initial=np.nan))}


class FieldGAUC(_ValueMetric):
    """The AUC of the rows of each value of a field, averaged by rows: ``gauc/FIELD``.

    ``gauc_fields`` names the fields, as the user's. Values whose rows are of one class are left
    out; a log line counts them. (Zhou et al., KDD 2018.) RecBole's own ``GAUC`` ranks sampled
    candidates of users and weights by positives.
    """

    measure = "auc"

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Calculate the metric of what was collected."""
        labels, scores = dataobject.column("data.label"), dataobject.column("rec.score")
        results: dict[str, float] = {}
        for field in self.config["gauc_fields"]:
            values = auc_of_many_groups(labels, scores, dataobject.column(group_key(field)))
            if values.left_out:
                getLogger().info(
                    f"gauc/{field}: {values.left_out:,} of {len(values.groups):,} groups have "
                    "rows of one class only and are left out."
                )
            results[f"gauc/{field.lower()}"] = round(values.weighted_mean(), self.decimal_place)
        return results


OWN_METRICS: tuple[type[base_metric.LossMetric], ...] = (
    AUC,
    LogLoss,
    PRAUC,
    PCOC,
    ECE,
    RelaImpr,
    ScenarioAUC,
    ScenarioLogLoss,
    ScenarioPRAUC,
    ScenarioPCOC,
    ScenarioECE,
    MeanScenarioAUC,
    MeanScenarioLogLoss,
    WeightedScenarioAUC,
    WeightedScenarioLogLoss,
    WorstScenarioAUC,
    FieldGAUC,
)


def register_metrics() -> None:
    """Let RecBole's ``Metrics`` find ours by name; a second call does nothing new."""
    for metric in OWN_METRICS:
        name = metric.__name__.lower()
        register.metrics_dict[name] = metric
        register.metric_information[name] = metric.metric_need
        register.metric_types[name] = metric.metric_type
        if metric.smaller and name not in register.smaller_metrics:
            register.smaller_metrics.append(name)


# --------------------------------------------------------------------------------------------------
# Config


def check_metrics(values: dict[str, Any], usable_fields: list[str] | None) -> None:
    """Check the config keys that metrics read, and whether a higher ``valid_metric`` is better.

    Args:
        values: the config's final values; ``valid_metric_bigger`` is corrected.
        usable_fields: the fields by which rows can be grouped, ``None`` where they are not known.

    Raises:
        UsageError: a metric lacks what it needs, or ``valid_metric`` is not computed.
    """
    names = {name.lower() for name in values["metrics"]}
    chosen = {metric for metric in OWN_METRICS if metric.__name__.lower() in names}
    of_rows = sorted(
        metric.__name__
        for metric in chosen
        if issubclass(metric, _ScenarioMetric) or metric is FieldGAUC
    )
    if of_rows and of_rows != ["FieldGAUC"] and not values["scenario_id_field"]:
        raise UsageError(
            f"metrics: {of_rows[0]} needs the field that names a row's scenario, "
            "expected a value of scenario_fields or scenario_id_field."
        )
    if FieldGAUC in chosen:
        _check_gauc_fields(values, usable_fields)
    if RelaImpr in chosen:
        baseline_auc(values, TEST)
    if values["eval_type"] == EvaluatorType.VALUE:
        _check_valid_metric(values, names)
        return
    check_valid_ranking(values)
    if values["metrics_on_device"] is True:
        raise UsageError(
            "metrics_on_device: True is for metrics of labelled rows, as AUC, and "
            f"{', '.join(values['metrics'])} are of rankings, expected False or auto."
        )


def _check_gauc_fields(values: Mapping[str, Any], usable: list[str] | None) -> None:
    fields = values["gauc_fields"]
    if not fields:
        raise UsageError("gauc_fields: FieldGAUC needs fields, expected a list as [user_id].")
    for field in fields:
        if usable is not None and field not in usable:
            raise UsageError(
                f"gauc_fields: {field!r} is not a token field that is loaded"
                f"{expected_some_of(usable, str(field))}"
            )


def _check_valid_metric(values: dict[str, Any], names: set[str]) -> None:
    chosen = str(values["valid_metric"]).lower()
    measure, separator, _ = chosen.partition("/")
    source = chosen
    if separator:
        source = "fieldgauc" if measure == "gauc" else f"scenario{measure}"
    if measure == "pcoc":
        raise UsageError(
            "valid_metric: PCOC is best at 1 and has no direction, expected another metric."
        )
    if source not in names or (not separator and source.startswith("scenario")):
        raise UsageError(
            f"valid_metric: {values['valid_metric']!r} is not computed, expected one of "
            f"{', '.join(values['metrics'])}, or a scenario's as auc/NAME with ScenarioAUC."
        )
    values["valid_metric_bigger"] = source not in register.smaller_metrics


# --------------------------------------------------------------------------------------------------
# Trainers


def with_evaluated_rows(stock: Any) -> Any:
    """Wrap ``Evaluator.evaluate``: keep what was evaluated last, for tables of it."""

    @functools.wraps(stock)
    def evaluate(self: Any, dataobject: Any) -> Any:
        self.evaluated = dataobject
        return stock(self, dataobject)

    return evaluate


def rows_of_scenarios(dataobject: Any) -> tuple[ScenarioRow, ...]:
    """Describe the scenarios of what was collected; none where rows have no scenario."""
    return scenario_rows(*_with_scenarios(dataobject)) if SCENARIO in dataobject else ()


def table_of_scenarios(dataobject: Any) -> ScenarioTable | None:
    """Describe scenarios and all rows; ``None`` where rows have no scenario."""
    return scenario_table(*_with_scenarios(dataobject)) if SCENARIO in dataobject else None


def _with_scenarios(dataobject: Any) -> tuple[Any, Any, Any, list[str]]:
    labels, scores, scenarios = (
        dataobject.column(name) for name in ("data.label", "rec.score", SCENARIO)
    )
    return labels, scores, scenarios, dataobject.get(SCENARIO_NAMES)


def with_names(stock: Any) -> Any:
    """Wrap ``Trainer.evaluate``: keep the scenarios' names, as rows come with ids only."""

    @functools.wraps(stock)
    def evaluate(self: Any, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        if eval_data:
            struct = self.eval_collector.data_struct
            if PHASE not in struct:
                struct.set(PHASE, TEST)
            collecting.name_scenarios(struct, self.config, eval_data._dataset)
            # The last evaluation's rows make room for these, on a GPU's memory too.
            self.evaluator.evaluated = None
        return stock(self, eval_data, *args, **kwargs)

    return evaluate


def with_phase(stock: Any) -> Any:
    """Wrap ``Trainer._valid_epoch``: say that what is evaluated is the validation split."""

    @functools.wraps(stock)
    def valid_epoch(self: Any, *args: Any, **kwargs: Any) -> Any:
        struct = self.eval_collector.data_struct
        struct.set(PHASE, VALID)
        try:
            return stock(self, *args, **kwargs)
        finally:
            struct.set(PHASE, TEST)

    return valid_epoch


def valid_score(valid_result: dict[str, float], valid_metric: str) -> float:
    """Stand in for ``recbole.utils.calculate_valid_score``, which knows no capitals in names.

    Args:
        valid_result: the validation split's results.
        valid_metric: the name of the one that chooses the epoch.

    Returns:
        Its value.

    Raises:
        UsageError: it is not among the results, as a scenario's AUC without rows of both classes.
    """
    by_name = {name.lower(): value for name, value in valid_result.items()}
    if valid_metric.lower() not in by_name:
        raise UsageError(
            f"valid_metric: {valid_metric!r} is not among the results of the validation split, "
            f"expected one of {', '.join(by_name)}."
        )
    return by_name[valid_metric.lower()]
