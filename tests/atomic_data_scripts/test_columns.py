import io
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from recbole_midpg.atomic_data_scripts import columns
from recbole_midpg.atomic_data_scripts.columns import (
    MISSING_WORDS,
    free_text,
    identifier,
    listed,
    number,
    one_of,
    text_or_missing,
    whole_number,
    whole_number_between,
    whole_number_or_missing,
    word,
)

any_text = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]))


def accepted(parse, value):
    try:
        return parse(value)
    except ValueError:
        return None


def test_missing_words_are_those_of_pandas():
    assert set(STR_NA_VALUES) == MISSING_WORDS


@given(any_text | st.from_regex(r"[-+]?\d+(\.0)?", fullmatch=True))
def test_whole_number_accepts_ascii_digits_only(value):
    expected = value if re.fullmatch("[0-9]+", value) else None
    assert accepted(whole_number, value) == expected


@given(st.integers(0, 10**25))
def test_ids_of_any_length_are_kept_exactly(number):
    assert whole_number(str(number)) == str(number)
    assert whole_number(f"00{number}") == f"00{number}"


@given(any_text)
def test_missing_number_is_minus_one_and_nothing_else(value):
    expected = value if re.fullmatch("-1|[0-9]+", value) else None
    assert accepted(whole_number_or_missing, value) == expected


@given(st.integers(-50, 50) | st.sampled_from([10**9, 2**70]))
def test_whole_number_between(number):
    text = str(number)
    expected = text if 0 <= number <= 23 else None
    assert accepted(whole_number_between(0, 23), text) == expected


@pytest.mark.parametrize("value", ["", "007", " 7", "7 ", "+7", "7.0", "٧", "1e1"])
def test_whole_number_between_takes_plain_numbers_only(value):
    with pytest.raises(ValueError, match="from 0 to 23"):
        whole_number_between(0, 23)(value)


@given(any_text | st.sampled_from(sorted(MISSING_WORDS)))
def test_word_never_reads_as_missing(value):
    text = accepted(word, value)
    assert text in (None, value)
    if text is not None:
        assert pd.read_csv(io.StringIO(f"a\n{text}\n"), dtype=str).loc[0, "a"] == value


@given(st.floats(allow_nan=False, allow_infinity=False).map(str) | any_text)
def test_numbers(value):
    expected = value if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?", value, re.I) else None
    assert accepted(number, value) == ("" if value in MISSING_WORDS else expected)


@given(any_text | st.sampled_from(sorted(MISSING_WORDS)))
def test_missing_texts_become_a_token(value):
    expected = "unk" if value in MISSING_WORDS else accepted(free_text("unk"), value)
    assert accepted(text_or_missing, value) == expected
    assert accepted(identifier, value) == (None if value in MISSING_WORDS else expected)


def test_lists():
    parse = listed(",", one_of(("a", "b"), missing="unk"))
    assert [parse(value) for value in ("a,b,a", "b", "")] == ["a b a", "b", "unk"]
    assert accepted(parse, "a,c") is None


def test_one_of():
    parse = one_of(("Home Audio", "Headphones"), missing="unk")
    assert parse("Home Audio") == "Home Audio"
    assert parse("") == "unk"
    with pytest.raises(ValueError, match="did you mean 'Home Audio'"):
        parse("Home audio")
    with pytest.raises(ValueError, match="expected one of Home Audio, Headphones"):
        one_of(("Home Audio", "Headphones"))("")


@given(any_text | st.sampled_from(sorted(MISSING_WORDS)))
@pytest.mark.parametrize("engine", ["python", "c"])
def test_free_text_reads_back_as_written(engine, value):
    text = accepted(free_text("unk"), value)
    if value == "":
        assert text == "unk"
    elif value in MISSING_WORDS or value in ("unk", columns.PADDING_WORD):
        assert text is None
    else:
        file = io.StringIO(f"a\tb\n{text}\tx\n", newline="")
        assert pd.read_csv(file, sep="\t", dtype=str, engine=engine).loc[0, "a"] == value
