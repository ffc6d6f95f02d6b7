import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.evaluator import Evaluator, register
from recbole.evaluator import metrics as stock_metrics
from recbole.evaluator.collector import Collector
from recbole.utils import EvaluatorType, get_model, get_trainer, init_seed
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.metrics import metrics
from recbole_midpg.integration.metrics.collecting import SCENARIO, SCENARIO_NAMES, GrowingDataStruct
from recbole_midpg.integration.metrics.metrics import AUC, LogLoss
from recbole_midpg.integration.run.run import Run
from tests.integration.run.test_progress import settings, write_rows
from tests.support.recbole_data import gaps_config, loaders_of

CONFIG = {
    "metric_decimal_place": 4,
    "metrics": ["AUC", "LogLoss", "RMSE"],
    "eval_type": EvaluatorType.VALUE,
    "metrics_on_device": False,
    "scenario_id_field": "job",
    "gauc_fields": ["user"],
    "ece_bins": 10,
    "eval_args": {"mode": {"valid": "labeled", "test": "labeled"}},
    "topk": [2],
    "device": torch.device("cpu"),
    "LABEL_FIELD": "label",
    "ITEM_ID_FIELD": "item",
    "USER_ID_FIELD": "user",
}

NAMES = ["missing", "clerk", "artist", "doctor"]


def struct_of(scores, labels):
    struct = GrowingDataStruct()
    struct.set("rec.score", torch.as_tensor(scores))
    struct.set("data.label", torch.as_tensor(labels))
    return struct


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2, max_size=50),
    st.integers(1, 8),
    st.booleans(),
)
def test_values_are_recboles(rows, places, tied):
    scores = torch.tensor([score for score, _ in rows])
    labels = torch.tensor([float(label) for _, label in rows])
    labels[:2] = torch.tensor([0.0, 1.0])
    scores = scores.round() if tied else scores
    config = CONFIG | {"metric_decimal_place": places}
    struct = struct_of(scores, labels)
    for ours, stock in ((AUC, stock_metrics.AUC), (LogLoss, stock_metrics.LogLoss)):
        mine = ours(config).calculate_metric(struct)
        theirs = stock(config).calculate_metric(struct)
        assert mine.keys() == theirs.keys()
        for name in mine:
            # Sums in another order may fall on the other side of a rounding.
            assert mine[name] == pytest.approx(theirs[name], abs=1.01 * 10**-places)
        exact = ours(config | {"metric_decimal_place": 15}).calculate_metric(struct)
        expected = stock(config | {"metric_decimal_place": 15}).calculate_metric(struct)
        assert exact == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_registration_keeps_what_recbole_knows_of_the_metrics():
    evaluator = Evaluator(CONFIG)
    assert type(evaluator.metric_class["auc"]) is AUC
    assert type(evaluator.metric_class["logloss"]) is LogLoss
    assert {"auc": AUC.metric_need, "logloss": LogLoss.metric_need} == {
        name: register.metric_information[name] for name in ("auc", "logloss")
    }
    assert {AUC.metric_type, LogLoss.metric_type} == {register.metric_types["auc"]}
    assert not AUC.smaller
    assert LogLoss.smaller
    assert "logloss" in register.smaller_metrics


def test_a_split_of_one_row():
    gathered = Collector(CONFIG)
    # A model that squeezes its output gives a scalar for one row.
    batch = {"label": torch.tensor([1.0]), "job": torch.tensor([1])}
    gathered.eval_batch_collect(torch.tensor(0.25), batch, None, None)
    gathered.data_struct.set(SCENARIO_NAMES, NAMES)
    result = Evaluator(CONFIG).evaluate(gathered.get_data_struct())
    assert math.isnan(result["auc"])
    assert result["logloss"] == round(math.log(4), 4)
    assert result["rmse"] == 0.75


def test_one_class_is_warned_of(caplog):
    value = AUC(CONFIG).calculate_metric(struct_of([0.1, 0.2], [1.0, 1.0]))["auc"]
    assert math.isnan(value)
    assert "one class" in caplog.text


# ------------------------------------------------------------------------------------------------
# Scenarios

ROWS = 400
PLACES = 12


@pytest.fixture
def collected():
    """Rows of two scenarios with both classes and a third, doctor, with positives only."""
    random = np.random.default_rng(7)
    struct = struct_of(
        torch.tensor(random.random(ROWS).round(2), dtype=torch.float32),
        torch.tensor(random.integers(0, 2, ROWS), dtype=torch.float32),
    )
    scenarios = torch.tensor(random.choice([1, 1, 2, 3], ROWS))
    struct["data.label"][scenarios == 3] = 1.0
    struct.set(SCENARIO, scenarios)
    struct.set(SCENARIO_NAMES, NAMES)
    return struct


def result_of(name, struct, **values):
    config = CONFIG | {"metric_decimal_place": PLACES} | values
    return register.metrics_dict[name.lower()](config).calculate_metric(struct)


def parts_of(struct):
    scenarios = struct.get(SCENARIO).numpy()
    labels, scores = (struct.get(name).numpy() for name in ("data.label", "rec.score"))
    return {
        NAMES[s]: (labels[scenarios == s], scores[scenarios == s].astype(float)) for s in (1, 2, 3)
    }


def test_metrics_of_each_scenario_are_scikit_learns(collected):
    parts = parts_of(collected)
    areas = {f"auc/{name}": roc_auc_score(*parts[name]) for name in ("clerk", "artist")}
    assert result_of("ScenarioAUC", collected) == pytest.approx(
        {**areas, "scenarios left out": 1}, abs=1e-11
    )
    losses = {
        f"logloss/{name}": log_loss(*part, labels=[0, 1])
        for name, part in parts.items()
        # scikit-learn clips at another place.
        if part[1].min() > 0 and part[1].max() < 1
    }
    ours = result_of("ScenarioLogLoss", collected)
    assert {name: ours[name] for name in losses} == pytest.approx(losses, abs=1e-9)
    precisions = {f"prauc/{n}": average_precision_score(*part) for n, part in parts.items()}
    assert result_of("ScenarioPRAUC", collected) == pytest.approx(precisions, abs=1e-11)
    ratios = {f"pcoc/{name}": s.sum() / y.sum() for name, (y, s) in parts.items()}
    assert result_of("ScenarioPCOC", collected) == pytest.approx(ratios, rel=1e-6)
    assert set(result_of("ScenarioECE", collected)) == {f"ece/{name}" for name in parts}


def test_means_leave_a_scenario_of_one_class_out_and_count_it(collected):
    parts = parts_of(collected)
    areas = {name: roc_auc_score(*parts[name]) for name in ("clerk", "artist")}
    rows = {name: len(parts[name][0]) for name in areas}
    weighted = sum(areas[n] * rows[n] for n in areas) / sum(rows.values())
    for name, expected in {
        "MeanScenarioAUC": sum(areas.values()) / 2,
        "WeightedScenarioAUC": weighted,
        "WorstScenarioAUC": min(areas.values()),
    }.items():
        result = result_of(name, collected)
        assert result == pytest.approx({name.lower(): expected, "scenarios left out": 1}, abs=1e-11)


def test_the_weighted_mean_of_logloss_is_logloss(collected):
    whole = result_of("LogLoss", collected)["logloss"]
    mean = result_of("WeightedScenarioLogLoss", collected)["weightedscenariologloss"]
    assert mean == pytest.approx(whole, abs=1e-11)


def test_scenarios_of_one_class_only_have_no_mean(collected):
    collected.get("data.label")[:] = 1.0
    for name in ("MeanScenarioAUC", "WeightedScenarioAUC", "WorstScenarioAUC"):
        result = result_of(name, collected)
        assert math.isnan(result[name.lower()])
        assert result["scenarios left out"] == 3


def test_gauc_is_the_mean_over_the_values_of_a_field(collected, caplog):
    users = torch.arange(ROWS) % 7
    collected.set("data.group.user", users)
    labels, scores = (collected.get(name).numpy() for name in ("data.label", "rec.score"))
    areas = [roc_auc_score(labels[users == u], scores[users == u]) for u in range(7)]
    expected = np.average(areas, weights=np.bincount(users))
    assert result_of("FieldGAUC", collected) == pytest.approx({"gauc/user": expected}, abs=1e-11)
    collected.set("data.group.Job", collected.get(SCENARIO))
    by_scenario = result_of("FieldGAUC", collected, gauc_fields=["Job"])["gauc/job"]
    mean = result_of("WeightedScenarioAUC", collected)["weightedscenarioauc"]
    assert by_scenario == pytest.approx(mean, abs=1e-11)


# ------------------------------------------------------------------------------------------------
# On the device: by torch

OF_ROWS = [metric for metric in metrics.OWN_METRICS if metric is not metrics.RelaImpr]


@pytest.mark.parametrize("name", [metric.__name__ for metric in OF_ROWS] + ["RMSE", "MAE"])
@pytest.mark.parametrize("classes", [2, 1])
def test_metrics_by_torch_are_those_by_numpy(name, classes, collected):
    collected.set("data.group.user", torch.arange(ROWS) % 7)
    if classes == 1:
        collected.get("data.label")[:] = 1.0
    expected = result_of(name, collected, metric_decimal_place=15)
    collected.is_measured_by_torch = True
    found = result_of(name, collected, metric_decimal_place=15)
    assert found == pytest.approx(expected, abs=1e-12, rel=0, nan_ok=True)
    assert list(found) == list(expected)
    rounded = result_of(name, collected, metric_decimal_place=4)
    assert rounded == pytest.approx({key: round(expected[key], 4) for key in expected}, nan_ok=True)


def test_scenarios_lines_by_torch_are_those_by_numpy(collected):
    expected = metrics.table_of_scenarios(collected)
    collected.is_measured_by_torch = True
    found = metrics.table_of_scenarios(collected)
    assert found.text() == expected.text()
    assert found.scenarios == metrics.rows_of_scenarios(collected)
    for table in (found, expected):
        assert [line.auc is None for line in table.scenarios] == [False, False, True]
    for line, right in zip(
        (*found.scenarios, found.everything),
        (*expected.scenarios, expected.everything),
        strict=True,
    ):
        assert (line.name, line.rows, line.positives) == (right.name, right.rows, right.positives)
        for column in ("cvr", "auc", "logloss", "pcoc"):
            value, right_value = getattr(line, column), getattr(right, column)
            assert type(value) is type(right_value)  # a float, for the run's report, or none
            assert value is None or value == pytest.approx(right_value, abs=1e-12, rel=0)


@pytest.fixture
def some(tmp_path):
    write_rows(np.random.default_rng(1))


def run_of(model, **values):
    """A run of two epochs: all that it evaluates."""
    names = [metric.__name__ for metric in OF_ROWS]
    values = {
        "metrics": [*names, "RMSE"],
        "valid_metric": "AUC",
        "gauc_fields": ["user_id"],
    } | values
    config = Config(model, "some", config_dict=settings(epochs=2, **values))
    run = Run.prepare(config)
    run.train(saved=False, verbose=False)
    run.test(saved=False)
    epochs = [(dict(epoch.valid), epoch.scenario_auc) for epoch in run.trainer.history]
    return run, epochs


@pytest.mark.parametrize("model", ["MIDPG", "DeepFM"])
def test_a_run_whose_metrics_are_computed_by_torch_has_the_same_results(some, model):
    run, epochs = run_of(model, metrics_on_device=True)
    other, other_epochs = run_of(model, metrics_on_device=False)
    assert run.trainer.evaluator.evaluated.is_measured_by_torch
    assert not other.trainer.evaluator.evaluated.is_measured_by_torch
    for (valid, areas), (other_valid, other_areas) in zip(epochs, other_epochs, strict=True):
        assert valid == other_valid
        assert areas == pytest.approx(other_areas, abs=1e-12, rel=0)
    assert run.test_results == other.test_results
    assert run.test_table.text() == other.test_table.text()
    assert len(run.test_results) > len(OF_ROWS)


# ------------------------------------------------------------------------------------------------
# Config


def config_with(metrics_, **values):
    return gaps_config("DNN", metrics=metrics_, **values)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"metrics_": ["AUC", "ScenarioAUC"], "scenario_fields": None},
            "metrics: ScenarioAUC needs the field that names a row's scenario",
        ),
        ({"metrics_": ["FieldGAUC"]}, "gauc_fields: FieldGAUC needs fields"),
        (
            {"metrics_": ["AUC", "FieldGAUC"], "gauc_fields": ["users"]},
            "gauc_fields: 'users' is not a token field.*did you mean 'user_id'",
        ),
        ({"metrics_": ["AUC"], "valid_metric": "LogLoss"}, "'LogLoss' is not computed"),
        (
            {"metrics_": ["AUC"], "valid_metric": "auc/clerk"},
            "'auc/clerk' is not computed, expected one of AUC",
        ),
        (
            {"metrics_": ["AUC", "PCOC"], "valid_metric": "PCOC"},
            "valid_metric: PCOC is best at 1",
        ),
        ({"metrics_": ["AUC", "ECE"], "ece_bins": 0}, "ece_bins: 0 is not allowed"),
        ({"metrics_": ["AUC", "RelaImpr"]}, "baseline_run: RelaImpr needs a run"),
        (
            {"metrics_": ["AUC", "RelaImpr"], "baseline_run": "nowhere.json"},
            "baseline_run 'nowhere.json': it cannot be read .No such file",
        ),
    ],
)
def test_what_a_metric_lacks_is_told(values, problem):
    with pytest.raises(UsageError, match=problem):
        config_with(**{"valid_metric": values["metrics_"][0], **values})


@pytest.mark.parametrize("given", ["yes", 1, None])
def test_where_metrics_may_be_computed(given):
    with pytest.raises(UsageError, match=r"metrics_on_device: .* expected auto, True or False"):
        config_with(["AUC"], valid_metric="AUC", metrics_on_device=given)


def test_metrics_of_rankings_have_no_form_for_the_device():
    with pytest.raises(UsageError, match=r"metrics_on_device: True is for .* and Recall, MRR"):
        Config("BPR", "ml-100k", config_dict={"metrics_on_device": True})
    assert Config("BPR", "ml-100k", config_dict={"metrics_on_device": "auto"})["metrics"]


@pytest.mark.parametrize(
    ("chosen", "bigger"),
    [
        ("AUC", True),
        ("LogLoss", False),
        ("logloss/Clerk", False),
        ("auc/Clerk", True),
        ("gauc/user_id", True),
        ("ECE", False),
        ("WorstScenarioAUC", True),
        ("MeanScenarioLogLoss", False),
    ],
)
def test_whether_a_higher_score_is_better(chosen, bigger):
    config = config_with(
        [
            *("AUC", "LogLoss", "ECE", "ScenarioAUC", "ScenarioLogLoss"),
            *("FieldGAUC", "WorstScenarioAUC", "MeanScenarioLogLoss"),
        ],
        valid_metric=chosen,
        gauc_fields=["user_id"],
    )
    assert config["valid_metric_bigger"] is bigger


def test_a_scenario_without_a_score_on_validation_is_told():
    results = {"auc/Clerk": 0.6, "auc/artist": 0.7}
    assert metrics.valid_score(results, "auc/clerk") == 0.6
    with pytest.raises(UsageError, match="'auc/doctor' is not among the results"):
        metrics.valid_score(results, "auc/doctor")


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM"])
def test_trainers_name_the_scenarios_of_what_they_evaluate(model):
    config = gaps_config(
        model, metrics=["AUC", "ScenarioLogLoss", "FieldGAUC"], gauc_fields=["user_id"]
    )
    train_data, valid_data, _ = loaders_of(config)
    init_seed(1, True)
    network = get_model(model)(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    result = trainer.evaluate(valid_data, load_best_model=False)
    lines = metrics.rows_of_scenarios(trainer.evaluator.evaluated)
    assert {f"logloss/{line.name}" for line in lines} == {n for n in result if "logloss/" in n}
    assert sum(line.rows for line in lines) == len(valid_data.dataset)
    tokens = set(valid_data.dataset.field2id_token["job"]) | {"missing"}
    assert {line.name for line in lines} <= tokens
