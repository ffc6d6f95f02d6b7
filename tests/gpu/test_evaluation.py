"""Metrics that are computed on the device are those of the CPU, from the same scores."""

from dataclasses import asdict

import pytest
import torch

from tests.gpu import runs
from tests.gpu.runs import only_on_a_gpu

METRICS = ["AUC", "LogLoss", "ScenarioAUC", "ScenarioLogLoss", "WorstScenarioAUC", "FieldGAUC"]


def evaluated(run, **values):
    """The same weights on the test split, and each scenario's line."""
    other = runs.prepared(run.config["model"], **values)
    other.model.load_state_dict(run.model.state_dict())
    other.test(saved=False)
    scenarios = [asdict(row) for row in other.test_table.scenarios]
    return other.test_results, scenarios


def assert_close(found, expected):
    """That numbers are the same to 1e-12, and all else is the same."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, abs=1e-12, rel=0, nan_ok=True), name
        else:
            assert found[name] == value, name


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "STAR"])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics(rows, model, ties, monkeypatch):
    values = {"metrics": METRICS, "valid_metric": "AUC", "gauc_fields": ["user_id"]}
    run = runs.trained(model, **runs.off(), **values, epochs=2)
    if ties:
        predict = type(run.model).predict
        coarse = lambda *args: (predict(*args) * 8).round() / 8  # noqa: E731
        monkeypatch.setattr(type(run.model), "predict", coarse)
    expected, expected_rows = evaluated(run, **runs.off(), **values)
    found, rows_found = evaluated(run, **runs.off("metrics_on_device"), **values)
    assert_close(found, expected)
    for line, expected_line in zip(rows_found, expected_rows, strict=True):
        assert_close(line, expected_line)


@pytest.mark.parametrize("model", runs.MODELS)
def test_captured_prediction(rows, model):
    run = runs.trained(model, **runs.off(), epochs=2)
    expected, _ = evaluated(run, **runs.off())
    found, _ = evaluated(run, **runs.off("cuda_graph", "data_on_device", "metrics_on_device"))
    assert found == pytest.approx(expected, abs=1e-6, rel=0)


@only_on_a_gpu
def test_the_validation_of_an_epoch_takes_the_device(rows):
    run = runs.trained("DNN", **runs.off("metrics_on_device"), epochs=1)
    other = runs.trained("DNN", **runs.off(), epochs=1)
    for found, expected in zip(runs.valid_of(run), runs.valid_of(other), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    assert all(value.is_cuda for value in run.model.state_dict().values())
    assert torch.cuda.max_memory_allocated() > 0
