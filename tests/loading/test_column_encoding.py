"""New values in the form that training gave its own."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.data.atomic_reader import Tokens
from recbole_midpg.data.column_encoding import (
    BadValueError,
    EqualBuckets,
    LogarithmicBuckets,
    NumberEncoder,
    NumberScale,
    NumberSequenceEncoder,
    TokenEncoder,
    TokenSequenceEncoder,
    tokens_from_plain,
    tokens_to_plain,
)

TOKENS = Tokens.of(["[PAD]", "a", "7", "8.0", "é"])


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (["a", "é", "b", "", None], [1, 4, 0, 0, 0]),
        ([7, 7.0, 8.0, np.nan], [2, 2, 3, 0]),
        (np.array([7, 8]), [2, 0]),
        (np.array([7.0, 8.0, np.nan]), [2, 3, 0]),
        (np.array(["a", "7"]), [1, 2]),
        (pd.Series(["a", pd.NA, "7"]), [1, 0, 2]),
        (pd.Series([7, None], dtype="Int64"), [2, 0]),
        (pd.Series(["a", "7", "a"], dtype="category"), [1, 2, 1]),
        ((), []),
    ],
)
def test_tokens_of_columns_of_every_kind(column, ids):
    encoded = TokenEncoder("x", TOKENS).encode(column)
    assert encoded.dtype == np.int64
    assert encoded.tolist() == ids


def test_sequences_are_cut_and_filled_up():
    encoder = TokenSequenceEncoder("x", TOKENS, " ", 2)
    column = ["a 7 é", ["7"], "", None, "b a", " a  7"]
    assert encoder.encode(column).tolist() == [[1, 2], [2, 0], [0, 0], [0, 0], [0, 1], [1, 2]]
    assert TokenSequenceEncoder("x", TOKENS, " ", 0).encode(["a"]).shape == (1, 0)


def test_numbers_by_hand():
    scale = NumberScale(missing=4.0, bounds=(2.0, 6.0))
    encoded = NumberEncoder("x", scale).encode(["2", 6, None, "NA", "8"])
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[0, 1], [1, 1], [0.5, 1], [0.5, 1], [1.5, 1]]
    constant = NumberScale(missing=4.0, bounds=(2.0, 2.0))
    assert NumberEncoder("x", constant).encode([2, 5]).tolist() == [[1, 1], [1, 1]]


def test_buckets_by_hand():
    equal = EqualBuckets(lower=0.0, upper=10.0, count=5, size=6)
    assert equal.indices(np.array([0.0, 1.9, 2.0, 9.9, -3.0, 99.0])).tolist() == [1, 1, 2, 5, 1, 5]
    assert EqualBuckets(3.0, 3.0, 5, 6).indices(np.array([1.0, 3.0])).tolist() == [5, 5]
    # 3 and 4 lead to 2, e^2 to 5; 0 and 1 stand for themselves
    logarithmic = LogarithmicBuckets(np.array([0.0, 1.0, 2.0, 5.0]))
    numbers = np.array([0.0, 1.0, 3.0, np.e**2 + 1e-6, 0.5, -1.0, 1e9])
    assert logarithmic.indices(numbers).tolist() == [0, 1, 2, 3, 0, 0, 3]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(1, 9))
def test_the_buckets_of_training_numbers_are_recboles(numbers, count):
    """RecBole's own lines, of ``Dataset._discretization``."""
    arr = np.array(numbers)
    lower, upper = min(arr), max(arr) + 1e-9
    if upper == lower:
        expected = np.ones_like(arr) * count
    else:
        expected = np.floor((arr - lower) * count / (upper - lower) + 1)
    equal = EqualBuckets(float(lower), float(upper), count, int(max(expected) + 1))
    np.testing.assert_array_equal(equal.indices(arr), expected)

    mask = arr > 2
    x = np.floor(np.log(arr * mask + 1e-9) ** 2 + 1)
    x = np.where(mask, x, arr)
    levels, expected = np.unique(x, return_inverse=True)
    np.testing.assert_array_equal(LogarithmicBuckets(levels).indices(arr), expected)


def test_sequences_of_numbers():
    encoder = NumberSequenceEncoder("x", NumberScale(0.0, bounds=(0.0, 2.0)), " ", 2)
    encoded = encoder.encode(["1 2 9", [2], "", None])
    assert encoded.tolist() == [
        [[0.5, 1], [1, 1]],
        [[1, 1], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
    ]


@pytest.mark.parametrize(
    ("encoder", "value", "words"),
    [
        (NumberEncoder("x", NumberScale(0.0)), "1,5", "'1,5' is not a finite number"),
        (NumberEncoder("x", NumberScale(0.0)), "inf", "'inf' is not a finite number"),
        (
            NumberSequenceEncoder("x", NumberScale(0.0), " ", 2),
            "1 nan",
            "'1 nan' is not a sequence",
        ),
        (TokenEncoder("x", TOKENS), ["a"], r"\['a'\] is not one token"),
    ],
)
def test_bad_values_are_told_with_their_first_row(encoder, value, words):
    with pytest.raises(BadValueError, match=f"row 3, column 'x': {words}") as error:
        encoder.encode(["1", "", value, "1", value])
    assert error.value.row == 2


@pytest.mark.parametrize(
    "scale",
    [
        NumberScale(1.5),
        NumberScale(1.5, (0.0, 2.0), EqualBuckets(0.0, 1.0, 3, 4)),
        NumberScale(1.5, None, LogarithmicBuckets(np.array([0.0, 2.0]))),
    ],
)
def test_scales_survive_as_plain_values(scale):
    again = NumberScale.from_plain(scale.to_plain())
    numbers = np.array([0.0, 0.4, 1.0, 3.0])
    np.testing.assert_array_equal(again.apply(numbers), scale.apply(numbers))


@given(st.lists(st.text(max_size=300)))
def test_tokens_survive_as_plain_arrays(texts):
    plain = tokens_to_plain(Tokens.of(texts))
    assert tokens_from_plain(plain).texts() == texts
    assert plain["lengths"].nbytes <= 2 * len(texts)
