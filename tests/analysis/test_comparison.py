"""Two finished runs on the same test rows, by the command and by the function."""

import argparse
import csv
import json
import shutil

import numpy as np
import pytest
from recbole.quick_start import run_recbole

from recbole_midpg.analysis import comparison as comparison_module
from recbole_midpg.analysis.comparison import compare_runs
from recbole_midpg.commands.analysis import add_compare
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.scoring.scored_rows import TokenColumn, read_scored_rows
from tests.analysis.reports import run_report, table, written
from tests.support.small_rows import ROWS, write_rows

SETTINGS = {
    "load_col": {"inter": ["user_id", "item_id", "place", "hour", "label"]},
    "LABEL_FIELD": "label",
    "scenario_fields": ["place"],
    "eval_args": {
        "split": {"RS": [0.5, 0.2, 0.3]}, "order": "RO", "group_by": None, "mode": "labeled"
    },
    "train_neg_sample_args": None,
    "metrics": ["AUC", "LogLoss"],
    "valid_metric": "AUC",
    "epochs": 1,
    "embedding_size": 4,
    "mlp_hidden_size": [8, 8],
    "metric_decimal_place": 6,
    "show_progress": False,
}  # fmt: skip
RUNS = {
    "dpg": ("DPG", {}),
    "dnn": ("DNN", {"load_col": {"inter": ["user_id", "item_id", "place", "label"]}}),
    "deepfm": ("DeepFM", {"scenario_fields": None, "scenario_id_field": None}),
    "other_seed": ("DNN", {"seed": 7}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a dataset and the reports of some runs on it, as ``dpg.json``."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        draw = np.random.default_rng(0)
        places = draw.choice(["a", "b", "b", "c|d"], ROWS).tolist()
        # A label that hangs on the user, so that models do not merely guess.
        users = draw.integers(0, 60, ROWS)
        labels = (draw.random(ROWS) < users / 60).astype(int).tolist()
        columns = {"place:token": places, "user_id:token": users.tolist(), "label:float": labels}
        write_rows(folder / "dataset" / "clicks" / "clicks.inter", 1, columns)
        for name, (model, values) in RUNS.items():
            config = {**SETTINGS, "checkpoint_dir": name, **values}
            run_recbole(model, "clicks", config_dict=config)
            for path in (folder / name).iterdir():
                path.rename(folder / f"{name}{path.suffix}")
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """The test's own copy of :func:`trained`."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def compare(*words):
    parser = argparse.ArgumentParser()
    add_compare(parser.add_subparsers())
    options = vars(parser.parse_args(["compare", *words]))
    options.pop("action")(**options)


def report(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_the_values_are_those_of_the_reports(runs):
    found = compare_runs("dpg.json", "dnn.json", resamples=20)
    for name, side in (("dpg", "first"), ("dnn", "second")):
        content = report(runs / f"{name}.json")
        for metric in ("auc", "logloss"):
            of_run = getattr(getattr(found.whole, metric), side)
            assert of_run == pytest.approx(content["test"][metric], abs=1e-6)
        by_name = {entry["name"]: entry for entry in content["scenarios"]}
        assert by_name.keys() == {name for name, _ in found.scenarios} == {"a", "b", "c|d"}
        for scenario, group in found.scenarios:
            entry = by_name[scenario]
            assert (group.rows, group.positives) == (entry["rows"], entry["positives"])
            assert getattr(group.auc, side) == pytest.approx(entry["auc"], abs=1e-12)
            assert getattr(group.logloss, side) == pytest.approx(entry["logloss"], abs=1e-12)
    sizes = [group.rows for _, group in found.scenarios]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == found.whole.rows == 480
    assert found.whole.auc.low < found.whole.auc.high
    assert (found.scenario_field, found.cluster_field, found.clusters) == ("place", None, None)


def test_a_run_differs_from_itself_by_nothing(runs):
    found = compare_runs("dpg.json", "dpg.json", resamples=20)
    for group in (found.whole, *(group for _, group in found.scenarios)):
        for metric in (group.auc, group.logloss):
            assert (metric.difference, metric.low, metric.high) == (0, 0, 0)


def test_only_one_run_needs_scenarios_and_the_models_may_be_recboles(runs):
    one = compare_runs("deepfm.json", "dnn.json", resamples=5)
    other = compare_runs("dnn.json", "deepfm.json", resamples=5)
    assert one.scenario_field == other.scenario_field == "place"
    assert len(one.scenarios) == 3
    assert one.whole.auc.difference == -other.whole.auc.difference
    assert compare_runs("deepfm.json", "deepfm.json", resamples=5).scenarios == ()


def test_users_can_be_drawn(runs):
    found = compare_runs("dpg.json", "dnn.json", cluster="user_id", resamples=20)
    rows = read_scored_rows(runs / "dpg.json", report(runs / "dpg.json"))
    assert found.clusters == len(set(rows.column("user_id").ids.tolist())) <= 60
    alone = compare_runs("dpg.json", "dnn.json", resamples=20)
    assert found.whole.auc.difference == alone.whole.auc.difference
    assert found.whole.auc.low != alone.whole.auc.low
    with pytest.raises(UsageError, match=r"'user' is not a token field .*did you mean 'user_id'"):
        compare_runs("dpg.json", "dnn.json", cluster="user")


def test_nothing_is_written_beside_the_runs(runs):
    before = {path: path.read_bytes() for path in runs.iterdir() if path.is_file()}
    folders = {path for path in runs.iterdir() if path.is_dir()}
    compare_runs("dpg.json", "dnn.json", resamples=1)
    assert {path: path.read_bytes() for path in runs.iterdir() if path.is_file()} == before
    assert {path for path in runs.iterdir() if path.is_dir()} == folders


def test_the_command_prints_a_table_and_writes_files(runs, capsys):
    words = ["dpg.json", "dnn.json", "--resamples", "30", "--seed", "3"]
    compare(*words, "--output", "c.json")
    told = capsys.readouterr().out
    assert told.startswith("A: DPG, dpg.json\n\nB: DNN, dnn.json\n\n| scenario ")
    assert r"| c\|d " in told
    assert "30 paired bootstrap resamples of rows, seed 3" in told
    assert told.endswith("\nc.json\n")
    found = compare_runs("dpg.json", "dnn.json", resamples=30, seed=3)
    content = report(runs / "c.json")
    assert content == found.as_json()
    assert content["all"]["auc"]["difference"] == found.whole.auc.difference
    assert f"| {found.whole.auc.first:.4f} | {found.whole.auc.second:.4f} |" in " ".join(
        told.split()
    )
    compare(*words, "--output", "c.csv")
    with (runs / "c.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["scenario"] for line in lines] == ["", *(name for name, _ in found.scenarios)]
    for line, group in zip(lines, [found.whole, *(g for _, g in found.scenarios)], strict=True):
        assert int(line["rows"]) == group.rows
        assert float(line["logloss_high"]) == group.logloss.high
    capsys.readouterr()
    compare(*words, "--output", "c.md")
    assert (runs / "c.md").read_text() + "\nc.md\n" == capsys.readouterr().out
    with pytest.raises(UsageError, match=r"output 'c\.csv': it exists already"):
        compare(*words, "--output", "c.csv")
    compare(*words, "--output", "c.csv", "--force")
    for name, which in (("dpg.json", "first"), ("dnn.json", "second")):
        with pytest.raises(UsageError, match=f"output '{name}': it is the {which} report, expect"):
            compare(*words, "--output", name, "--force")


def test_small_scenarios_are_warned_of(runs, capsys, monkeypatch):
    words = ["dpg.json", "dnn.json", "--resamples", "2", "--cluster", "user_id"]
    compare(*words)
    told = capsys.readouterr().out
    assert "not to be trusted" not in told
    assert "values of user_id with their rows" in told
    monkeypatch.setattr("recbole_midpg.evaluation.resampling.FEW", 10_000)
    compare(*words)
    assert "whose intervals are not to be trusted: 3." in capsys.readouterr().out


def test_other_rows_are_told_with_their_likely_reason(runs):
    with pytest.raises(UsageError) as error:
        compare_runs("dnn.json", "other_seed.json")
    assert str(error.value).startswith("dnn.json and other_seed.json were not tested on the same")
    assert str(error.value).endswith("(seed is 2020 and 7).")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": [1, 1, 0]}, "the labels of row 3 differ"),
        ({"labels": [1, 1]}, "there are 3 and 2"),
        ({"items": ["x", "z", "y"]}, "the item_id of row 2 differs"),
        ({"items": ["y", "x", "y"]}, "the item_id of row 1 differs"),
        ({}, None),
    ],
)
def test_rows_are_compared_by_token(changed, words):
    """Whatever ids a run has given to its tokens."""

    def rows(labels, items, tokens):
        ids = np.array([tokens.index(item) for item in items])
        column = TokenColumn(ids, np.array(tokens))
        return comparison_module.ScoredRows(
            np.array(labels, np.float32), np.zeros(len(labels)), {"item_id": column}, ("item_id",),
            None,
        )  # fmt: skip

    one = rows([1, 1, 1], ["x", "x", "y"], ["[PAD]", "x", "y"])
    other = {"labels": [1, 1, 1], "items": ["x", "x", "y"], **changed}
    tokens = ["[PAD]", "z", "y", "x"]
    problem = comparison_module._difference_of_rows(one, rows(tokens=tokens, **other))
    assert problem == words


def test_what_is_missing_is_told(runs):
    (runs / "alone.json").write_text((runs / "dnn.json").read_text())
    with pytest.raises(UsageError, match=r"checkpoint 'alone\.pth': there is no such file"):
        compare_runs("alone.json", "dnn.json")
    shutil.rmtree(runs / "dataset")
    with pytest.raises(UsageError, match="the dataset clicks is not in"):
        compare_runs("dpg.json", "dnn.json")


def test_a_dataset_that_has_changed_is_told(runs):
    """New rows of known tokens: the vocabulary is the same, the split is another."""
    path = runs / "dataset" / "clicks" / "clicks.inter"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[1:101]]) + "\n")
    with pytest.raises(UsageError, match="it gives 510 test rows, and the report 480"):
        compare_runs("dpg.json", "dnn.json")
    path.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    with pytest.raises(UsageError, match="has other tokens, or in another order"):
        compare_runs("dpg.json", "dnn.json")


def test_scores_that_are_not_the_reports_are_told(runs):
    content = report(runs / "dpg.json")
    content["test"]["auc"] += 0.01
    (runs / "dpg.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"it gives a test AUC of 0\.\d{4}, and the report 0"):
        compare_runs("dpg.json", "dnn.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (table({"DNN": {1: {"a": 0.5}}}), "it is the table of a benchmark, which compares its"),
        ({"format": "x"}, "its format is 'x', expected 'recbole-midpg run 1'"),
        ([], "its format is None"),
        (run_report(config=[]), "its entry config is missing or of another type"),
        (run_report(scenarios=[{"name": "a"}]), "its entry scenarios is missing or of another"),
        (run_report(dataset="other"), "is of the dataset clicks and wrong.json of other"),
    ],
)
def test_files_that_are_no_reports_of_runs(runs, content, words):
    written(content, "wrong.json")
    with pytest.raises(UsageError, match=words):
        compare_runs("dpg.json", "wrong.json")


def test_wrong_options_are_told_before_anything_is_loaded():
    with pytest.raises(UsageError, match="resamples: 0 is not allowed, expected at least 1"):
        compare_runs("none.json", "none.json", resamples=0)
    with pytest.raises(UsageError, match=r"its ending is '.xlsx', expected one of .json, .csv, "):
        compare("none.json", "none.json", "--output", "c.xlsx")
    with pytest.raises(UsageError, match=r"report of a run 'none\.json': it cannot be read"):
        compare("none.json", "none.json")
