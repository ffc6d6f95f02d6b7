from pathlib import Path

import pytest

from recbole_midpg.analysis import sweep
from recbole_midpg.analysis.sweep import (
    Candidate,
    align_apg,
    list_candidates,
    parameter_counter,
    parse_sizes,
    run_sweep,
    sweep_of,
)
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.trials import TrialResult
from tests.support.recbole_data import GAPS

SMALL = {**GAPS, "mlp_hidden_size": [16, 8], "embedding_size": 4}


def apg_parameters(model, settings):
    """APG's formula: hidden layers 30 -> 16 -> 8, a condition of 4 values."""
    assert model == "APG"
    rank, inner = settings["apg_rank"], settings["apg_inner_size"]
    total = 8 + 1
    for n_inputs, n_outputs in ((30, 16), (16, 8)):
        factors = (
            inner * (n_inputs + n_outputs + 2 * rank) if inner else rank * (n_inputs + n_outputs)
        )
        total += factors + n_outputs + (4 + 1) * rank**2
    return total


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("target", [10, 300, 700, 1234, 5678])
def test_no_inner_size_is_nearer_than_the_chosen_one(rank, target):
    settings, parameters = align_apg(rank, target, apg_parameters)
    assert parameters == apg_parameters("APG", settings)
    assert settings["apg_rank"] == rank
    every = [
        apg_parameters("APG", {"apg_rank": rank, "apg_inner_size": size})
        for size in (0, *range(rank, 200))
    ]
    assert abs(parameters - target) == min(abs(count - target) for count in every)


def test_candidates_on_data():
    count = parameter_counter("gaps", [], SMALL)
    sizes = [(2, 1), (8, 4)]
    candidates = list_candidates(sizes, ["non", "r", "APG"], count)
    by_place = {(candidate.line, candidate.size): candidate for candidate in candidates}
    assert list(by_place) == [
        ("DPG-non", None), ("DPG-r", 0), ("DPG-r", 1), ("APG", 0), ("APG", 1)
    ]  # fmt: skip
    assert by_place["DPG-r", 1].settings == {"weighting": "r", "n": 8, "m": 8, "k": 4}
    assert by_place["DPG-non", None].settings == {"weighting": "non"}
    for size, (_, k) in enumerate(sizes):
        apg, dpg = by_place["APG", size], by_place["DPG-r", size]
        assert apg.settings["apg_rank"] == k
        assert apg.parameters == count("APG", apg.settings)
        assert apg.parameters == pytest.approx(dpg.parameters, rel=0.05)


def test_sizes_and_variants_that_are_not_allowed():
    assert parse_sizes(["4,2", "16,8"]) == [(4, 2), (16, 8)]
    for texts in (["4"], ["4,0"], ["4,x"], ["4,2,1"], ["4,2", "4,2"], []):
        with pytest.raises(UsageError, match="--sizes"):
            parse_sizes(texts)
    count = parameter_counter("gaps", [], SMALL)
    with pytest.raises(UsageError, match="'rr' is not allowed"):
        list_candidates([(2, 1)], ["rr"], count)
    with pytest.raises(UsageError, match="none is given"):
        list_candidates([(2, 1)], [], count)
    with pytest.raises(UsageError, match="9 columns do not fit"):
        list_candidates([(9, 1)], ["r"], count)
    for wrong in ({"trials": 0}, {"jobs": 0}):
        with pytest.raises(UsageError, match="expected at least 1"):
            run_sweep("gaps", "record.jsonl", [(2, 1)], [], **wrong)


@pytest.mark.parametrize(("settings", "decimals"), [({}, 6), ({"metric_decimal_place": 3}, 3)])
def test_scores_have_more_digits_than_recboles_unless_others_are_given(
    settings, decimals, monkeypatch
):
    given = {}

    def fail(plans, *_, settings, **__):
        given.update(settings)
        return [TrialResult(**vars(plan), problem="not run") for plan in plans]

    monkeypatch.setattr(sweep, "run_trials", fail)
    candidates = [Candidate("DPG-r", 0, "DPG", {"weighting": "r"}, 50)]
    with pytest.raises(UsageError, match="every trial failed, the last one: not run"):
        run_sweep("gaps", Path("r.jsonl"), [(2, 1)], candidates, settings=settings)
    assert given == {"metric_decimal_place": decimals}


def test_trials_are_gathered_by_model_and_size():
    candidates = [
        Candidate("DPG-r", 0, "DPG", {"weighting": "r", "n": 2}, 50),
        Candidate("APG", 0, "APG", {"apg_rank": 1}, 51),
    ]

    def result(auc, problem=""):
        scores = {"auc": auc} if auc is not None else {}
        return TrialResult("", "", 0, {}, problem, valid=scores, test=scores)

    results = [result(0.6), result(0.8), result(None, "killed"), result(float("nan"))]
    gathered = sweep_of("gaps", [(2, 1)], candidates, results)
    ((dpg,), (apg,)) = gathered.lines.values()
    assert (dpg.mean, dpg.deviation) == pytest.approx((0.7, 0.2 / 2**0.5))
    assert dpg.valid == [0.6, 0.8]
    assert (apg.mean, apg.deviation, apg.problems) == (None, None, ["killed"])
    assert (apg.size, apg.parameters, apg.settings) == (0, 51, {"apg_rank": 1})
