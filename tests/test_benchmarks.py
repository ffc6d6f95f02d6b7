"""The scripts of benchmarks/ stand outside of the package and break when it moves."""

import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_finds_what_it_imports(script, monkeypatch):
    monkeypatch.syspath_prepend(str(script.parent.parent))
    module = importlib.import_module(f"benchmarks.{script.stem}")
    assert hasattr(module, "main") == ("__main__" in script.read_text(encoding="utf-8"))


def test_evaluation_by_ours_is_recboles(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS[0].parent.parent))
    evaluation = importlib.import_module("benchmarks.evaluation")
    columns = evaluation.random_columns(1000)
    columns["score"] = columns["label"] * 0.5 + 0.25
    evaluations = evaluation.whole_evaluation(columns, 64)
    assert evaluations["ours"]() == evaluations["and scenarios"]() == evaluations["RecBole"]()
