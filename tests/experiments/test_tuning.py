import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from recbole.trainer import Trainer

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments import tuning
from recbole_midpg.experiments.tuning import (
    Begun,
    Search,
    SearchPlan,
    Trial,
    tune,
    tune_side_by_side,
)
from recbole_midpg.integration.dataset import trust
from tests.support.recbole_data import GAPS

SETTINGS = {key: value for key, value in GAPS.items() if key != "show_progress"}
RECORD = Path("tuning/record.jsonl")


@pytest.fixture
def space():
    path = Path("space.hyper")
    path.write_text("learning_rate loguniform -9,-1\nn choice [2,1000]\n")
    return path


def search(space, trials=6, **changed):
    values = {"record": RECORD, "settings": SETTINGS, **changed}
    return tune(SearchPlan("DPG", "gaps", space=space, trials=trials, **values))


def recorded():
    return [json.loads(line) for line in RECORD.read_text().splitlines()]


def test_the_best_trial_is_that_of_the_record_and_failed_ones_are_told(space):
    found = search(space)
    best = found.best
    first, *trials = recorded()
    assert first["metric"] == "AUC"
    assert len(trials) == 6
    assert [best.score] == max(trial["scores"] for trial in trials)
    failed = [trial for trial in trials if trial["parameters"].get("n") == 1000]
    assert failed, "the space holds a value that fits no layer; take another seed"
    assert all(t["scores"] == [] and t["problem"].startswith("n: 1000") for t in failed)
    assert found.defaults.parameters == {} and found.defaults.scores == trials[0]["scores"]
    *_, told, doubtful = found.summary()
    assert told.startswith(f"{len(failed)} of 6 settings failed, the last one: n: 1000")
    assert doubtful.startswith(f"{6 - len(failed)} of 6 settings are doubtful")  # of three rows


def test_a_killed_search_goes_on_as_if_it_had_not_been(space, monkeypatch):
    whole = search(space).best
    complete = recorded()
    RECORD.unlink()

    run_trial, runs = tuning._run_trial, []

    def killed_in_the_fourth(*arguments):
        runs.append(arguments)
        if len(runs) == 4:
            raise KeyboardInterrupt
        return run_trial(*arguments)

    monkeypatch.setattr(tuning, "_run_trial", killed_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        search(space)
    with RECORD.open("a") as file:
        file.write('{"parameters": {"learn')
    resumed = search(space).best
    assert len(runs) == 7
    assert (resumed.parameters, resumed.score) == (whole.parameters, whole.score)
    without_time = [{**line, "seconds": 0} for line in recorded()]
    assert without_time == [{**line, "seconds": 0} for line in complete]


def test_the_test_split_is_never_evaluated(space, monkeypatch):
    evaluated = []
    stock = Trainer.evaluate

    def watch(self, data, *args, **kwargs):
        evaluated.append(data)
        return stock(self, data, *args, **kwargs)

    made = []
    prepare = trust.data_preparation

    def keep(*arguments):
        made.append(prepare(*arguments))
        return made[-1]

    monkeypatch.setattr(Trainer, "evaluate", watch)
    monkeypatch.setattr(trust, "data_preparation", keep)
    search(space, trials=3)
    assert evaluated
    assert {id(data) for data in evaluated} <= {id(valid) for _, valid, _ in made}


def test_the_first_trial_is_of_the_settings_as_they_are(space):
    found = search(space, trials=1)
    assert found.best.parameters == recorded()[1]["parameters"] == {}
    assert found.summary()[:2] == [
        "DPG on gaps: the defaults alone were tried.",
        f"validation AUC: {found.best.score}",
    ]


def found_of(*trials, metric="AUC", bigger=True, defaults=None):
    tried = [
        Trial(parameters, scores, 1.0, "" if scores else "n: 9 is too large")
        for parameters, *scores in trials
    ]
    return Search("DPG", "gaps", metric, bigger, tuple(tried), defaults or {})


def test_the_winner_is_named_beside_the_defaults():
    values = {"learning_rate": 0.002, "mlp_hidden_size": [8, 4]}
    others = ({"learning_rate": 0.1}, 0.7), ({"learning_rate": 0.001}, 0.7)
    found = found_of(({}, 0.7812), *others, (values, 0.7861))
    assert found.summary() == [
        "DPG on gaps: the best of 4 settings on validation:",
        "  learning_rate = 0.002",
        "  mlp_hidden_size = [8, 4]",
        "validation AUC: 0.7861, with the defaults 0.7812",
    ]


def test_a_learning_rate_at_an_end_of_those_tried_is_told():
    rates = [({"learning_rate": rate, "n": 2}, 0.7 + rate) for rate in (0.001, 0.1, 0.01)]
    assert found_of(({}, 0.5), *rates).summary()[1:3] == [
        "  learning_rate = 0.1, the largest of those tried",
        "  n = 2",
    ]
    rates = [({"learning_rate": rate}, 0.7 - rate) for rate in (0.001, 0.1)]
    told = found_of(({}, 0.5), *rates).summary()
    assert told[1] == "  learning_rate = 0.001, the smallest of those tried"
    assert found_of(({}, 0.5), rates[0]).summary()[1] == "  learning_rate = 0.001"


def test_the_defaults_learning_rate_was_tried_too():
    rates = ({"learning_rate": 0.005}, 0.7), ({"learning_rate": 0.02}, 0.6)

    def told(default):
        return found_of(({}, 0.5), *rates, defaults={"learning_rate": default}).summary()[1]

    assert told(0.001) == "  learning_rate = 0.005"
    assert told(0.01) == "  learning_rate = 0.005, the smallest of those tried"


def test_a_search_knows_the_defaults_of_what_it_searches(space):
    found = search(space, trials=1)
    assert found.default_values == {"learning_rate": 0.001, "n": 8}


@pytest.mark.parametrize("tie", [0.78, 0.77])
def test_defaults_that_were_not_beaten_are_the_result(tie):
    found = found_of(({}, 0.78), ({"n": 2}, tie), ({"n": 9},))
    assert found.best is found.defaults
    assert found.summary() == [
        "DPG on gaps: the defaults were not beaten, among 3 settings.",
        f"validation AUC: 0.78, the best of the others {tie}",
        "1 of 3 settings failed, the last one: n: 9 is too large",
    ]


def test_settings_that_learned_nothing_are_told(space):
    """At a learning rate of 0; a resumed search says it as well."""
    for _ in range(2):
        found = search(space, trials=1, settings={**SETTINGS, "learning_rate": 0.0})
        (doubtful,) = found.summary()[2:]
        assert doubtful == (
            "1 of 1 settings are doubtful with one seed or more, the last one: "
            f"{found.best.doubts[0]}"
        )
        assert found.best.doubts[0].startswith("Validation split: AUC is ")


def test_one_command_at_a_time_has_a_record(space):
    search(space, trials=1)
    lines = RECORD.read_text()
    with FileLock(f"{RECORD}.lock"), pytest.raises(UsageError, match="another command is at work"):
        search(space, trials=2)
    assert RECORD.read_text() == lines
    assert len(search(space, trials=2).trials) == 2


def test_defaults_that_failed_and_a_metric_that_is_to_be_low():
    found = found_of(({},), ({"n": 2}, 0.5), ({"n": 4}, 0.4), metric="LogLoss", bigger=False)
    assert found.summary() == [
        "DPG on gaps: the best of 3 settings on validation:",
        "  n = 4",
        "validation LogLoss: 0.4, with the defaults none, as they failed",
        "1 of 3 settings failed, the last one: n: 9 is too large",
    ]


def test_several_seeds_are_judged_by_their_mean():
    found = found_of(({}, 0.78, 0.79), ({"n": 2}, 0.81, 0.76), ({"n": 4}, 0.778, 0.796))
    assert found.summary() == [
        "DPG on gaps: the best of 3 settings on validation:",
        "  n = 4",
        "validation AUC, mean ± sd over 2 seeds: 0.787 ± 0.012728, with the defaults "
        "0.785 ± 0.007071",
    ]


def test_a_trial_of_several_seeds_is_that_many_trainings(space):
    judged = {**SETTINGS, "metrics": ["LogLoss"], "valid_metric": "LogLoss"}
    both = search(space, trials=1, seeds=2, settings=judged).best
    alone = [
        search(space, trials=1, record=Path(f"{seed}.jsonl"), settings={**judged, "seed": seed})
        for seed in (2020, 2021)
    ]
    assert both.scores == [found.best.score for found in alone]
    assert len(set(both.scores)) == 2
    assert both.score == pytest.approx(sum(both.scores) / 2)


def test_a_trial_fails_when_one_of_its_seeds_does(space, monkeypatch):
    def score(_plan, values):
        if values["seed"] == 2021 and "n" in values:
            raise UsageError("the loss is not finite.")
        return 0.5, []

    monkeypatch.setattr(tuning, "_validate", score)
    found = search(space, trials=2, seeds=2)
    assert (found.trials[1].scores, found.trials[1].problem) == ([], "the loss is not finite.")
    assert found.best is found.defaults


MORTAL = """
import os, signal
from recbole_midpg.models.dnn import DNN

class Mortal(DNN):
    def __init__(self, config, dataset):
        if config["learning_rate"] > 0.015:
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(config, dataset)
"""


@pytest.mark.slow  # three processes start
def test_a_search_goes_on_after_a_trial_whose_process_was_killed(monkeypatch):
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    Path("mortal.py").write_text(MORTAL)
    Path("space.hyper").write_text("learning_rate choice [0.001, 0.005, 0.01, 0.02, 0.03]\n")
    plan = SearchPlan(
        "mortal:Mortal", "gaps", RECORD, space="space.hyper", trials=5, settings=SETTINGS
    )
    (found,) = tune_side_by_side([plan], show_progress=False)
    died = [trial for trial in found.trials if trial.problem]
    assert sorted(trial.parameters["learning_rate"] for trial in died) == [0.02, 0.03]
    assert {trial.problem for trial in died} == {
        "its process ended with status -9, as it does where memory is short"
    }
    assert len([line for line in recorded()[1:] if not line["problem"]]) == 3
    (again,) = tune_side_by_side([plan], show_progress=False)
    assert again == found


def test_what_is_set_is_not_searched(space):
    found = search(space, trials=3, settings={**SETTINGS, "learning_rate": 0.01})
    assert recorded()[0]["space"] == [["n", "choice", [2, 1000]]]
    assert all("learning_rate" not in trial.parameters for trial in found.trials)
    with pytest.raises(UsageError, match=r"sets learning_rate, n, expected some key .* to search"):
        search(space, settings={**SETTINGS, "learning_rate": 0.01, "n": 2})


@pytest.mark.parametrize(
    ("learning_rates", "settings"),
    [
        ("[0.01, 0.02, 0.03]", [{}, {"learning_rate": 0.01}, {"learning_rate": 0.03}]),
        ("[0.01, 0.03]", [{}, {"learning_rate": 0.01}, {"learning_rate": 0.03}]),
    ],
    ids=["the defaults are in the space", "the defaults are not in the space"],
)
def test_a_small_space_is_tried_out_each_setting_once(monkeypatch, learning_rates, settings):
    Path("space.hyper").write_text(f"learning_rate choice {learning_rates}\n")
    trained, told = [], []

    def run_trial(plan, seeds, parameters):
        trained.append(parameters)
        return Trial(parameters, [0.5 + parameters.get("learning_rate", 0.0)], 1.0)

    monkeypatch.setattr(tuning, "_run_trial", run_trial)
    values = {"settings": {**SETTINGS, "learning_rate": 0.02}, "space": "space.hyper"}
    with pytest.raises(UsageError, match="sets learning_rate, expected some key"):
        tune(SearchPlan("DPG", "gaps", RECORD, **values))
    Path("defaults.yaml").write_text("learning_rate: 0.02\n")
    values = {"settings": SETTINGS, "space": "space.hyper", "config_files": ["defaults.yaml"]}
    for _ in range(2):  # the second search takes all of them from the record
        found = tune(SearchPlan("DPG", "gaps", RECORD, **values), told.append)
        assert found.best.parameters == {"learning_rate": 0.03}
        assert found.summary()[0].startswith("DPG on gaps: the best of 3 settings")
    assert sorted(trained, key=str) == sorted(settings, key=str)
    assert told == [
        *(m for trial in found.trials for m in (Begun(trial.parameters), trial)),
        *found.trials,
    ]


def test_a_misspelt_key_of_a_space_is_told_before_the_search(space):
    space.write_text("learning_rat choice [0.1]\n")
    with pytest.raises(UsageError, match=r"learning_rat: unknown.*'learning_rate'\?"):
        search(space)
    assert not RECORD.exists()


def test_a_record_of_another_search_is_left_alone(space):
    search(space, trials=1)
    before = RECORD.read_text()
    with pytest.raises(UsageError, match=r"other seed\)"):
        search(space, trials=1, seed=5)
    with pytest.raises(UsageError, match=r"other seeds\)"):
        search(space, trials=1, seeds=2)
    with pytest.raises(UsageError, match=r"other settings\)"):
        search(space, trials=1, settings={**SETTINGS, "epochs": 2})
    assert RECORD.read_text() == before
    RECORD.write_text("text\n")
    with pytest.raises(UsageError, match="is no record"):
        search(space, trials=1)


def test_when_every_trial_fails_the_reason_is_told(space):
    with pytest.raises(UsageError, match="every trial failed, the last one: validation: AUC"):
        search(space, trials=1, settings={**SETTINGS, "learning_rate": 1e30})


def test_wrong_settings_are_told_before_the_search(space):
    with pytest.raises(UsageError, match="did you mean 'job'"):
        search(space, settings={**SETTINGS, "scenario_fields": ["jobb"]})
    assert not RECORD.exists()


def test_seeds_out_of_range_are_told_before_the_search(space):
    told = r"^seed: 4294967295 is not allowed, expected at most 4294967294, as .* 2 seeds from it"
    with pytest.raises(UsageError, match=told):
        search(space, seeds=2, settings={**SETTINGS, "seed": 2**32 - 1})
    assert not RECORD.exists()


def test_whole_numbers_are_drawn_for_a_key_that_needs_them(space):
    space.write_text("embedding_size quniform 8,16,8\n")
    found = search(space, trials=2)
    assert [trial.problem for trial in found.trials] == ["", ""]
    assert found.trials[1].parameters["embedding_size"] in (8, 16)


@pytest.mark.parametrize(
    "line", ["embedding_size uniform 8,16", "n loguniform 1,2", "embedding_size quniform 8,9,0.5"]
)
def test_a_key_of_whole_numbers_is_not_drawn_from_others(space, line):
    space.write_text(f"{line}\n")
    with pytest.raises(UsageError) as told:
        search(space)
    key, kind, _ = line.split()
    assert str(told.value) == (
        f"search space: {key} is a whole number, which {kind} does not draw here, expected choice, "
        "or quniform with a whole step."
    )
    assert not RECORD.exists()


def test_a_record_of_other_config_file_contents_or_data_is_left_alone(space):
    shutil.copytree(Path(SETTINGS["data_path"]) / "gaps", "data/gaps")
    Path("dataset_configs").mkdir()
    Path("dataset_configs/gaps.yaml").write_text("stopping_step: 3\n")
    Path("cf.yaml").write_text("{seed: 2020, epochs: 1}\n")
    settings = {key: value for key, value in SETTINGS.items() if key != "epochs"}

    def search_again():
        values = {"settings": {**settings, "data_path": "data"}, "config_files": ["cf.yaml"]}
        return search(space, trials=1, **values)

    search_again()
    before = RECORD.read_text()
    for file, text, changed in (
        ("cf.yaml", "{seed: 99, epochs: 8}\n", "config_file_values"),
        ("dataset_configs/gaps.yaml", "stopping_step: 4\n", "dataset_config"),
        ("data/gaps/gaps.item", Path("data/gaps/gaps.item").read_text() + "\n", "files"),
    ):
        content = Path(file).read_text()
        Path(file).write_text(text)
        with pytest.raises(UsageError, match=rf"of another search \(other {changed}\)"):
            search_again()
        Path(file).write_text(content)
    search_again()
    assert RECORD.read_text() == before


def test_a_record_that_kept_names_of_config_files_alone_goes_on(space, caplog):
    search(space, trials=1)
    first, *trials = recorded()
    for key in ("config_file_values", "dataset_config", "files"):
        del first[key]
    older = "".join(f"{json.dumps(line)}\n" for line in (first, *trials))
    RECORD.write_text(older)
    caplog.clear()
    search(space, trials=1)
    assert RECORD.read_text() == older
    (line,) = [line for line in caplog.messages if line.startswith("record")]
    assert line.endswith(
        "not compared: what stands in the config files, what stands in the dataset's config file, "
        "the dataset's files."
    )
    with pytest.raises(UsageError, match=r"\(other config_files\)"):
        Path("other.yaml").touch()
        search(space, trials=1, config_files=["other.yaml"])
