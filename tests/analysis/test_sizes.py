"""A generated set of several sizes: what is checked before, and what trials make of it."""

from math import sqrt

import pytest
from scipy import stats

from recbole_midpg.analysis.sizes import check_sizes, learning_curves_of
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.trials import TrialResult

BEST = {1000: 0.8, 5000: 0.82}
TEST = {
    ("DNN", 1000): {1: 0.60, 2: 0.62},
    ("DNN", 5000): {1: 0.70, 2: 0.72},
    ("PLE", 1000): {1: 0.58, 2: 0.61},
    ("PLE", 5000): {1: 0.73, 2: 0.76},
    ("DPG", 1000): {1: 0.65},
    ("DPG", 5000): {},
}
HALF_OF_ONE_HUNDREDTH = stats.t.ppf(0.975, 1) * (0.01 / sqrt(2)) / sqrt(2)
"""Of the mean of two differences that are 0.01 apart."""


def result(model, rows, seed, **values):
    return TrialResult(f"{model} {rows}", model, seed, {"synthetic_rows": rows}, **values)


def results(test):
    return [
        result(model, rows, seed, test={"auc": area})
        for (model, rows), areas in test.items()
        for seed, area in areas.items()
    ]


FAILED = [
    result("DPG", 1000, 2, problem="it was killed"),
    result("DPG", 5000, 1, problem="out of memory"),
]
LEARNING_CURVES = learning_curves_of("some_synth", BEST, [*results(TEST), *FAILED])


def test_trials_are_gathered_by_model_and_rows():
    assert (LEARNING_CURVES.rows, LEARNING_CURVES.best_possible) == ([1000, 5000], [0.8, 0.82])
    assert list(LEARNING_CURVES.lines) == ["DNN", "PLE", "DPG"]
    first, second = LEARNING_CURVES.lines["PLE"]
    assert (first.rows, first.seeds, first.test) == (1000, [1, 2], [0.58, 0.61])
    assert (first.mean, first.deviation) == pytest.approx((0.595, 0.03 / sqrt(2)))
    assert first.gain.differences == pytest.approx([-0.02, -0.01])
    assert (first.gain.mean, second.gain.mean) == pytest.approx((-0.015, 0.035))
    assert first.gain.half_width == pytest.approx(HALF_OF_ONE_HUNDREDTH)
    assert all(point.gain is None for point in LEARNING_CURVES.lines["DNN"])


def test_a_failed_trial_is_left_out():
    one, none = LEARNING_CURVES.lines["DPG"]
    assert (one.seeds, one.mean, one.deviation, one.problems) == (
        [1],
        0.65,
        None,
        ["it was killed"],
    )
    assert (one.gain.mean, one.gain.half_width) == (pytest.approx(0.05), None)
    assert (none.seeds, none.mean, none.gain.mean) == ([], None, None)


def test_gains_are_of_the_seeds_that_both_have():
    test = {
        ("DNN", 1000): {1: 0.5, 3: 0.6, 4: float("nan")},
        ("PLE", 1000): {2: 0.9, 3: 0.65, 4: 0.7},
    }
    (point,) = learning_curves_of("s", {1000: None}, results(test)).lines["PLE"]
    assert point.gain.differences == [pytest.approx(0.05)]


def test_models_from_outside_have_the_name_of_their_class():
    test = {("DNN", 1000): {1: 0.5}, ("my.file:Mine", 1000): {1: 0.6}}
    assert list(learning_curves_of("s", {1000: None}, results(test)).lines) == ["DNN", "Mine"]


def test_sizes_are_put_into_order_and_checked():
    assert check_sizes("iaac_synth", [40_000, 20_000]) == [20_000, 40_000]
    with pytest.raises(UsageError, match="'ml-100k' is not a dataset that can be generated"):
        check_sizes("ml-100k", [20_000])
    with pytest.raises(UsageError, match="rows: 100 is not allowed for iaac_synth"):
        check_sizes("iaac_synth", [20_000, 100])
    with pytest.raises(UsageError, match="'7000 7000' is not allowed, expected different"):
        check_sizes("teacher_dpg_synth", [7000, 7000])
