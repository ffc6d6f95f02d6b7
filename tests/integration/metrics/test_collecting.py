from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.evaluator.collector import Collector
from recbole.utils import EvaluatorType

from recbole_midpg.integration.dataset.batches import Batch
from recbole_midpg.integration.metrics.collecting import (
    SCENARIO,
    SCENARIO_NAMES,
    GrowingDataStruct,
    group_key,
    is_measured_by_torch,
    name_scenarios,
)

CONFIG = {
    "metrics": ["AUC", "LogLoss"],
    "eval_args": {"mode": {"valid": "labeled", "test": "labeled"}},
    "eval_type": EvaluatorType.VALUE,
    "metrics_on_device": False,
    "scenario_id_field": None,
    "gauc_fields": None,
    "topk": [2],
    "device": torch.device("cpu"),
    "LABEL_FIELD": "label",
    "ITEM_ID_FIELD": "item",
    "USER_ID_FIELD": "user",
}

StockDataStruct = GrowingDataStruct.__mro__[1]


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


def test_an_evaluation_starts_with_nothing_collected():
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


def test_an_evaluation_without_rows():
    assert not Collector(CONFIG).get_data_struct()._data_dict


def test_scenarios_and_groups_are_collected_beside_the_scores():
    config = CONFIG | {
        "metrics": ["AUC", "FieldGAUC"],
        "scenario_id_field": "job",
        "gauc_fields": ["user", "job"],
    }
    gathered = Collector(config)
    for rows in ([1, 2], [3]):
        ids = torch.tensor(rows)
        batch = {"label": torch.ones(len(rows)), "job": ids, "user": 10 * ids}
        gathered.eval_batch_collect(torch.rand(len(rows)), batch, None, None)
    struct = gathered.get_data_struct()
    assert struct.get(SCENARIO).tolist() == struct.get(group_key("job")).tolist() == [1, 2, 3]
    assert struct.get(group_key("user")).tolist() == [10, 20, 30]


def test_rankings_collect_no_scenarios():
    config = CONFIG | {"eval_type": EvaluatorType.RANKING, "scenario_id_field": "job"}
    gathered = Collector(config)
    gathered.eval_batch_collect(torch.rand(1), {"label": torch.ones(1)}, None, None)
    assert SCENARIO not in gathered.get_data_struct()


@pytest.mark.parametrize(
    ("wanted", "device", "by_torch"),
    [
        (False, "cuda", False),
        (True, "cpu", True),
        (True, "cuda", True),
        ("auto", "cpu", False),
        ("auto", "cuda", True),
    ],
)
def test_where_metrics_are_computed(wanted, device, by_torch):
    config = CONFIG | {"metrics_on_device": wanted, "device": torch.device(device)}
    assert is_measured_by_torch(config) is by_torch
    assert not is_measured_by_torch(config | {"eval_type": EvaluatorType.RANKING})


@pytest.mark.parametrize("by_torch", [False, True])
def test_columns_have_the_form_that_metrics_take(by_torch):
    gathered = Collector(CONFIG | {"metrics_on_device": by_torch})
    for scores in ([[0.1], [0.9]], [[0.5]]):
        batch = {"label": torch.ones(len(scores))}
        gathered.eval_batch_collect(torch.tensor(scores), batch, None, None)
    struct = gathered.get_data_struct()
    column = struct.column("rec.score")
    assert isinstance(column, torch.Tensor if by_torch else np.ndarray)
    np.testing.assert_allclose(column, [0.1, 0.9, 0.5])


@pytest.mark.parametrize("is_counted", [True, False])
def test_collecting_reads_nothing_of_a_batch(is_counted):
    # Values of torch's device "meta" can be neither read nor copied to the host.
    device = torch.device("meta")
    config = CONFIG | {
        "metrics": ["AUC", "LogLoss", "FieldGAUC"],
        "scenario_id_field": "job",
        "gauc_fields": ["user"],
        "device": device,
        "metrics_on_device": True,
    }
    gathered = Collector(config)
    columns = {"label": torch.ones(4), "job": torch.arange(4), "user": torch.arange(4)}
    columns = {name: column.to(device) for name, column in columns.items()}
    for _ in range(2):
        batch = Batch(columns, device, is_counted=is_counted)
        gathered.eval_batch_collect(torch.rand(4, device=device), batch, None, None)
    rows = gathered.get_data_struct()
    for name in ("rec.score", "data.label", SCENARIO, group_key("user")):
        assert rows.get(name).is_meta
        assert len(rows.get(name)) == (8 if is_counted else 0)


def test_rows_go_to_the_cpu_where_numpy_measures_them():
    gathered = Collector(CONFIG)
    gathered.data_struct.update_tensor("rec.score", torch.ones(1, device="meta"))
    with pytest.raises(NotImplementedError, match="meta"):
        gathered.get_data_struct()


def test_a_missing_scenario_has_a_name():
    dataset = SimpleNamespace(field2id_token={"job": np.array(["[PAD]", "clerk", "artist"])})
    struct = GrowingDataStruct()
    name_scenarios(struct, CONFIG | {"scenario_id_field": "job"}, dataset)
    assert struct.get(SCENARIO_NAMES) == ["missing", "clerk", "artist"]
