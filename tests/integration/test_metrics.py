import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.evaluator import Evaluator, collector, register
from recbole.evaluator import metrics as stock_metrics
from recbole.evaluator.base_metric import LossMetric
from recbole.evaluator.collector import Collector

from recbole_midpg.integration import metrics
from recbole_midpg.integration.metrics import AUC, GrowingDataStruct, LogLoss

CONFIG = {
    "metric_decimal_place": 4,
    "metrics": ["AUC", "LogLoss", "RMSE"],
    "eval_args": {"mode": {"valid": "labeled", "test": "labeled"}},
    "topk": [2],
    "device": torch.device("cpu"),
    "LABEL_FIELD": "label",
    "ITEM_ID_FIELD": "item",
    "USER_ID_FIELD": "user",
}

StockDataStruct = GrowingDataStruct.__mro__[1]


def struct_of(scores, labels):
    struct = GrowingDataStruct()
    struct.set("rec.score", torch.as_tensor(scores))
    struct.set("data.label", torch.as_tensor(labels))
    return struct


@pytest.fixture
def installed(monkeypatch):
    """Install for a test, and put everything back after it."""
    monkeypatch.setattr(LossMetric, "used_info", LossMetric.used_info)
    monkeypatch.setattr(collector, "DataStruct", collector.DataStruct)
    monkeypatch.setattr(Collector, "get_data_struct", Collector.get_data_struct)
    for name in ("auc", "logloss"):
        monkeypatch.setitem(register.metrics_dict, name, register.metrics_dict[name])
    metrics.install()


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


def test_registration_keeps_what_recbole_knows_of_the_metrics(installed):
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


def test_a_split_of_one_row(installed):
    gathered = Collector(CONFIG)
    # A model that squeezes its output gives a scalar for one row.
    gathered.eval_batch_collect(torch.tensor(0.25), {"label": torch.tensor([1.0])}, None, None)
    result = Evaluator(CONFIG).evaluate(gathered.get_data_struct())
    assert math.isnan(result["auc"])
    assert result["logloss"] == round(math.log(4), 4)
    assert result["rmse"] == 0.75


def test_one_class_is_warned_of(caplog):
    value = AUC(CONFIG).calculate_metric(struct_of([0.1, 0.2], [1.0, 1.0]))["auc"]
    assert math.isnan(value)
    assert "one class" in caplog.text


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 6))
def test_collects_as_recbole(sizes, read_after):
    ours, stock = GrowingDataStruct(), StockDataStruct()
    for batch, size in enumerate(sizes):
        rows = torch.arange(size * 2).reshape(size, 2) + batch
        for struct in (ours, stock):
            struct.update_tensor("rec.topk", rows)
        if batch == read_after:
            assert torch.equal(ours.get("rec.topk"), stock.get("rec.topk"))
    assert "rec.topk" in ours
    assert torch.equal(ours["rec.topk"], stock["rec.topk"])
    assert str(ours) == str(stock)


def test_collected_rows_are_copies_without_gradient():
    struct = GrowingDataStruct()
    scores = torch.zeros(2, requires_grad=True)
    struct.update_tensor("rec.score", scores)
    with torch.no_grad():
        scores += 1
    assert struct["rec.score"].tolist() == [0, 0]
    assert not struct["rec.score"].requires_grad


def test_rows_go_only_to_tensors():
    struct = GrowingDataStruct()
    struct.set("data.num_items", 3)
    with pytest.raises(ValueError, match=r"data\.num_items"):
        struct.update_tensor("data.num_items", torch.zeros(1))
    struct.set("rec.score", torch.zeros(2))
    struct.update_tensor("rec.score", torch.ones(1))
    assert struct["rec.score"].tolist() == [0, 0, 1]
    with pytest.raises(IndexError):
        struct.get("rec.items")


def test_an_evaluation_starts_with_nothing_collected(installed):
    gathered = Collector(CONFIG)
    gathered.data_struct.set("data.num_items", 7)
    gathered.data_struct.set("data.count_items", Counter([1, 1]))
    for _ in range(2):
        for scores in ([0.1, 0.9], [0.5]):
            batch = {"label": torch.ones(len(scores))}
            gathered.eval_batch_collect(torch.tensor(scores), batch, None, None)
        struct = gathered.get_data_struct()
        np.testing.assert_allclose(struct.get("rec.score"), [0.1, 0.9, 0.5])
        assert len(struct.get("data.label")) == 3
        assert struct.get("data.num_items") == 7
        struct.get("data.count_items")[1] = 0
    assert gathered.data_struct.get("data.count_items") == {1: 2}
    assert "rec.score" not in gathered.data_struct


def test_an_evaluation_without_rows(installed):
    assert not Collector(CONFIG).get_data_struct()._data_dict
