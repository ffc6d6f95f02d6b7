import json
import logging
import math
import shutil
from pathlib import Path

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer, init_seed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_midpg.cli import run_recbole_command
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.trials import TrialPlan, run_trials
from recbole_midpg.experiments.tuning import SearchPlan, tune
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.dataset import trust
from recbole_midpg.integration.run.checkpoint import load_checkpoint
from recbole_midpg.integration.run.processes import free_port
from recbole_midpg.integration.run.run import Run
from tests.support.processes import run_module
from tests.support.small_rows import ROWS, write_rows

SPLIT = {"split": {"RS": [0.75, 0, 0.25]}, "order": "RO", "group_by": None, "mode": "labeled"}
TRAINED = ROWS * 3 // 4
EPOCHS = 3
SETTINGS = {
    "data_path": "dataset",
    "load_col": None,
    "scenario_fields": ["place"],
    "embedding_size": 4,
    "mlp_hidden_size": [8],
    "learning_rate": 0.05,
    "train_batch_size": 256,
    "show_progress": False,
    "dataset_cache": False,
    "gpu_id": "",
}
FINAL = {**SETTINGS, "eval_args": SPLIT, "epochs": EPOCHS}


@pytest.fixture
def rows():
    """The dataset ``rows``, whole and as two files: its first and its last rows."""
    folder = Path("dataset/rows")
    write_rows(folder / "rows.inter", seed=5)
    header, *lines = (folder / "rows.inter").read_text().splitlines()
    for name, part in (("train", lines[:TRAINED]), ("test", lines[TRAINED:])):
        (folder / f"rows.{name}.inter").write_text("\n".join([header, *part]) + "\n")


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM"])
def test_all_epochs_are_trained_and_the_last_weights_tested(rows, monkeypatch, caplog, model):
    evaluated, runs = [], []
    stock_evaluate, stock_test = Trainer.evaluate, Run.test

    def evaluate(self, data, *args, **kwargs):
        evaluated.append(len(data._dataset))
        return stock_evaluate(self, data, *args, **kwargs)

    def test(self, **kwargs):
        runs.append((self, weights(self.model)))
        stock_test(self, **kwargs)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    monkeypatch.setattr(Run, "test", test)
    with caplog.at_level(logging.INFO):
        # With a validation split a stopping_step of 0 ends at the first epoch that is no better.
        result = run_recbole(model, "rows", config_dict={**FINAL, "stopping_step": 0})
    assert "No validation split: trains 3 epochs, tests the last weights." in caplog.messages
    assert evaluated == [ROWS - TRAINED]
    ((run, last),) = runs
    assert run.valid_data is None
    assert len(run.train_data._dataset) == TRAINED
    assert [(epoch.epoch, epoch.valid) for epoch in run.trainer.history] == [
        (epoch, {}) for epoch in range(EPOCHS)
    ]
    assert result["best_valid_result"] == {}
    assert 0 < result["test_result"]["auc"] < 1

    checkpoint = load_checkpoint(run.trainer.saved_model_file)
    assert checkpoint["epoch"] == EPOCHS - 1
    assert_same_weights(checkpoint["state_dict"], last)
    assert_same_weights(weights(run.model), last)
    report = json.loads(Path(run.trainer.saved_model_file).with_suffix(".json").read_text())
    assert (report["valid"], report["test"]) == ({}, dict(result["test_result"]))
    assert [epoch["valid"] for epoch in report["epochs"]] == [{}] * EPOCHS
    run.trainer.tensorboard.close()
    (board,) = Path("log_tensorboard").iterdir()
    events = EventAccumulator(str(board)).Reload()
    losses = [name for name in events.Tags()["scalars"] if name.startswith("Loss/Train")]
    assert losses
    assert all(len(events.Scalars(name)) == EPOCHS for name in losses)


def test_what_is_not_saved_ends_with_the_same_metrics(rows):
    saved = run_recbole("DNN", "rows", config_dict=dict(FINAL))
    assert run_recbole("DNN", "rows", config_dict=dict(FINAL), saved=False) == saved


def test_training_takes_the_steps_that_it_takes_beside_a_validation(rows):
    """With the same training rows the weights are those that early stopping would have read."""
    names = {"benchmark_filename": ["train", "test"], "dropout_prob": 0.0}
    final = Run.prepare(Config("DNN", "rows", config_dict={**FINAL, **names}))
    final.train(saved=False, verbose=False)
    names["benchmark_filename"] = ["train", "test", "test"]
    beside = Run.prepare(Config("DNN", "rows", config_dict={**FINAL, **names}))
    beside.train(saved=False, verbose=False)
    assert final.valid_data is None
    assert len(beside.valid_data._dataset) == ROWS - TRAINED
    assert_same_weights(weights(final.model), weights(beside.model))


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "AdaSparse", "DeepFM"])
def test_parts_of_a_pass_are_validated_and_take_the_steps_of_the_pass(rows, model):
    settings = {**SETTINGS, "stopping_step": 9, "dropout_prob": 0.2}
    whole = Run.prepare(Config(model, "rows", config_dict={**settings, "epochs": 2}))
    whole.train(saved=False, verbose=False)
    parts = {"epochs": 6, "epochs_per_pass": 3}
    finer = Run.prepare(Config(model, "rows", config_dict={**settings, **parts}))
    finer.train(saved=False, verbose=False)
    assert_same_weights(weights(finer.model), weights(whole.model))
    history = finer.trainer.history
    assert len({epoch.valid["auc"] for epoch in history}) > 2
    assert [history[number].valid for number in (2, 5)] == [e.valid for e in whole.trainer.history]


@pytest.mark.parametrize(
    ("scores", "values", "sentence"),
    [
        ([0.7, 0.6], {}, "is the first; epochs_per_pass: 4 would tell whether"),
        # A pass has 5 batches, and can be cut into no more parts.
        ([0.7, 0.6], {"epochs_per_pass": 2}, "is the first; epochs_per_pass: 5 would tell"),
        ([0.7, 0.6], {"epochs_per_pass": 5}, None),
        ([0.7, 0.6], {"eval_step": 2, "epochs": 4}, "is the first; eval_step: 1 would tell"),
        ([0.6, 0.7], {}, "is the last of epochs: 2; more may be better."),
        ([0.7], {"epochs": 1}, None),
        ([0.6, 0.7, 0.5], {"epochs": 3}, None),
    ],
)
def test_a_best_epoch_at_an_end_is_told(rows, monkeypatch, caplog, scores, values, sentence):
    upcoming = iter(scores)
    run = Run.prepare(Config("DNN", "rows", config_dict={**SETTINGS, "epochs": 2, **values}))
    stock = run.trainer.evaluate

    def evaluate(*args, **kwargs):
        return {**stock(*args, **kwargs), "auc": next(upcoming)}

    monkeypatch.setattr(run.trainer, "evaluate", evaluate)
    with caplog.at_level(logging.INFO):
        run.train(saved=False, verbose=False)
    told = [text for text in caplog.messages if text.startswith("The best epoch on validation ")]
    assert len(told) == (sentence is not None)
    assert all(sentence in text for text in told)
    assert run.best_epoch == (scores.index(max(scores)) + 1) * values.get("eval_step", 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"benchmark_filename": ["train", "test"]},
        {"eval_args": {**SPLIT, "split": {"LS": "test_only"}}},
        {"eval_args": {**SPLIT, "mode": "uni20"}, "metrics": ["Recall"], "valid_metric": "Recall@5"}
        | {"topk": [5], "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
        | {"LABEL_FIELD": "sampled", "unload_col": {"inter": ["label"]}},
    ],
    ids=["two files", "the last row of each user", "sampled candidates"],
)
@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_other_splits_without_validation(rows, model, changed):
    result = run_recbole(model, "rows", config_dict={**FINAL, **changed, "epochs": 1})
    assert result["best_valid_result"] == {}
    assert all(math.isfinite(value) for value in result["test_result"].values())


def test_rows_of_two_files_are_training_and_test(rows):
    config = Config("DNN", "rows", config_dict={**FINAL, "benchmark_filename": ["train", "test"]})
    train, valid, test = data_preparation(config, create_dataset(config))
    assert valid is None
    for loader, name, count in ((train, "train", TRAINED), (test, "test", ROWS - TRAINED)):
        lines = Path(f"dataset/rows/rows.{name}.inter").read_text().splitlines()[1:]
        labels = loader._dataset.inter_feat["label"]
        assert labels.tolist() == [float(line.split("\t")[-1]) for line in lines]
        assert len(labels) == count


def test_recboles_own_general_models_do_without_too(rows):
    values = {
        **{key: FINAL[key] for key in ("data_path", "embedding_size", "show_progress", "gpu_id")},
        "benchmark_filename": ["train", "test"],
        "epochs": 1,
    }
    result = run_recbole("BPR", "rows", config_dict=values)
    assert result["best_valid_result"] == {}
    assert "recall@10" in result["test_result"]


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_recboles_documented_steps(rows, model):
    config = Config(model, "rows", config_dict=dict(FINAL))
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    made = get_model(model)(config, train_data._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, made)
    trainer.fit(train_data, valid_data, saved=True)
    assert trainer.best_valid_result is None
    result = trainer.evaluate(test_data, load_best_model=True)
    # The same seed: what one run of the command ends with.
    assert result == run_recbole(model, "rows", config_dict=dict(FINAL))["test_result"]

    _, again, _, _, valid_data, test_data = load_data_and_model(trainer.saved_model_file)
    assert valid_data is None
    assert_same_weights(weights(again), weights(made))
    assert len(test_data._dataset) == ROWS - TRAINED


def test_an_epoch_that_is_never_evaluated_is_logged(rows, caplog):
    values = {**SETTINGS, "eval_step": 0, "epochs": 1}
    with caplog.at_level(logging.INFO):
        result = run_recbole("DNN", "rows", config_dict=values, saved=False)
    assert "eval_step: 0: trains 1 epochs, tests the last weights." in caplog.messages
    assert result["best_valid_result"] == {}


def test_beside_a_validation_nothing_is_logged(rows, caplog):
    with caplog.at_level(logging.INFO):
        run_recbole("DNN", "rows", config_dict={**SETTINGS, "epochs": 1}, saved=False)
    assert "tests the last weights" not in caplog.text


@pytest.mark.parametrize(
    "changed",
    [
        {"eval_args": SPLIT},
        {"eval_args": {**SPLIT, "split": {"LS": "test_only"}}},
        {"benchmark_filename": ["train", "test"]},
    ],
)
def test_the_number_of_epochs_is_asked_for(rows, changed):
    with pytest.raises(UsageError) as error:
        build_config("DNN", "rows", values={**SETTINGS, **changed})
    assert str(error.value) == (
        "epochs: without a validation split nothing ends the training before all 300 epochs of "
        "the default, expected how many to train, as epochs: 10."
    )


def test_the_command_asks_for_epochs_with_status_2(rows, capsys, monkeypatch):
    arguments = ["--model=DNN", "--dataset=rows", "--load_col=~", "--scenario_fields=[place]"]
    monkeypatch.setattr(trust, "data_preparation", None)  # refused before
    assert run_recbole_command([*arguments, "--benchmark_filename=[train,test]"]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("run_recbole: error: epochs: without a validation split")


@pytest.mark.parametrize("split", [{"RS": [0.9, 0.1, 0]}, {"RS": [1, 0, 0]}, {"LS": "valid_only"}])
def test_a_run_without_a_test_is_refused(rows, split):
    with pytest.raises(UsageError) as error:
        build_config("DNN", "rows", values={**FINAL, "eval_args": {**SPLIT, "split": split}})
    assert str(error.value).startswith(
        f"eval_args: split: {split!r} leaves no rows for the test that ends a run"
    )


@pytest.mark.parametrize("file", ["valid", "test"])
def test_a_file_without_rows_is_refused(rows, file):
    shutil.copy("dataset/rows/rows.test.inter", "dataset/rows/rows.valid.inter")
    path = Path(f"dataset/rows/rows.{file}.inter")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    values = {**FINAL, "benchmark_filename": ["train", "valid", "test"]}
    with pytest.raises(UsageError, match="no row follows it"):
        run_recbole("DNN", "rows", config_dict=values)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"eval_args": SPLIT}, "eval_args: .* makes no validation split, and {} needs one"),
        (
            {"benchmark_filename": ["train", "test"]},
            r"benchmark_filename: \['train', 'test'\] makes no validation split, and {} needs one",
        ),
        ({"eval_step": 0}, "eval_step: 0 evaluates no epoch, and {} needs validation"),
    ],
)
def test_what_chooses_by_validation_needs_one(rows, changed, told):
    values = {**SETTINGS, "epochs": 1, **changed}
    Path("space.hyper").write_text("dropout_prob choice [0.0,0.1]\n")
    with pytest.raises(UsageError, match=told.format("tuning")):
        tune(SearchPlan("DNN", "rows", Path("record.jsonl"), "space.hyper", settings=values))
    with pytest.raises(UsageError, match=told.format("comparing models")):
        run_trials([TrialPlan("DNN", "DNN", 1)], "rows", "trials.jsonl", settings=values)
    assert not list(Path().glob("*.jsonl"))


@pytest.mark.slow
def test_two_processes_end_as_one(rows, tmp_path):
    Path("final.yaml").write_text(json.dumps({**FINAL, "scenario_fields": ["place"]}))
    alone = run_recbole("DNN", "rows", config_file_list=["final.yaml"], saved=False)
    result = run_module(
        *("--model=DNN", "--dataset=rows", "--config_files=final.yaml", "--nproc=2"),
        f"--port={free_port()}",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("No validation split: trains 3 epochs") == 1
    (path,) = Path("saved").glob("*.json")
    report = json.loads(path.read_text())
    assert report["valid"] == {}
    assert report["test"] == pytest.approx(dict(alone["test_result"]), abs=1.01e-4)
