"""The error that a user can mend, and its hint at what was meant."""

import pytest

from recbole_midpg.common.errors import UsageError, did_you_mean


def test_usage_error_is_a_value_error_that_says_its_sentence():
    assert issubclass(UsageError, ValueError)
    assert str(UsageError("n: 9 is too large.")) == "n: 9 is too large."


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("weigthing", "weighting"),
        ("Weighting", "weighting"),
        ("midpg", "MIDPG"),
        ("MI-DPG", "MIDPG"),
        ("scenario_field", "scenario_fields"),
    ],
)
def test_misspelt_word_meets_the_nearest_one_in_its_own_spelling(word, nearest):
    known = ["weighting", "MIDPG", "scenario_fields", "alpha"]
    hint = did_you_mean(word, known)
    assert hint.startswith("; did you mean ")
    assert repr(nearest) in hint


@pytest.mark.parametrize("known", [[], ["weighting", "alpha"]])
def test_word_that_is_near_nothing_has_no_hint(known):
    assert did_you_mean("zzz", known) == ""


def test_nearest_of_several_near_words_is_named():
    assert "'mi_estimator'" in did_you_mean("mi_estimater", ["mi_estimators_x", "mi_estimator"])


def test_any_iterable_of_words_serves():
    assert "'beta'" in did_you_mean("betta", (name for name in ["alpha", "beta"]))
