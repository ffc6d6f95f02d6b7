"""What training has seen of new values, and why it may not have seen the rest."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.loading.atomic_reader import Tokens
from recbole_midpg.loading.column_encoding import (
    NumberEncoder,
    NumberScale,
    NumberSequenceEncoder,
    TokenEncoder,
    TokenSequenceEncoder,
)
from recbole_midpg.prediction.recognition import MAX_EXAMPLES, ValueCounts, count_values, warning

WORDS = ["[PAD]", "a", "7", "8.0", "app", "Web", "007", " x"]
ENCODER = TokenEncoder("x", Tokens.of(WORDS))
SEQUENCES = TokenSequenceEncoder("x", Tokens.of(WORDS), " ", 3)
NUMBERS = NumberEncoder("x", NumberScale(missing=0.0))
NUMBER_SEQUENCES = NumberSequenceEncoder("x", NumberScale(missing=0.0), " ", 2)


def counted(column, encoder=ENCODER):
    return count_values(encoder, column, encoder.encode(column))


@pytest.mark.parametrize(
    ("column", "known", "unknown", "missing", "examples"),
    [
        (["a", "b", "", None, "NA", "b", "a"], 2, 2, 3, ("b",)),
        ([7, 7.0, 8.0, 9.5, np.nan], 3, 1, 1, ("9.5",)),
        (np.array([7, 8]), 1, 1, 0, ("8",)),
        (np.array([7.0, 5.0, np.nan]), 1, 1, 1, ("5.0",)),
        (pd.Series(["a", pd.NA, "c"]), 1, 1, 1, ("c",)),
        (pd.Series(["a", "b", None], dtype="category"), 1, 1, 1, ("b",)),
        (pd.Series([7, 7, None], dtype="Int64"), 2, 0, 1, ()),
        (["[PAD]"], 0, 1, 0, ("[PAD]",)),
        ((), 0, 0, 0, ()),
    ],
)
def test_tokens_by_hand(column, known, unknown, missing, examples):
    assert counted(column) == ValueCounts(known, unknown, missing, examples)


def test_elements_of_sequences_are_counted_as_far_as_the_model_reads_them():
    column = ["a 7 b c", ["7", "b"], "", None, "a|7", "a 7 b c", " "]
    # known: a 7, 7, -, -, -, a 7, -; unknown: b, b, -, -, a|7, b, -
    assert counted(column, SEQUENCES) == ValueCounts(5, 4, 3, ("b", "a|7"))


def test_every_number_is_known():
    assert counted(["1", 2, None, "NA", "-1e9"], NUMBERS) == ValueCounts(3, 0, 2)
    assert counted(np.array([1.0, np.nan]), NUMBERS) == ValueCounts(1, 0, 1)
    sequences = ["1 2 3", [4], "", None, "1 2 3"]
    assert counted(sequences, NUMBER_SEQUENCES) == ValueCounts(5, 0, 2)


def test_only_the_first_distinct_unknown_values_are_kept():
    column = [f"n{place // 2}" for place in range(4 * MAX_EXAMPLES)]
    first = tuple(f"n{place}" for place in range(MAX_EXAMPLES))
    assert counted(column) == ValueCounts(0, 4 * MAX_EXAMPLES, 0, first)
    parts = counted(column[:50]) + counted(column[50:])
    assert parts == counted(column)


@given(
    column=st.lists(
        st.sampled_from(["a", "7", "b", "a b", "a|7", "", "NA", None, ("a", "c")]), max_size=30
    ),
    cut=st.integers(0, 30),
)
def test_counts_of_parts_add_up_and_nothing_is_lost(column, cut):
    whole = counted(column, SEQUENCES)
    parts = counted(column[:cut], SEQUENCES) + counted(column[cut:], SEQUENCES)
    assert parts == whole
    texts = [
        "" if v is None or v == "NA" else v if isinstance(v, str) else " ".join(v) for v in column
    ]
    elements = [element for text in texts for element in text.split()]
    known = sum(element in WORDS for element in elements)
    assert (whole.known, whole.unknown) == (known, len(elements) - known)
    assert whole.missing == texts.count("")
    tokens = [value for value in column if not isinstance(value, tuple)]
    of_tokens = counted(tokens)
    assert of_tokens.known + of_tokens.unknown + of_tokens.missing == len(tokens)


@pytest.mark.parametrize(
    ("value", "known", "cause"),
    [
        ("7.0", "'7'", "decimals .0, as pandas writes ids of a column with gaps"),
        ("8", "'8.0'", "decimals .0, as pandas writes ids of a column with gaps"),
        (" a", "'a'", "white space around it"),
        ("a\t", "'a'", "white space around it"),
        ("x", "' x'", "white space around it"),
        ("APP", "'app'", "capitals"),
        ("web", "'Web'", "capitals"),
        ("07", "'7'", "leading zeros"),
        ("'a'", "'a'", "brackets, quotation marks or commas around it"),
        (" APP", "'app'", "white space around it, and capitals"),
    ],
)
def test_causes_of_one_token(value, known, cause):
    assert warning(ENCODER, counted([value, "", "a"])) == (
        f"x: 1 of 2 values (50.0%) are unknown to training and scored as [PAD], as {value!r}, "
        f"where {known} would be known; likely cause: {cause} (in 1 of 1 distinct ones looked at)."
    )


def test_zeros_that_were_lost():
    encoder = TokenEncoder("x", Tokens.of(["[PAD]", "007"]))
    assert "where '007' would be known; likely cause: leading z" in warning(
        encoder, counted([7], encoder)
    )


@pytest.mark.parametrize("value", ["a|7", "a,7", "a, 7", "['a','7']", "a;7", "a|7|"])
def test_another_separator(value):
    encoder = TokenSequenceEncoder("x", Tokens.of(WORDS), "\t", 3)
    sentence = warning(encoder, counted([value], encoder))
    assert "'a' and '7' would be known; likely cause: " in sentence
    assert " between tokens, expected '\\t' (in 1 of 1" in sentence
    space = TokenSequenceEncoder("x", Tokens.of(WORDS), "|", 3)
    assert "cause: ' ' between tokens, expected '|'" in warning(space, counted(["a 7"], space))


def test_new_values_are_a_warning_only_where_they_are_most():
    assert warning(ENCODER, counted(["a", "new"])) is None
    assert warning(ENCODER, counted(["a", "new", "newer", None])) == (
        "x: 2 of 3 values (66.7%) are unknown to training and scored as [PAD], as 'new'; "
        "no other spelling is known of the 2 distinct ones looked at."
    )
    # One of two has a cause, which is not most of them, but two of three have.
    assert warning(ENCODER, counted(["a"] * 9 + ["APP", "new"])) is None
    assert "3 of 12 values (25.0%)" in warning(ENCODER, counted(["a"] * 9 + ["new", "APP", "WEB"]))


def test_nothing_unknown_is_no_warning():
    assert warning(ENCODER, counted(["a", "", None])) is None
    assert warning(ENCODER, counted([])) is None
    assert warning(NUMBERS, counted([None, None], NUMBERS)) is None


def test_a_long_value_is_cut_in_a_sentence():
    counts = counted(["n" * 10_000])
    assert len(str(counts)) < 100
    assert len(warning(ENCODER, counts)) < 300
