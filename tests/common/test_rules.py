"""The rules of config keys, and the sentence that a wrong value gets."""

import math

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import (
    ByName,
    Choice,
    Either,
    Flag,
    Integer,
    Names,
    Number,
    OrNone,
    Parts,
    Sizes,
    Switch,
    Text,
    Word,
    check_settings,
)

NAN, INFINITY = math.nan, math.inf


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (Integer(minimum=1), [1, 2, 10**9]),
        (Integer(minimum=0), [0]),
        (Number(), [0, 0.0, 1, 2.5]),
        (Word(("adam", "sgd")), ["adam", "Adam", "SGD"]),
        (Integer(minimum=0, maximum=3), [0, 3]),
        (Number(minimum=-INFINITY), [-1e300, 0, 2.5]),
        (OrNone(Integer(minimum=1)), [None, 1]),
        (Either(Integer(minimum=1), Number(maximum=1.0, maximum_excluded=True)), [2, 1, 0, 0.5]),
        (ByName(Integer(minimum=1), "{a: 1}"), [{}, {"a": 1}, {"a": 1, "b": 2}]),
        (Parts({"a": Flag(), "b": Integer(minimum=1)}, ("a",)), [{"a": True}, {"a": True, "b": 1}]),
        (Parts({"a": Flag()}), [{}, {"a": False}]),
        (Number(minimum_excluded=True), [1e-9, 1]),
        (Number(maximum=1.0), [0, 1, 1.0]),
        (Number(maximum=1.0, maximum_excluded=True), [0, 0.999]),
        (Number(minimum=-1.0), [-1, -0.5]),
        (Flag(), [True, False]),
        (Switch(), [True, False, "auto"]),
        (Text("a folder's name"), ["cache", "/a/b"]),
        (Choice(("r", "c")), ["r", "c"]),
        (Sizes(), [[], [1], [128, 64, 32], (8,)]),
        (Sizes(minimum_length=1), [[1], [128, 64, 32]]),
        (Names(), [[], ["a"], ["a", "b"], ("a", "b")]),
    ],
)
def test_allowed_values_pass(rule, values):
    for value in values:
        assert rule.accepts(value), value
        check_settings({"key": value}, {"key": rule})


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (Integer(minimum=1), [0, -1, 1.0, "1", True, None, [1], NAN]),
        (Number(), [-1e-9, -1, "0.5", True, None, [0.5], NAN, INFINITY, -INFINITY]),
        (Number(minimum_excluded=True), [0, 0.0, -1]),
        (Number(maximum=1.0), [1.001, 2]),
        (Number(maximum=1.0, maximum_excluded=True), [1, 1.0, 2]),
        (Flag(), [0, 1, "True", "yes", None, []]),
        (Switch(), [0, 1, "Auto", "True", None, [], ["auto"]]),
        (Integer(minimum=0, maximum=3), [-1, 4, 1.0]),
        (Number(minimum=-INFINITY), [NAN, INFINITY, -INFINITY, True, "1"]),
        (OrNone(Integer(minimum=1)), [0, "", [], False, NAN]),
        (
            Either(Integer(minimum=1), Number(maximum=1.0, maximum_excluded=True)),
            [-1, 1.0, 1.5, None, "1", True, NAN],
        ),
        (ByName(Integer(minimum=1), "{a: 1}"), [None, [], {"a": 0}, {1: 1}, {"a": {"b": 1}}]),
        (Parts({"a": Flag(), "b": Integer(minimum=1)}, ("a",)), [None, {}, {"b": 1}, {"a": 1}]),
        (Parts({"a": Flag()}), [{"c": True}, {"a": True, 1: True}, [], "a"]),
        (Text("a folder's name"), ["", 3, True, ["a"], None]),
        (Choice(("r", "c")), ["R", "", "rc", None, 1, True, ["r"], {"r": 1}]),
        (Sizes(), [8, "8", None, [0], [-1], [1.5], ["8"], [True], [8, None], {8: 1}]),
        (Sizes(minimum_length=1), [[], [0]]),
        (Names(), ["a", None, ["a", "a"], [1], [None], [["a"]], {"a": 1}]),
    ],
)
def test_other_values_are_refused_in_one_sentence_that_tells_key_value_and_allowed(rule, values):
    for value in values:
        assert not rule.accepts(value), value
        with pytest.raises(UsageError) as error:
            check_settings({"some_key": value}, {"some_key": rule})
        sentence = str(error.value)
        assert sentence.startswith("some_key: ")
        assert repr(value) in sentence
        assert rule.allowed in sentence
        assert "\n" not in sentence


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (Integer(minimum=2), "a whole number of at least 2"),
        (Integer(minimum=2, maximum=9), "a whole number from 2 to 9"),
        (Number(minimum=-INFINITY), "a number"),
        (OrNone(Text("a name")), "a name, or ~ for none"),
        (Either(Integer(minimum=2), Flag()), "a whole number of at least 2, or True or False"),
        (ByName(Flag(), "{a: True}"), "a mapping as {a: True}, with True or False for each"),
        (Parts({"a": Flag(), "b": Text("a name")}), "a mapping of a (True or False), b (a name)"),
        (Number(), "a number at least 0"),
        (Number(minimum_excluded=True), "a number greater than 0"),
        (Number(maximum=1.0), "a number at least 0 and at most 1"),
        (Number(maximum=0.5, maximum_excluded=True), "a number at least 0 and less than 0.5"),
        (Flag(), "True or False"),
        (Switch(), "auto, True or False"),
        (Choice(("non", "rc")), "one of non, rc"),
    ],
)
def test_allowed_is_told_in_words(rule, allowed):
    assert rule.allowed == allowed


def test_sizes_tell_whether_the_list_may_be_empty():
    assert Sizes().allowed != Sizes(minimum_length=1).allowed
    assert "1 or more" in Sizes(minimum_length=1).allowed


def test_misspelt_choice_is_told_the_nearest_one():
    rules = {"generator_input": Choice(("scenario_and_input", "scenario"))}
    with pytest.raises(UsageError, match="did you mean 'scenario'"):
        check_settings({"generator_input": "scenaro"}, rules)
    with pytest.raises(UsageError) as error:
        check_settings({"generator_input": "zzz"}, rules)
    assert "did you mean" not in str(error.value)


def test_missing_key_is_told():
    with pytest.raises(UsageError, match=r"^n: .*a whole number of at least 1"):
        check_settings({"m": 3}, {"n": Integer(minimum=1)})


def test_keys_without_a_rule_are_passed_over():
    check_settings({"n": 1, "unknown": object()}, {"n": Integer(minimum=1)})
    check_settings({}, {})


def test_every_rule_is_checked_not_the_first_alone():
    rules = {"n": Integer(minimum=1), "m": Integer(minimum=1)}
    with pytest.raises(UsageError, match=r"^m: "):
        check_settings({"n": 1, "m": 0}, rules)
