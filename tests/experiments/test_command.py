"""The commands of experiments as a user types them."""

import json
import re
import shlex

import pytest
import yaml

from tests.support.processes import run_command

FAST = ["--epochs=2", "--train_batch_size=4096"]


@pytest.mark.slow
def test_benchmark_makes_the_table_and_goes_on_where_it_was(tmp_path):
    (tmp_path / "mine.yaml").write_text("DPG: {weighting: rc, n: 4, m: 4}\n")
    (tmp_path / "a.yaml").write_text("learning_rate: 0.01\nmetric_decimal_place: 5\n")
    (tmp_path / "b.yaml").write_text("learning_rate: 0.02\n")
    command = ["benchmark", "--dataset=ml-100k", "--models", "DNN", "DeepFM", "DPG"]
    command += ["--config_files", "a.yaml", "b.yaml"]
    command += ["--settings_file=mine.yaml", "--jobs=2", "--scenarios", "--m=8", *FAST]
    result = run_command(*command, "--trials=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "settings: mine.yaml" in result.stdout
    header = next(line for line in result.stdout.splitlines() if line.startswith("model"))
    assert re.search(r"AUC over (DNN|DeepFM)", header)
    assert "Mean ± sd of the test split over seeds." in result.stdout
    folder = tmp_path / "benchmark" / "ml-100k"
    first_line = json.loads((folder / "trials.jsonl").read_text().splitlines()[0])
    given = first_line["settings"]
    assert (given["learning_rate"], given["metric_decimal_place"]) == (0.02, 5)
    table = json.loads((folder / "table.json").read_text())
    assert [line["model"] for line in table["models"]] == ["DNN", "DeepFM", "DPG"]
    (trial,) = table["models"][2]["trials"]
    assert trial["settings"] == {"weighting": "rc", "n": 4, "m": 8, "epochs": 2,
                                 "train_batch_size": 4096}  # fmt: skip
    assert set(trial["test"]) == {"auc", "logloss", "prauc", "pcoc", "ece"}
    assert len(trial["scenarios"]) == 21
    assert table["versions"]["torch"]
    assert "| technician" in (folder / "table.md").read_text()

    again = run_command(*command, "--trials=2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    table = json.loads((folder / "table.json").read_text())
    first, second = table["models"][2]["trials"]
    assert first == trial
    assert (first["seed"], second["seed"]) == (2020, 2021)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--models", "DNN", "DNN"], "has a model twice"),
        (["--models=DNN,DNN"], "has a model twice"),
        (["--models=[]"], "--models: '[]' names no model"),
        (["--models", "DNN", "--proposed", "DNM"], "--proposed: 'DNM' is not compared"),
        (["--models", "DNNN"], "model: 'DNNN' is not known"),
        (["--trials=0"], "--trials: 0 is not allowed"),
        (["--jobs=0"], "--jobs: 0 is not allowed"),
        (["--seed=-1"], "--seed: -1 is not allowed, expected a whole number from 0 to"),
        (["--seed=4294967295", "--trials=2"], "--seed: 4294967295 is not allowed"),
        (["--output=kept"], "--output: 'kept' is a file, expected a folder"),
        (["--settings_file=none.yaml"], "none.yaml': No such file"),
        (["--dataset=ml-100m"], "ml-100m"),
        (["--models", "DPG", "--n=1000"], "n: 1000"),
        (["--models", "DNN", "--metrics=[AUC,Nonsense]"], "Nonsense"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(tmp_path, arguments, problem):
    (tmp_path / "kept").write_text("text")
    result = run_command("benchmark", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "benchmark").exists()
    assert (tmp_path / "kept").read_text() == "text"


@pytest.mark.slow
def test_models_are_tuned_together_and_benchmarked_with_what_was_chosen(tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 1\nmlp_hidden_size: [16]\n")
    command = ["tune", "--models", "DNN", "DPG", "--dataset=ml-100k", "--trials=2", "--seeds=2"]
    command += ["--jobs=2", "--output=found", "--settings_file=tuned.yaml", *FAST]
    command += ["--config_files", "mine.yaml"]
    result = run_command(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    printed = result.stdout.splitlines()
    benchmark = shlex.split(printed[-1])
    assert benchmark[:2] == ["recbole-midpg", "benchmark"]
    chosen = yaml.safe_load((tmp_path / "tuned.yaml").read_text())
    common = {"epochs": 2, "mlp_hidden_size": [16], "train_batch_size": 4096}
    assert chosen["common"] == common
    records = {}
    for model in ("DNN", "DPG"):
        record = (tmp_path / "found" / f"{model}-ml-100k.jsonl").read_text()
        _, *trials = records[model] = [json.loads(line) for line in record.splitlines()]
        assert [len(trial["scores"]) for trial in trials] == [2, 2]
        best = max(trials, key=lambda trial: sum(trial["scores"]))
        assert chosen[model] == best["parameters"]
        alone = (tmp_path / "found" / f"{model}-ml-100k.yaml").read_text()
        assert (yaml.safe_load(alone) or {}) == best["parameters"]
        command_line = f"run_recbole --model={model} --dataset=ml-100k --epochs=2"
        assert any(line.startswith(command_line) for line in printed)

    again = run_command(*command, "--force", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == result.stdout
    for model, lines in records.items():
        record = (tmp_path / "found" / f"{model}-ml-100k.jsonl").read_text()
        assert [json.loads(line) for line in record.splitlines()] == lines

    result = run_command(*benchmark[1:], "--trials=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    table = json.loads((tmp_path / "benchmark" / "ml-100k" / "table.json").read_text())
    for line in table["models"]:
        (trial,) = line["trials"]
        assert trial["settings"] == {**chosen["common"], **chosen[line["model"]]}


@pytest.mark.slow
def test_a_search_that_fails_ends_no_other_and_leaves_no_settings_file(tmp_path):
    (tmp_path / "a.hyper").write_text("k choice [2]\n")
    command = ["tune", "--models", "DPG", "MIDPG", "--dataset=ml-100k", "--space=a.hyper"]
    command += ["--trials=1", "--settings_file=tuned.yaml", "--learning_rate=1e30", *FAST]
    result = run_command(*command, cwd=tmp_path)
    assert result.returncode == 2
    assert re.search(r"DPG: tune: every trial failed.* MIDPG: tune: every trial", result.stderr)
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "tuned.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--models", "DNN", "DPG", "DNN"], "has a model twice"),
        (["--models", "DNN", "BPR"], "there is no packaged space for BPR"),
        (["--models", "DNN", "DPG", "--n=1000"], "n: 1000"),
        (["--models", "DNN", "DPPG"], "model: 'DPPG' is not known; did you mean 'DPG'?"),
        (["--seeds=0"], "--seeds: 0 is not allowed"),
        (["--jobs=0"], "--jobs: 0 is not allowed"),
        (["--settings_file=kept.yaml"], "--settings_file 'kept.yaml': it exists already"),
        (
            ["--settings_file=kept.yaml/a"],
            "--settings_file: 'kept.yaml' is a file, expected a folder",
        ),
        (["--output=kept.yaml"], "--output: 'kept.yaml' is a file, expected a folder"),
        (["--seed=-1"], "--seed: -1 is not allowed, expected a whole number from 0 to"),
    ],
)
def test_what_is_wrong_with_a_search_is_told_before_it_begins(tmp_path, arguments, problem):
    (tmp_path / "kept.yaml").write_text("DNN: {}\n")
    result = run_command("tune", "--dataset=ml-100k", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "tuning").exists()
    assert (tmp_path / "kept.yaml").read_text() == "DNN: {}\n"
