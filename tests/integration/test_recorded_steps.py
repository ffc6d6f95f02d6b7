"""Training by recorded steps beside training step by step: the same weights, losses and scores."""

import contextlib
import shutil

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.trainer import Trainer

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.run.run import Run
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.integration.run.test_progress import (
    Killed,
    assert_same,
    kill_after,
    settings_of,
    told,
    write_rows,
)
from tests.integration.run.test_progress import trained as run_to_end
from tests.support.recorded_operations import RecordedOperations

# 960 rows for training: 15 full batches an epoch and one of 45 rows; 208 steps in all.
STEPS = {
    "dropout_prob": 0.2,
    # Recorded, Adam has it in a tensor of float32, which holds this one exactly.
    "learning_rate": 2**-8,
    "train_batch_size": 61,
    "eval_batch_size": 17,
    "epochs": 13,
    "stopping_step": 20,
    "metrics": ["AUC", "LogLoss", "ScenarioAUC"],
    "valid_metric": "AUC",
    "cuda_graph": "auto",
}

TOLERANCE = 1e-8


@pytest.fixture(autouse=True)
def rows(tmp_path):
    write_rows(np.random.default_rng(1))


@contextlib.contextmanager
def recording():
    """Let the CPU be a device whose steps can be recorded; counts the replays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScenarioTrainer, "graph_class", RecordedOperations)
        RecordedOperations.replays = 0
        yield


def run_of(model, dtype=torch.float64, **values):
    config = Config(model, "some", config_dict=settings_of(model, **{**STEPS, **values}))
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        run = Run.prepare(config)
    finally:
        torch.set_default_dtype(before)
    if hasattr(run.model, "loss"):  # RecBole's models take labels in the type in which they come
        run.model.loss.register_forward_pre_hook(lambda _, args: (args[0], args[1].to(dtype)))
    return run


def trained(model, dtype=torch.float64, **values):
    """Weights, losses and results of a run without checkpoints."""
    run = run_of(model, dtype, **values)
    run.train(saved=False, verbose=False)
    run.test(saved=False)
    weights = {name: value.clone() for name, value in run.model.state_dict().items()}
    losses = np.array([list(epoch.loss.values()) for epoch in run.trainer.history])
    return weights, losses, run.test_results


def compare(found, expected, tolerance):
    for name, value in expected[0].items():
        difference = (found[0][name] - value).abs().max()
        assert difference <= tolerance, f"{name}: {difference}"
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert found[2].keys() == expected[2].keys()
    for name, value in expected[2].items():
        assert found[2][name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "data_on_device"), [*((model, True) for model in own_models()), ("DNN", False)]
)
def test_208_recorded_steps_give_the_weights_of_steps_as_they_are(model, data_on_device):
    with recording():
        found = trained(model, data_on_device=data_on_device)
    # 15 full batches in 13 epochs and 8 in 14 evaluations, less those before the recording.
    assert RecordedOperations.replays == (15 * 13 - 3) + (7 * 14 - 3)
    compare(found, trained(model, cuda_graph=False), TOLERANCE)


@pytest.mark.parametrize("model", ["WideDeep", "DeepFM", "DCNV2"])
def test_models_of_recbole_are_recorded_too(model):
    with recording():
        found = trained(model)
    assert RecordedOperations.replays > 15 * 12
    expected = trained(model, cuda_graph=False)
    # Their trainer reports the sum over batches, and ours the mean of a sample.
    compare((found[0], found[1], found[2]), (expected[0], found[1], expected[2]), TOLERANCE)
    assert found[1][-1] * 960 == pytest.approx(expected[1][-1] * 61, rel=0.05)


def test_recorded_training_is_the_same_twice():
    with recording():
        first, second = trained("MIDPG", torch.float32), trained("MIDPG", torch.float32)
    compare(first, second, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"sparse_updates": "on"},
        {"learner": "lazy_adam", "sparse_updates": "on"},
        {"clip_grad_norm": {"max_norm": 0.05}},
        {"weight_decay": 0.01},
        {"dense_weight_decay": 0.1, "embedding_dropout": 0.1, "embedding_l2": 0.01}
        | {"embedding_prior": 0.5},
        {"train_batch_size": 960},
        {"train_batch_size": 2000},
    ],
    ids=lambda values: next(iter(values)),
)
def test_settings_hold_as_without_recording(values):
    with recording():
        found = trained("DPG", **values)
    assert RecordedOperations.replays > 13
    compare(found, trained("DPG", cuda_graph=False, **values), TOLERANCE)


def test_mixed_precision_is_recorded():
    values = {"enable_amp": True, "amp_dtype": "bfloat16"}
    with recording():
        found = trained("DNN", torch.float32, **values)
    assert RecordedOperations.replays > 15 * 12
    compare(found, trained("DNN", torch.float32, cuda_graph=False, **values), 1e-4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learner": "sgd"}, "learner: sgd counts its steps on the host"),
        ({"enable_scaler": True}, "enable_scaler: True"),
    ],
)
def test_what_a_config_rules_out_is_trained_step_by_step(values, words, caplog):
    caplog.set_level("INFO")
    with recording():
        run = run_of("DNN", state="INFO", **values)
    assert not run.trainer.captures
    assert words in caplog.text
    run.train(saved=False, verbose=False)
    assert RecordedOperations.replays == 0


def test_a_model_that_reads_on_the_host_is_trained_step_by_step_with_the_reason(caplog):
    with recording():
        run = run_of("DNN")
        forward = run.model.forward

        def reading(interaction):
            logits = forward(interaction)
            return logits * float(logits.mean().item() > -100)

        run.model.forward = reading
        run.train(saved=False, verbose=False)
    assert "Training steps are not recorded as a CUDA graph, as DNN does" in caplog.text
    assert "test_recorded_steps.py" in caplog.text
    weights = run.model.state_dict()
    for name, value in trained("DNN", cuda_graph=False)[0].items():
        assert (weights[name] - value).abs().max() < TOLERANCE, name


def test_a_loss_that_is_not_finite_ends_the_run():
    with recording():
        run = run_of("DNN", learning_rate=1e300)
        with pytest.raises(UsageError, match="is not finite"):
            run.train(saved=False, verbose=False)


def test_without_a_gpu_a_graph_is_refused_where_it_is_asked_for():
    with pytest.raises(UsageError, match="cuda_graph: True needs a GPU"):
        run_of("DNN", cuda_graph=True)
    assert not run_of("DNN", cuda_graph="auto").trainer.captures


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_other_values_are_refused(value):
    with pytest.raises(UsageError, match=r"cuda_graph: .* expected auto, True or False"):
        run_of("DNN", cuda_graph=value)


def test_models_of_recbole_keep_their_trainer_unless_ours_is_asked_for():
    assert type(run_of("DeepFM", cuda_graph=False).trainer) is Trainer
    assert type(run_of("DeepFM", cuda_graph=False, amp_dtype="bfloat16").trainer) is ScenarioTrainer


@pytest.mark.slow
@pytest.mark.parametrize("model", ["MIDPG", "STAR", "AdaptDHM", "AdaSparse"])
def test_a_recorded_run_that_was_cut_off_ends_as_the_uninterrupted_one(model, monkeypatch):
    values = {**STEPS, "epochs": 4, "sparse_updates": "on"}
    with recording():
        (run, expected), _ = run_to_end(monkeypatch, model, values)
        shutil.rmtree("saved")
        with pytest.raises(Killed):
            run_to_end(monkeypatch, model, values, kill_after(1))
        (resumed, found), _ = run_to_end(monkeypatch, model, {**values, "resume": True})
    assert resumed.trainer.start_epoch == 2
    assert_same(found, expected)
    assert told(resumed) == told(run)
