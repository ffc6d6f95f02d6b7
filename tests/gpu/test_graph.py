"""Steps that are captured once and replayed do what the same steps do one kernel at a time."""

import warnings

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.key_names import own_keys
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.gpu import runs
from tests.gpu.runs import GRAPH, MODELS, N_STEPS, only_on_a_gpu
from tests.integration.run import test_progress
from tests.integration.run.test_progress import Killed, kill_after, told

TOLERANCE = 1e-6
SEVERAL = ["DNN", "MIDPG", "STAR", "AdaSparse", "DeepFM"]


@pytest.fixture(autouse=True)
def dataset(rows):
    """The dataset that all runs here are on."""


@pytest.fixture
def replays(monkeypatch):
    """Grows by an entry whenever a captured graph is replayed."""
    replayed = []
    stock = torch.cuda.CUDAGraph.replay

    def replay(graph):
        replayed.append(graph)
        stock(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", replay)
    return replayed


@only_on_a_gpu
def test_the_keys_are_there():
    assert set(runs.KEYS) <= own_keys()


@only_on_a_gpu
@pytest.mark.parametrize("model", MODELS)
def test_steps_are_replayed(model, replays):
    runs.trained(model, **runs.off())
    assert not replays
    runs.trained(model, **GRAPH)
    # Not the warm-up, and not the smaller last batches; a replay may be of several steps.
    assert 0 < len(replays) <= N_STEPS


def compare(model, **values):
    """Train with and without a graph, and with it again."""
    without = runs.trained(model, **runs.off(), **values)
    with_graph = runs.trained(model, **GRAPH, **values)
    assert len(without.trainer.history) * 20 == N_STEPS
    assert runs.largest_difference(with_graph, without) < TOLERANCE
    for found, expected in zip(runs.losses_of(with_graph), runs.losses_of(without), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    runs.assert_same_bits(runs.trained(model, **GRAPH, **values), with_graph)


@pytest.mark.parametrize("updates", ["off", "on"])
@pytest.mark.parametrize("model", MODELS)
def test_200_steps_give_the_same_weights(model, updates):
    compare(model, sparse_updates=updates)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("DNN", {"dropout_prob": 0.3}),
        ("MIDPG", {"dropout_prob": 0.3}),
        ("MIDPG", {"mi_estimator": "infonce"}),
        ("MIDPG", {"mi_mask_same_scenario": False, "mi_standardize": False}),
        ("DPG", {"generator_input": "scenario"}),
        ("PLE", {"expert_levels": 2}),
        ("AdaSparse", {"pruning_epochs": 2.5}),  # α and λ̂ grow in the first quarter alone
        ("AdaSparse", {"pruning_form": "scaling"}),
        ("AdaptDHM", {"routing_temperature": 0.1}),  # centres follow the rows
        ("HAMUR", {"pn_min_rows": 2}),
        ("M2M", {"meta_condition": "group"}),
        ("STAR", {"pn_min_rows": 2}),  # nearly every row moves running statistics
        ("DeepFM", {"dropout_prob": 0.3}),
        ("DNN", {"clip_grad_norm": {"max_norm": 0.05}}),
        ("MIDPG", {"clip_grad_norm": {"max_norm": 0.05}, "sparse_updates": "on"}),
        ("DNN", {"weight_decay": 0.01}),
        ("DNN", {"eval_step": 3}),
        ("DNN", {"seed": 7, "embedding_size": 16}),
    ],
)
def test_what_varies_from_step_to_step(model, values):
    compare(model, **values)


@pytest.mark.parametrize("learner", ["adamw", "lazy_adam", "sgd", "adagrad", "rmsprop"])
def test_other_optimizers_train_too(learner):
    """With a graph or, where they cannot be captured, without one."""
    values = {"learner": learner, "learning_rate": 0.01}
    without = runs.trained("DNN", **runs.off(), **values)
    auto = {**runs.off(), **runs.with_keys("auto", "cuda_graph", "data_on_device")}
    assert runs.largest_difference(runs.trained("DNN", **auto, **values), without) < TOLERANCE


@pytest.mark.parametrize("model", SEVERAL)
def test_a_learning_rate_that_changes(model, monkeypatch):
    stock = ScenarioTrainer._valid_epoch

    def valid_epoch(trainer, *args, **kwargs):
        for group in trainer.optimizer.param_groups:
            group["lr"] *= 0.5
        return stock(trainer, *args, **kwargs)

    kept = runs.trained(model, **GRAPH)
    monkeypatch.setattr(kept.trainer.__class__, "_valid_epoch", valid_epoch)
    compare(model)
    assert runs.largest_difference(runs.trained(model, **GRAPH), kept) > 100 * TOLERANCE


@pytest.mark.parametrize("model", SEVERAL)
def test_rows_on_the_device_are_the_same_rows(model):
    streamed = runs.trained(model, **runs.off())
    runs.assert_same_bits(runs.trained(model, **runs.off("data_on_device")), streamed)


@only_on_a_gpu
@pytest.mark.parametrize("model", SEVERAL)
def test_a_step_does_not_wait_for_the_device(model):
    """However many batches an epoch has, the host reads as often of the device."""

    def waits(batch_size):
        run = runs.prepared(model, **GRAPH, train_batch_size=batch_size, epochs=3, eval_step=0)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run.train(saved=False, verbose=False)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in caught)

    assert waits(16) == waits(64)  # 60 batches an epoch, and 15


@pytest.mark.parametrize("model", SEVERAL)
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(model, monkeypatch):
    values = {**GRAPH, "dropout_prob": 0.2, "sparse_updates": "on"}
    (run, expected), result = test_progress.trained(monkeypatch, model, values)
    for number in (0, 2):
        with pytest.raises(Killed):
            again = {**values, "resume": "auto", "checkpoint_dir": "cut_off"}
            test_progress.trained(monkeypatch, model, again, kill_after(number))
    again["resume"] = True
    (resumed, found), its_result = test_progress.trained(monkeypatch, model, again)
    test_progress.assert_same(found, expected)
    assert told(resumed) == told(run)
    assert its_result == result


@pytest.fixture
def bfloat16():
    """What autocast computes in."""
    device = runs.gpu_tests_device()
    before = torch.get_autocast_dtype(device)
    torch.set_autocast_dtype(device, torch.bfloat16)
    yield
    torch.set_autocast_dtype(device, before)


@pytest.mark.skipif(not hasattr(torch, "set_autocast_dtype"), reason="torch before 2.4")
@pytest.mark.parametrize("model", MODELS)
def test_bfloat16(model, bfloat16):
    values = {"enable_amp": True, "learning_rate": 0.01}
    with_graph = runs.trained(model, **GRAPH, **values)
    assert runs.largest_difference(with_graph, runs.trained(model, **runs.off(), **values)) < 1e-6
    # It has learned, and not in float32.
    first, *_, last = runs.losses_of(with_graph)
    assert sum(last) < sum(first)
    float32 = runs.trained(model, **GRAPH, learning_rate=0.01)
    assert runs.largest_difference(with_graph, float32) > 1e-6


@only_on_a_gpu
@pytest.mark.parametrize("model", ["DNN", "MIDPG"])
def test_float16_trains_with_its_scaler_or_is_refused(model):
    values = {"enable_amp": True, "enable_scaler": True, "learning_rate": 0.01}
    without = runs.trained(model, **runs.off(), **values)
    try:
        with_graph = runs.trained(model, **GRAPH, **values)
    except UsageError as error:
        assert "enable_scaler" in str(error)
        return
    assert runs.largest_difference(with_graph, without) < TOLERANCE


@only_on_a_gpu
@pytest.mark.parametrize("model", ["DPG", "MIDPG", "DNN", "STAR"])
def test_triton_kernels_compute_the_same(model):
    """Sums are taken in another order, so it is the losses of an epoch that are compared."""
    values = {"epochs": 1, "sparse_updates": "on"}
    plain = runs.trained(model, **runs.off(), **values)
    fused = runs.trained(model, **runs.off("triton_kernels"), **values)
    assert runs.losses_of(fused)[0] == pytest.approx(runs.losses_of(plain)[0], rel=1e-4)
    assert runs.largest_difference(fused, plain) < 1e-4
