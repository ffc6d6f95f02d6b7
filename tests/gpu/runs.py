"""Runs on the tested device, with and without what is for a GPU alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recbole.config import Config

from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.run.run import Run
from tests.integration.run.test_progress import settings_of
from tests.support.device import gpu_tests_device

IS_REHEARSAL = gpu_tests_device() == "cpu"
only_on_a_gpu = pytest.mark.skipif(IS_REHEARSAL, reason="a rehearsal on the CPU")

MODELS = [*own_models(), "WideDeep", "DeepFM", "DCNV2"]
KEYS = ("cuda_graph", "data_on_device", "metrics_on_device", "triton_kernels")

# Batches of 49 of 960 rows: 20 an epoch, of which the last has 29; 200 steps in all.
STEPS = {
    "dropout_prob": 0.0,
    "learning_rate": 0.001,
    "train_batch_size": 49,
    "eval_batch_size": 100,
    "epochs": 10,
    "stopping_step": 100,
    "metric_decimal_place": 15,
}
N_STEPS = 200


def with_keys(value: Any, *keys: str) -> dict[str, Any]:
    """Config values that set some of :data:`KEYS`; none in a rehearsal, where they mean nothing."""
    return {} if IS_REHEARSAL else dict.fromkeys(keys, value)


def off(*but: str) -> dict[str, Any]:
    """Config values of a run without what is for a GPU alone, ``but`` for some keys that are on."""
    return {**with_keys(False, *KEYS), **with_keys(True, *but)}


GRAPH = off("cuda_graph", "data_on_device")


def prepared(model: str, **values: Any) -> Run:
    """A run on the dataset ``some``."""
    run = Run.prepare(Config(model, "some", config_dict=settings_of(model, **{**STEPS, **values})))
    assert run.config["device"].type == gpu_tests_device()
    return run


def trained(model: str, **values: Any) -> Run:
    """A run that has been trained, without checkpoints."""
    run = prepared(model, **values)
    run.train(saved=False, verbose=False)
    return run


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    """Weights and buffers, on the CPU."""
    return {name: value.detach().cpu() for name, value in run.model.state_dict().items()}


def losses_of(run: Run) -> list[list[float]]:
    """Each epoch's terms of the loss."""
    return [list(epoch.loss.values()) for epoch in run.trainer.history]


def valid_of(run: Run) -> list[dict[str, float]]:
    """Each epoch's result on validation."""
    return [epoch.valid for epoch in run.trainer.history]


def largest_difference(run: Run, other: Run) -> float:
    """The largest difference of a weight or a running statistic; counts must be the same."""
    found, expected = weights_of(run), weights_of(other)
    assert found.keys() == expected.keys()
    differences = [0.0]
    for name, value in expected.items():
        if value.is_floating_point():
            differences.append(float((found[name] - value).abs().max()))
        else:
            assert torch.equal(found[name], value), name
    return max(differences)


def assert_same_bits(run: Run, other: Run) -> None:
    """That two runs have made the same weights, losses and results to the last bit."""
    assert largest_difference(run, other) == 0
    assert losses_of(run) == losses_of(other)
    assert valid_of(run) == valid_of(other)
