import json

import pytest

from recbole_midpg.analysis.reports import distinct_labels, read_run, read_table
from recbole_midpg.common.errors import UsageError
from tests.analysis.reports import run_report, table, written


def test_a_report_is_read():
    run = read_run(written(run_report(), "MIDPG-1.json"))
    assert (run.path, run.model) == ("MIDPG-1.json", "MIDPG")
    assert [epoch.valid_auc for epoch in run.epochs] == [0.6, None, 0.62]
    assert run.epochs[2].loss == {"alpha*bce": 0.45, "beta*mir": 0.1}
    assert run.rows_of_scenarios == {"a": 30, "b": 10}


def test_an_auc_that_is_not_a_number_is_none():
    report = run_report()
    report["epochs"][0]["valid"]["auc"] = float("nan")
    assert read_run(written(report)).epochs[0].valid_auc is None


def test_a_table_is_read_without_failed_trials_and_undefined_areas():
    content = table({"DNN": {1: {"a": 0.5, "b": None}, 2: {}}, "DPG": {1: {"b": 0.7}}})
    found = read_table(written(content))
    assert found.scenarios == ["a", "b"]
    assert {name: [vars(t) for t in trials] for name, trials in found.models.items()} == {
        "DNN": [{"seed": 1, "auc": {"a": 0.5}}],
        "DPG": [{"seed": 1, "auc": {"b": 0.7}}],
    }


@pytest.mark.parametrize("read", [read_run, read_table])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("text", "not JSON"),
        ("[1]", "format is None"),
        ('{"format": "recbole-midpg run 0"}', "'recbole-midpg run 0', expected"),
    ],
)
def test_other_files_are_refused(read, text, words, tmp_path):
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read(path)


@pytest.mark.parametrize("key", ["config", "epochs", "scenarios"])
def test_damaged_reports_are_refused(key):
    with pytest.raises(UsageError, match="missing or of another type"):
        read_run(written(run_report(**{key: [1]})))
    with pytest.raises(UsageError, match="missing or of another type"):
        read_table(written({**table({}), "models": [{}]}))


def test_a_report_that_is_a_table_is_told_apart():
    path = written(table({}))
    with pytest.raises(UsageError, match="expected 'recbole-midpg run 1'"):
        read_run(path)
    assert json.loads(path.read_text())["format"] == "recbole-midpg table 1"


def test_labels_are_distinct():
    assert distinct_labels(["x/A.json", "y/B.json"]) == ["A", "B"]
    assert distinct_labels(["x/A.json", "y/A.json"]) == ["x/A.json", "y/A.json"]
