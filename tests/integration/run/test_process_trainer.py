"""Runs in several processes beside the same run in one: same steps, same metrics, same files."""

import contextlib

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.trainer import Trainer
from torch import nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.run import optimizer, process_trainer
from recbole_midpg.integration.run.process_trainer import trainer_of
from recbole_midpg.integration.run.progress import Progress
from recbole_midpg.integration.run.run import Run, run_recbole
from tests.integration.run.test_progress import ROWS, Killed, settings, settings_of, write_rows
from tests.support.forked import in_processes

# Batches of 61 of 960 rows: 16 a epoch, and 45 in the last one. 64 steps in all.
STEPS = {
    "dropout_prob": 0.0,
    "learning_rate": 0.001,
    "train_batch_size": 61,
    "eval_batch_size": 17,
    "epochs": 4,
    "stopping_step": 10,
    "metrics": [
        "AUC",
        "LogLoss",
        "ScenarioAUC",
        "ScenarioLogLoss",
        "WorstScenarioAUC",
        "FieldGAUC",
    ],
    "valid_metric": "AUC",
    "gauc_fields": ["user_id"],
}


@pytest.fixture(autouse=True)
def rows(tmp_path):
    write_rows(np.random.default_rng(1))


def trained(place, model, values, dtype=torch.float32):
    """Train without checkpoints; weights, losses, results, and whether tables went by the row."""
    config = Config(model, "some", config_dict=settings_of(model, **{**STEPS, **values, **place}))
    run = Run.prepare(config)
    run.model.to(dtype)
    run.train(saved=False, verbose=False)
    run.test(saved=False)
    weights = {name: value.double().numpy() for name, value in run.model.state_dict().items()}
    losses = [list(epoch.loss.values()) for epoch in run.trainer.history]
    valid = [(epoch.valid, epoch.scenario_auc) for epoch in run.trainer.history]
    table = run.test_table.text()
    return weights, losses, [*valid, run.test_results, table]


def largest_difference(found, expected):
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - expected[name]).max()) for name in expected)


def compare(model, values, n_processes, dtype, tolerance):
    weights, losses, results = trained({}, model, values, dtype)
    found = in_processes(n_processes, trained, model, values, dtype)
    for own_weights, own_losses, own_results in found:
        assert largest_difference(own_weights, weights) < tolerance
        assert largest_difference(own_weights, found[0][0]) == 0
        assert own_results == found[0][2]
        if losses[0][0] < 1:  # RecBole's models report sums over batches where they are alone
            np.testing.assert_allclose(own_losses, losses, rtol=1e-5)
    return found[0][2], results


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["DNN", "DPG", "PLE", "PEPNet", "AdaptDHM", "AdaSparse", "APG", "xDeepFM"]
)
@pytest.mark.parametrize("updates", ["off", "on"])
def test_64_steps_give_the_weights_of_one_process(model, updates):
    """And with them each metric, to the last digit that is told."""
    found, expected = compare(model, {"sparse_updates": updates}, 2, torch.float32, 1e-5)
    assert found == expected


def row_wise_tables(place, rows_a_sample):
    """How many tables go by the row where so many rows for each sample of a batch make one large.

    The only table has 132 tokens, 2.2 for each of 61 samples.
    """
    optimizer.LARGE_TABLE, optimizer.LARGE_TABLE_OF_SEVERAL = {"cpu": 1000}, {"cpu": rows_a_sample}
    config = Config("DNN", "some", config_dict=settings(**{**STEPS, **place}))
    built = Run.prepare(config).trainer.optimizer
    return len(built.row_wise_tables())


def test_tables_go_by_the_row_sooner_in_several_processes(monkeypatch):
    assert in_processes(2, row_wise_tables, 2) == [1, 1]
    assert in_processes(2, row_wise_tables, 3) == [0, 0]
    monkeypatch.setattr(optimizer, "LARGE_TABLE", {})
    monkeypatch.setattr(optimizer, "LARGE_TABLE_OF_SEVERAL", {})
    assert row_wise_tables({}, 2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", [*own_models(), "DCN", "NFM"])
def test_in_double_precision_the_steps_are_the_same(model):
    """Adam enlarges the rounding of a gradient that should be zero, as before a normalisation.

    In single precision that rounding is all that differs; here next to nothing is left of it.
    """
    compare(model, {"sparse_updates": "off"}, 3, torch.float64, 1e-7)


@pytest.mark.slow
def test_experts_input_is_normalised_by_all_processes_rows():
    values = {"expert_batch_norm": True, "sparse_updates": "off"}
    compare("SARNet", values, 3, torch.float64, 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"learner": "lazy_adam", "sparse_updates": "on"},
        {"learner": "adagrad"},
        {"clip_grad_norm": {"max_norm": 0.05}},
        {"weight_decay": 0.1},
        {"dense_weight_decay": 0.1, "embedding_l2": 0.01, "sparse_updates": "on"},
        {"embedding_prior": 1.0},
        {"mi_estimator": "infonce"},
        {"mi_estimator": "dv", "mi_mask_same_scenario": False, "mi_detach_scenario": True},
        {"train_batch_size": 239},  # leaves 4 rows of 960 for the last batch, 2 and 2
        {"train_batch_size": 137},  # leaves 1 row, which rank 1 has
        {"eval_batch_size": 1000},  # of the validation and test batches rank 1 has none
    ],
)
def test_settings_mean_the_same(values):
    model = "MIDPG" if "mi_estimator" in values else "DNN"
    dtype = torch.float32 if "sparse_updates" in values else torch.float64
    found, expected = compare(model, values, 2, dtype, 1e-5)
    if model == "DNN":
        assert found == expected


@pytest.mark.parametrize("more", [{}, {"embedding_l2": 0.01}])
def test_a_built_in_model_skips_a_batch_without_rows(more):
    values = {"train_batch_size": 137, **more}
    found, expected = compare("DeepFM", values, 2, torch.float32, 1e-5)
    assert found == expected


def scored(place, values):
    """What is evaluated of the test split by a model that nobody has trained."""
    config = Config("DNN", "some", config_dict=settings(**{**STEPS, **values, **place}))
    run = Run.prepare(config)
    run.test(saved=False)
    rows = run.trainer.evaluator.evaluated
    names = ("rec.score", "data.label", "data.scenario", "data.group.user_id")
    return [rows.get(name) for name in names], run.trainer.evaluate(run.test_data, False)


@pytest.mark.parametrize("n_processes", [2, 3])
@pytest.mark.parametrize(
    ("size", "on_device"), [(7, False), (50, False), (50, True), (1000, False)]
)
def test_evaluated_rows_are_those_of_one_process_bit_for_bit(n_processes, size, on_device):
    expected, results = scored({}, {"eval_batch_size": size})
    values = {"eval_batch_size": size, "metrics_on_device": on_device}
    for rows, own_results in in_processes(n_processes, scored, values):
        assert all(torch.equal(mine, right) for mine, right in zip(rows, expected, strict=True))
        assert own_results == results
    assert len(expected[0]) == ROWS * 0.1


# --------------------------------------------------------------------------------------------------
# Files, and going on after a kill


def kept(place, values, kill_after=None):
    """A run with its files; where it is killed after an epoch, nothing."""
    stock_keep = Progress.keep

    def keep(self, epoch):
        stock_keep(self, epoch)
        if epoch == kill_after:
            raise Killed

    finished = []
    stock_test = Run.test

    def test(self, **kwargs):
        finished.append({k: v.clone() for k, v in self.model.state_dict().items()})
        finished.append(torch.get_rng_state())
        stock_test(self, **kwargs)

    Progress.keep, Run.test = keep, test
    try:
        with contextlib.suppress(Killed):
            result = run_recbole("MIDPG", "some", config_dict=settings(**{**values, **place}))
            return finished, result
    finally:
        Progress.keep, Run.test = stock_keep, stock_test
    return None


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 3])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(tmp_path, epoch):
    values = {"sparse_updates": "on", "dropout_prob": 0.2, "checkpoint_dir": "whole"}
    whole = in_processes(2, kept, values)
    values["checkpoint_dir"] = "cut"
    assert in_processes(2, kept, values, epoch) == [None, None]
    gone_on = in_processes(2, kept, {**values, "resume": True})
    for (found, result), (expected, whole_result) in zip(gone_on, whole, strict=True):
        assert result == whole_result
        assert all(torch.equal(found[0][name], value) for name, value in expected[0].items())
        assert torch.equal(found[1], expected[1])
    # Dropout is drawn by each for itself.
    assert not torch.equal(whole[0][0][1], whole[1][0][1])
    names = sorted(path.suffix for path in (tmp_path / "cut").iterdir())
    assert names == [".json", ".pth"]


def resumed_alone(place, values):
    with pytest.raises(UsageError) as told:
        run_recbole("MIDPG", "some", config_dict=settings(**values, **place))
    return str(told.value)


def test_another_number_of_processes_is_another_run(tmp_path):
    values = {"checkpoint_dir": "cut"}
    in_processes(2, kept, values, 2)
    (checkpoint,) = (tmp_path / "cut").glob("*.pth")
    told = resumed_alone({}, {**values, "resume": str(checkpoint)})
    assert "it was trained with world_size: 2, here it is None" in told


# --------------------------------------------------------------------------------------------------
# What cannot be


def refused(place, model, values):
    config = Config(model, "some", config_dict=settings(**{**STEPS, **values, **place}))
    with pytest.raises(UsageError) as told:
        Run.prepare(config).train(saved=False)
    return str(told.value)


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        ("DNN", {"train_batch_size": 2}, "batches of 2 rows are not enough for 3 processes"),
        ("NFM", {"train_batch_size": 137}, "137 leaves 1 of 960 rows for the last batch"),
    ],
)
def test_batches_that_are_too_small(model, values, words):
    assert all(words in told for told in in_processes(3, refused, model, values))


def not_finite(place):
    config = Config("DNN", "some", config_dict=settings(**{**STEPS, **place}))
    run = Run.prepare(config)
    if place["local_rank"] == 1:
        nn.init.constant_(run.model.backbone.layers[-1].bias, float("nan"))
    with pytest.raises(UsageError) as told:
        run.train(saved=False)
    return str(told.value)


def test_a_loss_that_is_not_finite_in_one_process_ends_all():
    for told in in_processes(2, not_finite):
        assert "the loss of epoch 0 is not finite" in told


def test_a_model_with_a_trainer_of_its_own(monkeypatch):
    class Special(Trainer):
        pass

    monkeypatch.setattr(process_trainer, "get_trainer", lambda *_: Special)
    with pytest.raises(UsageError, match="DNN has a trainer of its own, Special"):
        trainer_of({"single_spec": False, "model": "DNN", "MODEL_TYPE": None}, None)


def test_the_rows_are_enough_for_what_is_claimed():
    assert ROWS * 0.8 == 960
