import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from recbole.quick_start import quick_start, run_recbole
from recbole.trainer import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.version import versions
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.dataset.fast_dataset import FastDataset
from recbole_midpg.integration.run import run
from recbole_midpg.integration.run.run import Run
from tests.support import typed
from tests.support.recbole_data import GAPS, gaps_config

ML = {"epochs": 2, "train_batch_size": 8192, "show_progress": False}


def test_recbole_runs_ours_under_every_name():
    assert quick_start.run_recbole is run_recbole is run.run_recbole


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs: its folder, result and report."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        result = run_recbole("MIDPG", "ml-100k", config_dict=dict(ML))
    (path,) = folder.glob("saved/*.json")
    return folder, result, json.loads(path.read_text())


def test_the_report_lies_beside_the_checkpoint(finished):
    folder, result, report = finished
    (checkpoint,) = folder.glob("saved/*.pth")
    assert checkpoint.with_suffix(".json").is_file()
    assert report["format"] == "recbole-midpg run 1"
    assert (report["model"], report["dataset"], report["seed"]) == ("MIDPG", "ml-100k", 2020)
    assert report["test"] == dict(result["test_result"])
    assert report["valid"] == dict(result["best_valid_result"])
    assert report["config"]["beta"] == 0.1
    assert report["config"]["train_batch_size"] == 8192
    assert report["versions"]["torch"] == torch.__version__
    assert report["peak_memory_mib"] > 100
    assert report["times"].keys() == {"started", "loading", "training", "testing"}
    assert 0 < report["times"]["training"] < 300


def test_the_result_has_the_form_of_recboles(finished):
    _, result, _ = finished
    assert type(result["best_valid_result"]) is type(result["test_result"]) is OrderedDict
    assert list(result) == [
        "best_valid_score",
        "valid_score_bigger",
        "best_valid_result",
        "test_result",
    ]


def test_a_run_without_validation_has_no_result_of_it():
    values = {**GAPS, "threshold": {"rating": 3}, "eval_step": 0}
    assert run_recbole("DNN", "gaps", config_dict=values)["best_valid_result"] == {}


def test_the_report_has_a_line_a_scenario(finished):
    _, result, report = finished
    assert len(report["scenarios"]) == 21
    assert sum(line["rows"] for line in report["scenarios"]) == 10_000
    students = next(line for line in report["scenarios"] if line["name"] == "student")
    assert students["cvr"] == students["positives"] / students["rows"]
    mean_loss = sum(line["rows"] * line["logloss"] for line in report["scenarios"]) / 10_000
    assert mean_loss == pytest.approx(result["test_result"]["logloss"], abs=5.1e-5)


def test_the_report_has_each_epoch(finished):
    folder, result, report = finished
    first, second = report["epochs"]
    assert (first["epoch"], second["epoch"]) == (0, 1)
    assert first["loss"].keys() == {"alpha*bce", "beta*mir", "embedding_prior"}
    assert second["loss"]["alpha*bce"] < first["loss"]["alpha*bce"]
    assert second["valid"] == dict(result["best_valid_result"])
    assert len(second["scenario_auc"]) == 21
    (events,) = folder.glob("log_tensorboard/*/events*")
    accumulator = EventAccumulator(str(events)).Reload()
    curve = [event.value for event in accumulator.Scalars("Valid_AUC/student")]
    expected = [epoch["scenario_auc"]["student"] for epoch in report["epochs"]]
    assert curve == pytest.approx(expected, rel=1e-6)


def test_relative_improvement_over_a_named_run(finished, monkeypatch):
    folder, _, report = finished
    (path,) = folder.glob("saved/*.json")
    monkeypatch.chdir(folder)
    values = {"metrics": ["AUC", "RelaImpr"], "baseline_run": str(path)}
    result = run_recbole("DNN", "ml-100k", config_dict={**ML, **values}, saved=False)
    # Without a checkpoint the test split sees the last epoch, here the best one.
    for phase, found in (("test", result["test_result"]), ("valid", result["best_valid_result"])):
        expected = 100 * ((found["auc"] - 0.5) / (report[phase]["auc"] - 0.5) - 1)
        assert found["relaimpr"] == pytest.approx(expected, abs=0.1)
    with pytest.raises(UsageError, match="is of another seed"):
        run_recbole("DNN", "ml-100k", config_dict={**ML, **values, "seed": 1}, saved=False)


@pytest.mark.parametrize("model", ["MIDPG", "ESMM_MIDPG"])
@pytest.mark.parametrize("channel", ["app", ""])
def test_matrices_of_one_scenario_are_not_told_apart(tmp_path, model, channel):
    folder = tmp_path / "data" / "clicks"
    folder.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\tchannel:token\tclick:float\tlabel:float"]
    for row in range(80):
        lines.append(f"u{row % 7}\ti{row % 9}\t{channel}\t{row % 3 > 0:d}\t{row % 3 > 1:d}")
    (folder / "clicks.inter").write_text("\n".join(lines) + "\n")
    words = ["--data_path=data", "--scenario_fields=[channel]", "--load_col=None", "--epochs=1"]
    words += ["--click_field=click"] if model.startswith("ESMM") else []
    words += ["--LABEL_FIELD=label", "--threshold=None", "--mlp_hidden_size=[8,8]"]
    result = typed.run_recbole(f"--model={model}", "--dataset=clicks", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "scenario_fields: 'channel' has one value in the training split" in result.stderr
    assert "tells the scenarios' matrices apart" not in result.stderr


def test_a_run_that_is_not_saved_writes_nothing():
    run_recbole("DNN", "gaps", config_dict={**GAPS, "threshold": {"rating": 3}}, saved=False)
    assert not list(Path("saved").glob("*.json"))


def test_the_test_split_is_read_once_and_after_training(monkeypatch):
    evaluated = []
    stock = Trainer.evaluate

    def watch(self, data, *args, **kwargs):
        evaluated.append(data)
        return stock(self, data, *args, **kwargs)

    monkeypatch.setattr(Trainer, "evaluate", watch)
    prepared = Run.prepare(gaps_config("DNN", epochs=3, threshold={"rating": 3}))
    prepared.train(saved=False, verbose=False)
    prepared.test(saved=False)
    assert [data is prepared.test_data for data in evaluated] == [False, False, False, True]


def test_validation_without_a_score_is_told():
    prepared = Run.prepare(gaps_config("DNN", learning_rate=1e30))
    with pytest.raises(UsageError, match="validation: AUC is not defined in any epoch"):
        prepared.train(saved=False, verbose=False)


def test_the_dataset_is_ours_and_kept_in_the_cache(tmp_path):
    prepared = Run.prepare(gaps_config("DNN", threshold={"rating": 3}))
    assert type(prepared.dataset) is FastDataset
    assert list((tmp_path / "cache").rglob("gaps*.arrays"))


def test_models_without_scenarios_have_no_table():
    prepared = Run.prepare(
        gaps_config(
            "DNN",
            scenario_fields=None,
            threshold={"rating": 3},
            metrics=["LogLoss"],
            valid_metric="LogLoss",
        )
    )
    prepared.test(saved=False)
    assert prepared.test_table is None
    assert prepared.report().as_json()["scenarios"] == []


def test_what_is_not_a_number_is_null_in_the_report(tmp_path):
    prepared = Run.prepare(gaps_config("DNN"))
    prepared.best_valid = {"auc": float("nan"), "logloss": 0.5}
    prepared.report().write(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)["valid"] == {
        "auc": None,
        "logloss": 0.5,
    }
    assert [path.name for path in tmp_path.glob("*.json")] == ["a.json"]


def test_the_versions_of_what_a_run_computes_with():
    assert set(versions()) >= {"python", "torch", "numpy", "pandas", "recbole"}


def test_kernels_are_refused_on_a_cpu_before_data_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr(run, "create_dataset", None)
    with pytest.raises(UsageError, match="triton_kernels: True is not possible as"):
        run_recbole("DPG", "ml-100k", config_dict={**ML, "gpu_id": "", "triton_kernels": True})


@pytest.mark.parametrize("precision", ["high", "highest"])
def test_the_precision_of_products_is_torchs(precision, tmp_path, monkeypatch):
    def stop(config):
        raise UsageError("stopped before loading")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr(run, "create_dataset", stop)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(UsageError, match="stopped before loading"):
            run_recbole("DPG", "ml-100k", config_dict={**ML, "matmul_precision": precision})
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_of_epochs_with_the_same_results_the_best_is_the_one_whose_weights_are_kept(
    tmp_path, caplog
):
    """At learning rate 0 no epoch is better than another."""
    kept = Run.prepare(gaps_config("DNN", epochs=3, learning_rate=0, checkpoint_dir=str(tmp_path)))
    kept.train(saved=True, verbose=False)
    assert kept.trainer.saved_epoch == 2
    assert kept.best_so_far().startswith("the best epoch so far is 2, with ")
    kept.test(saved=False)
    assert "keeps no weights but the last" not in caplog.text


@pytest.mark.parametrize(("learning_rate", "said"), [(0.0, True), (0.01, False)])
def test_a_run_that_learned_nothing_is_told(learning_rate, said, caplog):
    prepared = Run.prepare(
        build_config("DNN", "ml-100k", values={**ML, "learning_rate": learning_rate})
    )
    prepared.train(saved=False, verbose=False)
    labels = prepared.valid_data._dataset.inter_feat["label"]
    positives = int(labels.sum())
    told = [doubt for doubt in prepared.doubts if doubt in caplog.text]
    assert len(told) == said
    for doubt in told:
        assert doubt.startswith("Validation split: AUC is 0.")
        assert f"({positives:,} positive, {len(labels) - positives:,} negative); a longer" in doubt
