import re
import warnings

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.common.arguments import (
    listed_names,
    load_yaml,
    model_names,
    parse_value,
    require_seeds,
    split_arguments,
)
from recbole_midpg.common.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("True", True),
        ("false", False),
        ("~", None),
        ("[64, 32]", [64, 32]),
        ("[occupation,gender]", ["occupation", "gender"]),
        ("{rating: 4}", {"rating": 4}),
        ("{'rating': 4}", {"rating": 4}),
        ("0,1", (0, 1)),
        ("[5,inf)", "[5,inf)"),
        ("on", "on"),
        ("a=b", "a=b"),
        ("", ""),
        ("[1, 2", "[1, 2"),
        ("b'x'", "b'x'"),
    ],
)
def test_values_are_literals_or_text(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "!!python/object/apply:os.getcwd []",
        "[!!python/object/apply:os.getcwd []]",
        "(lambda: 1)()",
    ],
)
def test_code_stays_text(text):
    assert parse_value(text) == text


@given(st.text(max_size=40))
def test_any_text_has_a_value(text):
    parse_value(text)


def test_both_ways_to_write_a_value_and_both_names():
    texts = split_arguments(["-m", "DNN", "--dataset=ml-100k", "--beta", "-0.5", "--x=a=b"])
    assert texts == {"model": "DNN", "dataset": "ml-100k", "beta": "-0.5", "x": "a=b"}


def test_config_files_take_several_values():
    texts = split_arguments(["--config_files", "a.yaml", "b.yaml", "--seed", "1"])
    assert texts == {"config_files": "a.yaml b.yaml", "seed": "1"}
    assert split_arguments(["--config_files=a.yaml b.yaml"])["config_files"] == "a.yaml b.yaml"


@pytest.mark.parametrize("words", [["a", "b"], ["a,b"], ["[a,b]"], ["a,", "b"]])
def test_names_are_listed_with_spaces_or_commas(words):
    assert listed_names(words) == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["[]"], "--models: '[]' names no model"),
        (["DNN,DPG", "DNN"], "DNN DPG DNN has a model twice"),
    ],
)
def test_models_are_one_or_several_each_once(words, problem):
    with pytest.raises(UsageError, match=re.escape(problem)):
        model_names(words)
    assert model_names(["DNN,DPG"]) == ["DNN", "DPG"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["epochs=3"], ["'epochs=3'", "--key=value"]),
        (["--epochs"], ["'--epochs'", "a value is missing"]),
        (["--epochs", "--seed=1"], ["'--epochs'", "a value is missing"]),
        (["--"], ["'--'"]),
        (["--seed=1", "--seed", "2"], ["--seed", "'1'", "'2'"]),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(UsageError) as error:
        split_arguments(arguments)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_the_same_value_twice_is_one_value():
    assert split_arguments(["--seed=1", "--seed=1"]) == {"seed": "1"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--resume"], "True"),
        (["--resume", "--model=DNN"], "True"),
        (["--resume=auto"], "auto"),
        (["--resume", "auto"], "auto"),
        (["--resume=saved/x.pth"], "saved/x.pth"),
    ],
)
def test_resume_may_stand_alone(arguments, text):
    assert split_arguments(arguments)["resume"] == text


def test_verbose_may_stand_alone():
    assert split_arguments(["--verbose", "--model=DNN"]) == {"verbose": "True", "model": "DNN"}
    assert split_arguments(["--verbose", "False"]) == {"verbose": "False"}


def test_a_name_that_begins_as_a_number_is_text_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_value("4.inter") == "4.inter"
        assert parse_value("2is.csv") == "2is.csv"


@pytest.mark.parametrize(
    ("text", "key", "line", "before"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", 3, 1),
        ("a: {b: 1,\n  b: 2}\n", "b", 2, 1),
        ("- {c: 1}\n- d: 1\n  c: {}\n  d: 2\n", "d", 4, 2),
    ],
)
def test_a_key_that_stands_twice_is_refused_at_any_depth(text, key, line, before):
    with pytest.raises(yaml.YAMLError, match=f"'{key}' stands in line {before}") as raised:
        load_yaml(text)
    assert raised.value.problem_mark.line + 1 == line


def test_equal_keys_of_different_mappings_are_kept():
    assert load_yaml("a: {b: 1}\nc: {b: 2}\nd: [{b: 3}, {b: 4}]\n") == {
        "a": {"b": 1},
        "c": {"b": 2},
        "d": [{"b": 3}, {"b": 4}],
    }


@pytest.mark.parametrize(
    ("seed", "count", "told"),
    [
        (-1, 1, "--seed: -1 is not allowed, expected a whole number from 0 to 4294967295."),
        (2**32, 1, "--seed: 4294967296 is not allowed, expected a whole number from 0 to "),
        (2**32 - 2, 3, "--seed: 4294967294 is not allowed, expected a whole number from 0 to "
                       "4294967293, as 3 seeds follow from it on."),
    ],
)  # fmt: skip
def test_a_seed_that_no_generator_takes(seed, count, told):
    with pytest.raises(UsageError) as error:
        require_seeds(seed, count)
    assert told in str(error.value)


def test_the_last_seed_of_several_may_be_the_largest():
    require_seeds(2**32 - 2, 2)
    require_seeds(0)
