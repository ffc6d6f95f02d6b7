"""Reports, tables and records, which are JSON: nothing runs, and no other file is spoilt."""

import json
import signal
from pathlib import Path

import pytest

from recbole_midpg.common.report_files import RUN_FORMAT, TABLE_FORMAT

DEEP = "[" * 200_000
RECORD = Path("tuning/MIDPG-ml-100k.jsonl")


@pytest.mark.parametrize("text", [DEEP, "[]", '{"format": 1}', "nul\0"])
@pytest.mark.parametrize(
    ("name", "words"),
    [("table.json", ["gains", "--table=table.json"]), ("run.json", ["curves", "--runs=run.json"])],
)
def test_what_is_no_report(attacked, text, name, words):
    Path(name).write_text(text)
    attacked.refused(name, "analyze", *words, "--output=o")


@pytest.mark.parametrize(
    "content", [{}, {"config": 1, "valid": {}}, {"config": {}, "valid": [1]}, {"config": {}}]
)
def test_a_baseline_run_of_another_form(attacked, gaps, content):
    Path("base.json").write_text(json.dumps({"format": RUN_FORMAT, **content}))
    words = ("--metrics=[LogLoss,RelaImpr]", "--valid_metric=LogLoss", "--baseline_run=base.json")
    attacked.refused("baseline_run", "run_recbole", "--model=DNN", *gaps, *words)


@pytest.mark.parametrize("content", [{}, {"models": 1}, {"models": [{"model": "x", "trials": 5}]}])
def test_a_table_of_another_form(attacked, content):
    Path("table.json").write_text(json.dumps({"format": TABLE_FORMAT, **content}))
    attacked.refused("table.json", "analyze", "gains", "--table=table.json", "--output=o")


@pytest.mark.parametrize("text", ["dear diary", "dear diary\nof today", DEEP, "{}"])
def test_a_file_that_is_no_record_is_left_alone(attacked, text):
    """A last line that was cut off is dropped, but of a record only."""
    RECORD.parent.mkdir()
    RECORD.write_text(text)
    attacked.refused(RECORD.name, "tune", "--dataset=ml-100k")
    assert RECORD.read_text() == text


def test_entries_of_a_record_are_those_of_a_search(attacked, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("recbole_midpg.experiments.tuning.work_side_by_side", stop)
        patch.setattr(signal, "signal", lambda *_: None)  # an interrupt ends the process but once
        status, _ = attacked.run("tune", "--dataset=ml-100k")
    assert status == 130
    with RECORD.open("a") as file:
        file.write('{"parameters": {}, "scores": [1], "seconds": 1, "__class__": "x"}\n')
    attacked.refused("an entry is no Trial", "tune", "--dataset=ml-100k")
