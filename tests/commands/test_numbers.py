"""Numbers that options do not take, told before anything is read or written."""

import pytest

from tests.support.typed import midpg

PREDICTED = ["--checkpoint", "c.pth", "--input", "i.csv"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["analyze", "matrices", "--dataset=ml-100k", "--rows_per_scenario=1"], "of at least 2"),
        (["evaluate", *PREDICTED, "--seed", "-1"], "--seed: -1 is not allowed, expected a whole"),
        (["evaluate", *PREDICTED, "--resamples=-1"], "--resamples: -1 is not allowed"),
        (["evaluate", *PREDICTED, "--resamples=few"], "--resamples: 'few' is not allowed"),
        (["compare", "a.json", "b.json", "--seed=-1"], "--seed: -1 is not allowed"),
        (["compare", "a.json", "b.json", "--resamples=0"], "expected a whole number of at least 1"),
        (["recommend", "--checkpoint=c", "--users=u", "--output=o.csv", "--k=0"], "--k: 0 is not"),
        (["benchmark", "--seed=-1"], "--seed: -1 is not allowed"),
        (["benchmark", "--seed=4294967296"], "from 0 to 4294967295"),
        (["benchmark", "--trials=0"], "--trials: 0 is not allowed"),
        (["benchmark", "--jobs=1.5"], "--jobs: '1.5' is not allowed"),
        (["tune", "--seed=-1"], "--seed: -1 is not allowed"),
        (["tune", "--seeds=0"], "--seeds: 0 is not allowed"),
        (["tune", "--trials=-3"], "--trials: -3 is not allowed"),
        (["generate", "teacher_dnn_synth", "--seed=-1"], "--seed: -1 is not allowed"),
        (["generate", "teacher_dnn_synth", "--rows=0"], "--rows: 0 is not allowed"),
        (["analyze", "sizes", "--dataset=teacher_dnn_synth", "--rows", "-5"], "--rows: -5 is not"),
        (["analyze", "sweep", "--dataset=ml-100k", "--trials=0"], "--trials: 0 is not allowed"),
        (["analyze", "sweep", "--dataset=ml-100k", "--jobs=0"], "--jobs: 0 is not allowed"),
        (["analyze", "sweep", "--dataset=ml-100k", "--seed=-1"], "--seed: -1 is not allowed"),
        (["analyze", "matrices", "--dataset=ml-100k", "--seed=-1"], "--seed: -1 is not allowed"),
        (["analyze", "matrices", "--rows_per_scenario=0"], "--rows_per_scenario: 0 is not"),
        (["analyze", "gains", "--table=t.json", "--min_rows=-1"], "--min_rows: -1 is not allowed"),
    ],
)
def test_numbers_that_are_not_allowed(words, told, tmp_path):
    result = midpg(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert told in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == "" and list(tmp_path.iterdir()) == []
