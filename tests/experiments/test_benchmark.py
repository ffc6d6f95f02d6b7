import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.benchmark import (
    find_settings,
    paper_numbers,
    plan_trials,
    read_settings,
    settings_text,
    summarize,
)
from recbole_midpg.experiments.table_files import main_table, notes, write_tables
from recbole_midpg.experiments.trials import TrialResult
from recbole_midpg.generated import bayes_of_split, generate

CONFIG = {
    "dataset": "some",
    "valid_metric": "AUC",
    "valid_metric_bigger": True,
    "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None},
    "time_split": None,
    "data_path": "nowhere",
}
SEEDS = range(6)
TUNED = sorted(path.stem for path in find_settings("ml-100k").parent.glob("*.yaml"))
# Validation and test are told apart: on test PLE is the best baseline, on validation DNN.
VALID = {"DNN": 0.66, "PLE": 0.65, "MIDPG": 0.67}
TEST = {
    "DNN": [0.60, 0.61, 0.62, 0.60, 0.63, 0.61],
    "PLE": [0.62, 0.63, 0.62, 0.64, 0.63, 0.62],
    "MIDPG": [0.63, 0.65, 0.65, 0.64, 0.66, 0.65],
}


def trial(model, seed, auc, **values):
    scenarios = [
        {"name": "a", "auc": auc + 0.01, "rows": 5},
        {"name": "b", "auc": auc if seed else None, "rows": 5},
    ]
    test = {"auc": auc, "logloss": 0.5}
    valid = {"auc": VALID[model]}
    base = {"valid": valid, "test": test, "scenarios": scenarios, "training_seconds": 2.0}
    return TrialResult(
        model, model, seed, {}, **{**base, "parameters_without_embeddings": 10, **values}
    )


@pytest.fixture
def results():
    return [trial(model, seed, TEST[model][seed]) for seed in SEEDS for model in TEST]


def line_of(summary, label):
    return next(model for model in summary.models if model.label == label)


def test_lines_hold_mean_and_spread_of_the_test_split(results):
    line = line_of(summarize(results, CONFIG), "DNN")
    assert line.scores["auc"].mean == pytest.approx(0.61166667)
    assert line.scores["auc"].sd == pytest.approx(0.0116905, rel=1e-5)
    assert (line.valid_score, line.training_seconds.mean) == (0.66, 2.0)
    assert line.scenario_auc()["a"].count == 6
    assert line.scenario_auc()["b"].count == 5


def test_the_best_baseline_is_chosen_on_validation(results):
    summary = summarize(results, CONFIG)
    assert summary.best_baseline == "DNN"
    assert line_of(summary, "DNN").tests.t is None
    raw = {m: stats.ttest_rel(TEST[m], TEST["DNN"]).pvalue for m in ("PLE", "MIDPG")}
    low, high = sorted(raw.values())
    assert line_of(summary, "MIDPG").tests.t == pytest.approx(2 * low)
    assert line_of(summary, "PLE").tests.t == pytest.approx(max(2 * low, high))
    assert line_of(summary, "MIDPG").better
    assert summarize(results, CONFIG, proposed=[]).best_baseline == "MIDPG"


def test_significantly_worse_is_no_star(results):
    summary = summarize(results, CONFIG, proposed=[])
    assert line_of(summary, "DNN").tests.t < 0.05
    assert not line_of(summary, "DNN").better


def test_a_difference_has_a_sign_a_spread_and_its_p(results, tmp_path):
    """With PLE for the best, DNN's differences are -2, -2, 0, -4, 0 and -1 hundredths."""
    config = CONFIG | {"valid_metric": "LogLoss", "valid_metric_bigger": False}
    chosen = [
        TrialResult(**{**vars(r), "valid": {"logloss": 0.4 if r.model == "PLE" else 0.5}})
        for r in results
    ]
    summary = summarize(chosen, config)
    worse, better = line_of(summary, "DNN").gained, line_of(summary, "MIDPG").gained
    assert worse.mean == pytest.approx(-0.015)
    assert worse.sd == pytest.approx(math.sqrt((3 * 0.5**2 + 2 * 1.5**2 + 2.5**2) / 5) / 100)
    assert better.mean == pytest.approx(0.02)
    assert line_of(summary, "PLE").gained is None
    headers, rows = main_table(summary)
    place = headers.index("AUC over PLE")
    assert headers[place + 1] == "p (t)"
    assert [row[place] for row in rows] == ["-0.0150 ± 0.0152", "", "+0.0200 ± 0.0126"]
    write_tables(summary, tmp_path, {}, scenarios=False)
    dnn, ple, _ = json.loads((tmp_path / "table.json").read_text())["models"]
    assert dnn["auc_gained"] == {"mean": worse.mean, "sd": worse.sd, "count": 6}
    assert ple["auc_gained"] is None
    assert "| -0.0150 ± 0.0152 |" in (tmp_path / "table.md").read_text()


def test_a_difference_is_of_the_seeds_that_both_have(results):
    failed = TrialResult("DNN", "DNN", 0, {}, problem="it broke")
    summary = summarize([failed, *(r for r in results if (r.label, r.seed) != ("DNN", 0))], CONFIG)
    gained = line_of(summary, "PLE").gained
    assert (gained.count, gained.mean) == (5, pytest.approx(0.014))


def test_a_star_is_of_the_seeds_that_both_have(results):
    """MIDPG is behind on each seed it has, and those are DNN's easy ones."""
    dnn = {0: 0.70, 1: 0.71, 2: 0.69, 3: 0.60, 4: 0.59, 5: 0.61}
    behind = {0: 0.695, 1: 0.7049, 2: 0.6851}
    trials = [trial("DNN", seed, auc) for seed, auc in dnn.items()]
    trials += [trial("MIDPG", seed, auc) for seed, auc in behind.items()]
    line = line_of(summarize(trials, CONFIG), "MIDPG")
    assert line.scores["auc"].mean > 0.69 > sum(dnn.values()) / 6
    assert line.tests.t < 0.05
    assert line.gained.mean < 0
    assert not line.better


def test_the_best_baseline_is_of_seeds_that_the_others_have_too():
    """STAR finished an easy seed alone, and PLE one more of those than DNN."""
    valid = {
        "DNN": {0: 0.80, 1: 0.70, 2: 0.60},
        "STAR": {0: 0.90},
        "PLE": {0: 0.79, 1: 0.69, 2: 0.59, 3: 0.90},
    }
    trials = [
        replace(trial("DNN", seed, 0.6, valid={"auc": auc}), label=model)
        for model, of_seeds in valid.items()
        for seed, auc in of_seeds.items()
    ]
    assert summarize(trials, CONFIG).best_baseline == "DNN"
    of_other_seeds = [replace(t, seed=9) if t.label == "STAR" else t for t in trials[:4]]
    assert summarize(of_other_seeds, CONFIG).best_baseline == "DNN"
    assert summarize([], CONFIG).best_baseline is None


def test_a_metric_that_is_not_defined_is_left_out_and_told(results, tmp_path):
    """As an AUC of a test split of one class: the other models' tests stay as they were."""
    broken = [
        replace(r, test={**r.test, "auc": float("nan")}) if (r.label, r.seed) == ("PLE", 2) else r
        for r in results
    ]
    summary = summarize(broken, CONFIG)
    assert line_of(summary, "PLE").scores["auc"].count == 5
    assert line_of(summary, "PLE").gained.count == 5
    (told,) = notes(summary)[1:]
    assert told.startswith("PLE: AUC is not defined on the test rows of 1 trials")
    write_tables(summary, tmp_path, {}, scenarios=True)
    assert "NaN" not in (tmp_path / "table.json").read_text()

    unscored = [replace(r, valid={"auc": float("nan")}) if r.label == "PLE" else r for r in results]
    assert summarize(unscored, CONFIG).best_baseline == "DNN"
    assert line_of(summarize(unscored, CONFIG), "PLE").valid_score is None


def test_a_validation_metric_may_be_a_scenarios_whose_name_has_capitals(results):
    scored = [replace(r, valid={"auc": 0.5, "auc/App": r.valid["auc"]}) for r in results]
    summary = summarize(scored, CONFIG | {"valid_metric": "auc/app"})
    assert line_of(summary, "PLE").valid_score == pytest.approx(0.65)


def test_a_lower_validation_metric_may_be_better(results):
    config = CONFIG | {"valid_metric": "LogLoss", "valid_metric_bigger": False}
    changed = [
        TrialResult(**{**vars(r), "valid": {"logloss": 0.4 if r.model == "PLE" else 0.5}})
        for r in results
    ]
    assert summarize(changed, config).best_baseline == "PLE"


def test_failed_trials_are_left_out_and_told(results, tmp_path):
    failed = TrialResult("DNN", "DNN", 6, {}, problem="it broke")
    summary = summarize([*results, failed], CONFIG)
    assert line_of(summary, "DNN").scores["auc"].count == 6
    write_tables(summary, tmp_path, {}, scenarios=False)
    assert (
        "DNN: 1 of 7 trials failed, the last one: it broke" in (tmp_path / "table.md").read_text()
    )


def test_doubtful_trials_are_told(results):
    doubtful = replace(results[0], doubts=["AUC says nothing.", "PCOC is 3."])
    (told,) = notes(summarize([doubtful, *results[1:]], CONFIG))[1:]
    assert told == f"{results[0].label}: 1 of 6 trials are doubtful, the last one: PCOC is 3."


def test_best_epochs_at_an_end_are_told(results):
    # Of (epochs, best epoch): one epoch alone says nothing, and an earlier record has no number.
    of_seeds = [(4, 1), (4, 4), (1, 1), (4, None), (4, 2), (3, 1)]
    changed = [
        replace(result, epochs=epochs, best_epoch=best) if result.label == "DNN" else result
        for result in results
        for epochs, best in [of_seeds[result.seed]]
    ]
    first, last = notes(summarize(changed, CONFIG))[1:]
    assert first.startswith("The best epoch is the first, within which the weights may have been")
    assert first.endswith(": DNN (2).")
    assert last.startswith("The best epoch is the last that epochs allows") and "DNN (1)." in last
    assert len(notes(summarize(results, CONFIG))) == 1


def test_a_model_without_a_finished_trial_has_an_empty_line(results):
    failed = TrialResult("STAR", "STAR", 0, {}, problem="it broke")
    summary = summarize([*results, failed], CONFIG)
    headers, rows = main_table(summary)
    assert rows[-1][headers.index("AUC")] == ""
    assert line_of(summary, "STAR").gap_closed is None


def test_generated_data_has_the_best_possible_and_the_share_of_the_gap(tmp_path):
    generate("amazon_electronics_synth", tmp_path, 3000, 5)
    folder = tmp_path / "amazon_electronics_synth"
    config = CONFIG | {"dataset": "amazon_electronics_synth", "data_path": str(folder)}
    results = [trial(m, s, TEST[m][s]) for s in (0, 1) for m in TEST]
    summary = summarize(results, config)
    best = [bayes_of_split(folder, seed=s)["test"]["auc_of_drawn_labels"] for s in (0, 1)]
    assert summary.bayes[0] == pytest.approx(sum(best) / 2)
    dnn, midpg = 0.605, 0.64
    share = (midpg - dnn) / (sum(best) / 2 - dnn)
    assert line_of(summary, "MIDPG").gap_closed == pytest.approx(share)
    assert line_of(summary, "DNN").gap_closed == 0
    assert line_of(summary, "DNN").paper == (0.6590, 0.5235)
    headers, rows = main_table(summary)
    assert rows[-1][0] == "best possible"
    assert rows[-1][headers.index("AUC")] == f"{sum(best) / 2:.4f}"
    split = {"split": {"LS": "valid_and_test"}, "order": "RO", "group_by": None}
    assert summarize(results, config | {"eval_args": split}).bayes is None
    assert summarize(results, config | {"time_split": "last_day"}).bayes is None


def test_the_papers_numbers():
    assert paper_numbers("iaac")["MIDPG"] == paper_numbers("iaac_synth")["MIDPG"]
    assert paper_numbers("iaac_time")["APG"] == (0.6457, 0.0817)
    assert paper_numbers("ml-100k") == {}


def test_files_hold_the_same_table(results, tmp_path):
    summary = summarize(results, CONFIG)
    paths = write_tables(summary, tmp_path, {"seeds": [0, 5]}, scenarios=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in paths)
    cells = ["MIDPG", "0.6467 ± 0.0103 ★"]
    markdown = (tmp_path / "table.md").read_text()
    assert all(f"| {cell} " in markdown for cell in cells)
    assert "less that of DNN, the best baseline on validation" in markdown
    csv = (tmp_path / "table.csv").read_text().splitlines()
    assert csv[3].split(",")[:2] == cells
    assert csv[4:6] == ["", "scenario,DNN,PLE,MIDPG"]
    latex = (tmp_path / "table.tex").read_text()
    assert r"MIDPG & 0.6467 $\pm$ 0.0103 $^{*}$ & " in latex
    header, first, *_ = (tmp_path / "trials.csv").read_text().splitlines()
    assert (
        header
        == "model,seed,valid auc,valid logloss,test auc,test logloss,epochs,best epoch,training s"
    )
    assert first == "DNN,0,0.66,,0.6,0.5,0,,2.0"
    content = json.loads((tmp_path / "table.json").read_text())
    assert (content["format"], content["seeds"]) == ("recbole-midpg table 1", [0, 5])
    line = content["models"][2]
    assert line["better"] is True
    assert line["test"]["auc"]["mean"] == pytest.approx(0.64666667)
    assert [t["test"]["auc"] for t in line["trials"]] == TEST["MIDPG"]


def test_one_trial_has_no_spread(results, tmp_path):
    summary = summarize(results[:3], CONFIG)
    write_tables(summary, tmp_path, {}, scenarios=True)
    text = (tmp_path / "table.json").read_text()
    assert "NaN" not in text
    assert math.isnan(line_of(summary, "DNN").scores["auc"].sd)
    assert "0.6000" in (tmp_path / "table.md").read_text()


def test_plans_go_seed_by_seed_with_the_models_own_settings():
    plans = plan_trials(["DNN", "DPG"], 2, 7, {"common": {"a": 1, "b": 1}, "DPG": {"b": 2}})
    assert [(plan.model, plan.seed) for plan in plans] == [
        ("DNN", 7),
        ("DPG", 7),
        ("DNN", 8),
        ("DPG", 8),
    ]
    assert plans[0].settings == {"a": 1, "b": 1}
    assert plans[1].settings == {"a": 1, "b": 2}
    (given,) = plan_trials(["DPG"], 1, 7, {"common": {"a": 1}, "DPG": {"b": 2}}, {"b": 3, "c": 4})
    assert given.settings == {"a": 1, "b": 3, "c": 4}


@pytest.mark.parametrize("dataset", TUNED)
def test_what_the_package_has_tuned_is_of_models_that_it_knows(dataset):
    settings = read_settings(find_settings(dataset))
    (plan,) = plan_trials(["MIDPG"], 1, 2020, settings)
    assert plan.settings == {**settings["common"], **settings["MIDPG"]}
    assert {"learning_rate", "epochs"} <= plan.settings.keys()


def test_settings_that_are_written_are_read_and_planned():
    chosen = {"DPG": {"k": 2, "embedding_init": "field"}, "DNN": {}}
    lines = ["chosen by hand", "DPG: n = 1\nand m"]
    Path("a.yaml").write_text(settings_text({"epochs": 1, "metrics": ["AUC"]}, chosen, lines))
    text = Path("a.yaml").read_text()
    assert text.startswith("# chosen by hand\n# DPG: n = 1\n# and m\ncommon:\n")
    dpg, dnn = plan_trials(["DPG", "DNN"], 1, 2020, read_settings("a.yaml"))
    assert dnn.settings == {"epochs": 1, "metrics": ["AUC"]}
    assert dpg.settings == {**dnn.settings, **chosen["DPG"]}
    Path("b.yaml").write_text(settings_text({}, chosen, []))
    assert read_settings("b.yaml") == chosen


def test_settings_are_the_users_before_the_packages():
    folder = Path("benchmarks/settings")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("DNN: {learning_rate: 1e-3}\n")
    assert find_settings("mine") == folder / "mine.yaml"
    assert read_settings(folder / "mine.yaml") == {"DNN": {"learning_rate": 0.001}}
    assert find_settings("unknown") is None
    (folder / "bad.yaml").write_text("DNN: 3\n")
    with pytest.raises(UsageError, match="DNN has 3, expected config keys"):
        read_settings(folder / "bad.yaml")


@pytest.mark.parametrize(
    ("name", "nearest"), [("MIDGP", "MIDPG"), ("comon", "common"), ("ESMM_MIDGP", "")]
)
def test_settings_of_what_is_no_model_are_refused(name, nearest):
    Path("bad.yaml").write_text(f"{name}: {{learning_rate: 0.1}}\n")
    with pytest.raises(UsageError, match=f"'bad.yaml': '{name}' is no model .*{nearest}"):
        read_settings("bad.yaml")


@pytest.mark.parametrize("key", ["eval_args", "seed", "user_inter_num_interval", "valid_metric"])
def test_settings_of_one_model_choose_no_rows_and_no_metrics(key):
    Path("own.yaml").write_text(f"common: {{{key}: 1}}\nMIDPG: {{k: 2}}\n")
    assert read_settings("own.yaml")["common"] == {key: 1}
    Path("own.yaml").write_text(f"MIDPG: {{k: 2, {key}: 1}}\n")
    with pytest.raises(UsageError, match=f"MIDPG has {key}: 1, which is to be the same for all"):
        read_settings("own.yaml")


def test_settings_may_be_of_models_that_are_not_compared():
    Path("good.yaml").write_text(
        "common: {a: 1}\nMIDPG: {}\nDeepFM: {}\nESMM_DNN: {}\nMine: {b: 2}\n"
    )
    assert read_settings("good.yaml", ["Mine"])["Mine"] == {"b": 2}
    with pytest.raises(UsageError, match="'Mine' is no model that is compared or known"):
        read_settings("good.yaml")
