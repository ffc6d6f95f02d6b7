import pytest

from recbole_midpg.analysis.gains import gains_of
from recbole_midpg.analysis.reports import read_table
from recbole_midpg.common.errors import UsageError
from tests.analysis.reports import table, written

MODELS = {
    "DNN": {1: {"a": 0.5, "b": 0.6}, 2: {"a": 0.52, "b": 0.61}, 3: {"a": 0.9, "b": 0.9}},
    "DPG": {2: {"a": 0.56, "b": 0.61}, 1: {"a": 0.52, "b": None}, 3: {}},
}


def test_trials_are_paired_by_seed():
    gains = gains_of(read_table(written(table(MODELS))), "DNN")
    in_a, in_b = gains.gains["DPG"]
    assert sorted(in_a.differences) == pytest.approx([0.02, 0.04])
    assert (in_a.mean, in_a.deviation) == pytest.approx((0.03, 0.02 / 2**0.5))
    assert (in_b.mean, in_b.deviation) == (0.0, None)
    assert in_a.half_width == pytest.approx(12.7062 * 0.01, rel=1e-4)  # t of one degree, sd / √2
    assert in_b.half_width is None
    assert list(gains.gains) == ["DPG"]


def test_scenarios_with_most_test_rows_come_first():
    content = table(MODELS)
    for model in content["models"]:
        for trial in model["trials"]:
            for entry in trial["scenarios"]:
                entry["rows"] = {"a": 10, "b": 40}[entry["name"]] + trial["seed"]
    gains = gains_of(read_table(written(content)), "DNN")
    assert (gains.scenarios, gains.rows) == (["b", "a"], [42, 12])
    assert gains.gains["DPG"][0].mean == 0.0  # of b


def test_models_and_large_scenarios_alone():
    content = table({**MODELS, "STAR": MODELS["DPG"], "APG": MODELS["DPG"]})
    for model in content["models"]:
        for trial in model["trials"]:
            for entry in trial["scenarios"]:
                entry["rows"] = {"a": 10, "b": 40}[entry["name"]]
    found = read_table(written(content))
    gains = gains_of(found, "DNN", ["APG", "DPG"], 11)
    assert (list(gains.gains), gains.scenarios, gains.rows) == (["DPG", "APG"], ["b"], [40])
    assert [gain.mean for gain in gains.gains["DPG"]] == [0.0]
    assert gains_of(found, "DNN", min_rows=10).scenarios == ["b", "a"]
    with pytest.raises(UsageError, match=r"min_rows: 41 is more than .*, expected at most 40\.$"):
        gains_of(found, "DNN", min_rows=41)
    with pytest.raises(UsageError, match=r"models: 'DGP' is not a model .*did you mean 'DPG'"):
        gains_of(found, "DNN", ["DGP"])


def test_a_scenario_without_pairs_has_no_gain():
    models = {**MODELS, "STAR": {1: {"a": 0.5, "b": None}}}
    gains = gains_of(read_table(written(table(models))), "DNN").gains
    assert gains["STAR"][1].mean is None
    assert gains["STAR"][0].differences == [0.0]


def test_baselines_that_do_not_compare():
    found = read_table(written(table(MODELS)))
    with pytest.raises(UsageError, match=r"'DNM' is not a model .*did you mean 'DNN'"):
        gains_of(found, "DNM")
    others = {"DNN": MODELS["DNN"], "DPG": {7: {"a": 0.5}}}
    with pytest.raises(UsageError, match="same seeds"):
        gains_of(read_table(written(table(others))), "DNN")


def test_what_is_not_drawn_is_told():
    found = read_table(written(table(MODELS)))
    with pytest.raises(UsageError, match=r"^min_rows: -5 is not allowed, expected at least 0\.$"):
        gains_of(found, "DNN", min_rows=-5)
    told = r"^models: 'DNN' is the baseline itself, expected some of DPG\.$"
    with pytest.raises(UsageError, match=told):
        gains_of(found, "DNN", ["DNN"])
    assert list(gains_of(found, "DNN", ["DNN", "DPG"]).gains) == ["DPG"]
