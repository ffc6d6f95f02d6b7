import json
import shutil
from pathlib import Path

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments import trials
from recbole_midpg.experiments.trials import TrialPlan, TrialResult, run_trial, run_trials
from tests.support.recbole_data import GAPS

COMMON = {**GAPS, "threshold": {"rating": 3}}
RECORD = Path("out/trials.jsonl")
PLANS = [TrialPlan(model, model, seed) for seed in (1, 2) for model in ("DNN", "DPG")]


def run(plans=PLANS, **values):
    arguments = {"settings": COMMON, "show_progress": False, **values}
    return run_trials(plans, "gaps", RECORD, **arguments)


def without_costs(result):
    costs = {"training_seconds": 0.0, "peak_memory_mib": None}
    return {**vars(result), **costs}


def test_trials_are_what_they_are_one_by_one():
    results = run(jobs=2)
    assert [(r.label, r.seed, r.problem) for r in results] == [
        (plan.label, plan.seed, "") for plan in PLANS
    ]
    for plan, result in zip(PLANS, results, strict=True):
        assert without_costs(result) == without_costs(run_trial(plan, "gaps", COMMON))
    assert results[0].parameters_without_embeddings < results[1].parameters_without_embeddings
    assert results[0].peak_memory_mib > 50
    assert not list(Path("saved").glob("*"))


@pytest.mark.slow
def test_finished_trials_are_kept_and_half_finished_ones_done_again(monkeypatch):
    whole = run()
    lines = RECORD.read_text().splitlines(keepends=True)
    RECORD.write_text("".join(lines[:3]) + lines[3][:20])
    started = []
    stock = trials.work_side_by_side

    def watch(work, pieces, *arguments):
        started.extend((plan.label, plan.seed) for plan, *_ in (p.arguments for p in pieces))
        stock(work, pieces, *arguments)

    monkeypatch.setattr(trials, "work_side_by_side", watch)
    again = run()
    assert started == [("DNN", 2), ("DPG", 2)]
    assert [without_costs(r) for r in again] == [without_costs(r) for r in whole]
    started.clear()
    run()
    assert started == []
    run([*PLANS, TrialPlan("DNN", "DNN", 3)])
    assert started == [("DNN", 3)]
    run([TrialPlan("DNN", "DNN", 1, {"learning_rate": 0.5})])
    assert started == [("DNN", 3), ("DNN", 1)]


@pytest.mark.slow
def test_a_failing_trial_is_told_and_ends_nothing(capfd):
    plans = [TrialPlan("worse", "DNN", 1, {"learning_rate": 1e30}), *PLANS[:1]]
    failed, fine = run(plans, show_progress=True)
    assert failed.problem.startswith("validation: AUC is not defined")
    assert (fine.problem, set(fine.test)) == ("", {"auc", "logloss"})
    assert "worse, seed 1: validation" in capfd.readouterr().out
    # A failed trial is not a finished one.
    entries = [json.loads(line) for line in RECORD.read_text().splitlines()[1:]]
    assert len(entries) == 2
    run(plans)
    assert len(RECORD.read_text().splitlines()) == 4


def break_down(*_):
    raise ZeroDivisionError("inside")


def test_an_unforeseen_error_is_told_with_its_trace_in_the_log(monkeypatch):
    monkeypatch.setattr(trials, "_work", break_down)
    (result,) = run(PLANS[:1])
    log = RECORD.parent / "logs" / "DNN-1.log"
    assert result.problem == f"ZeroDivisionError: inside (see {log})"
    assert "Traceback" in log.read_text()


def test_a_wrong_config_is_told_before_anything_runs():
    plans = [*PLANS, TrialPlan("DPG", "DPG", 1, {"n": 1000})]
    with pytest.raises(UsageError, match="n: 1000"):
        run(plans)
    assert not RECORD.exists()


def test_a_record_of_other_trials_is_left_alone():
    run(PLANS[:1])
    before = RECORD.read_text()
    with pytest.raises(
        UsageError, match=r"of another comparison \(other settings\), .*, or another --output\."
    ):
        run(PLANS[:1], settings={**COMMON, "epochs": 2})
    assert RECORD.read_text() == before


def test_results_answer_only_their_plan():
    plan = TrialPlan("a", "DNN", 1, {"x": [1]})
    assert TrialResult("a", "DNN", 1, {"x": [1]}).answers(plan)
    assert not TrialResult("a", "DNN", 1, {"x": [1]}, problem="p").answers(plan)
    assert not TrialResult("a", "DNN", 2, {"x": [1]}).answers(plan)


@pytest.fixture
def own_gaps():
    """The dataset in the folder ``data``, with a config file of the user's own."""
    shutil.copytree(Path(GAPS["data_path"]) / "gaps", "data/gaps")
    Path("dataset_configs").mkdir()
    Path("dataset_configs/gaps.yaml").write_text("epochs: 1\n")
    settings = {**COMMON, "data_path": "data"}
    del settings["epochs"]
    return settings


def test_a_record_of_other_dataset_settings_is_left_alone(own_gaps):
    run(PLANS[:1], settings=own_gaps)
    before = RECORD.read_text()
    Path("dataset_configs/gaps.yaml").write_text("epochs: 2\n")
    with pytest.raises(UsageError, match=r"of another comparison \(other dataset_config\)"):
        run(PLANS[:2], settings=own_gaps)
    assert RECORD.read_text() == before
    Path("dataset_configs/gaps.yaml").write_text("# as it was\nepochs: 1\n")
    run(PLANS[:1], settings=own_gaps)
    assert RECORD.read_text() == before


def test_a_record_of_other_data_is_left_alone(own_gaps):
    run(PLANS[:1], settings=own_gaps)
    before = RECORD.read_text()
    table = Path("data/gaps/gaps.inter")
    content = table.read_text()
    table.write_text(content + content.splitlines()[1] + "\n")
    told = (
        r"DNN with seed 1 was trained on other data \(other gaps\.inter\), expected the same "
        r"files, or another --output\.$"
    )
    with pytest.raises(UsageError, match=told):
        run(PLANS[:2], settings=own_gaps)
    assert RECORD.read_text() == before
    # A copied folder, with other times and inodes, is the same data.
    shutil.rmtree("data")
    shutil.copytree(Path(GAPS["data_path"]) / "gaps", "data/gaps", copy_function=shutil.copyfile)
    run(PLANS[:1], settings=own_gaps)
    assert RECORD.read_text() == before


def test_a_record_of_an_earlier_version_goes_on_and_says_what_is_not_compared(own_gaps, caplog):
    run(PLANS[:1], settings=own_gaps)
    first, trial = [json.loads(line) for line in RECORD.read_text().splitlines()]
    del first["dataset_config"], trial["files"]
    older = f"{json.dumps(first)}\n{json.dumps(trial)}\n"
    RECORD.write_text(older)
    caplog.clear()
    (result,) = run(PLANS[:1], settings=own_gaps)
    assert (result.test, result.files) == (trial["test"], {})
    assert RECORD.read_text() == older
    (line,) = [line for line in caplog.messages if line.startswith("record")]
    assert line.endswith(
        "not compared: what stands in the dataset's config file, and the dataset's files."
    )
