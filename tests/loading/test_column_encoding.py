"""New values in the form that training gave its own."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recbole_midpg.loading.atomic_reader import Tokens
from recbole_midpg.loading.column_encoding import (
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
from recbole_midpg.loading.number_scalers import StandardScaler, scaler_from_plain

TOKENS = Tokens.of(["[PAD]", "a", "7", "8.0", "é"])


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (["a", "é", "b", "", None], [1, 4, 0, 0, 0]),
        ([7, 7.0, 8.0, np.nan], [2, 2, 3, 0]),
        (["a", "nan", "[PAD]", "7", "7.0"], [1, 0, 0, 2, 0]),
        (["a", "b", "7"], [1, 0, 2]),
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


def test_standardised_numbers_by_hand():
    numbers = np.array([10, 20, 30, np.nan, np.inf, -np.inf], np.float32)
    scaler = StandardScaler.fit(numbers)
    deviation = float(np.float32((200 / 3) ** 0.5))
    assert scaler == StandardScaler(20.0, deviation)
    encoder = NumberEncoder("x", NumberScale(scaler.mean, scaler=scaler))
    encoded = encoder.encode(["10", 30, None, "NA", "45"])
    assert encoded.dtype == np.float32
    expected = [[-10 / deviation, 1], [10 / deviation, 1], [0, 1], [0, 1], [25 / deviation, 1]]
    assert encoded.tolist() == np.array(expected, np.float32).tolist()
    assert NumberScale.from_plain(encoder.scale.to_plain()) == encoder.scale


def test_a_standardised_sequence_is_filled_up_with_zeros():
    encoder = NumberSequenceEncoder("x", NumberScale(0, scaler=StandardScaler(2.0, 4.0)), " ", 3)
    assert encoder.encode(["6 2"]).tolist() == [[[1, 1], [0, 1], [0, 0]]]


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_any_numbers_can_be_standardised(values):
    numbers = np.array(values, np.float32)
    scaler = StandardScaler.fit(numbers)
    assert scaler.deviation > 0
    assert scaler_from_plain(scaler.to_plain()) == scaler
    scaled = scaler.apply(numbers)
    assert np.isfinite(scaled).all()
    assert scaler.apply(np.array([scaler.mean])).tolist() == [0]
    if len(set(values)) == 1:
        assert scaler == StandardScaler(values[0], 1.0)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=50))
@example([0.0, 3.5553604507002826e-40])
def test_mean_and_deviation_are_those_of_float64(values):
    numbers = np.array(values, np.float32)
    scaler, exact = StandardScaler.fit(numbers), numbers.astype(np.float64)
    mean = sum(exact.tolist()) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact.tolist()) / len(exact)
    # float32's numbers lie 1.4e-45 apart around zero, whatever their size.
    assert scaler.mean == pytest.approx(mean, rel=1e-6, abs=1e-6 * np.abs(exact).max() + 2e-45)
    # Below that float32 has fewer digits.
    if variance > 1e-12 * max(mean**2, 1e-20) and variance > 1e-60:
        assert scaler.deviation == pytest.approx(variance**0.5, rel=1e-5)


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
        # Finite, and infinite in the float32 that a model computes with.
        (NumberEncoder("x", NumberScale(0.0)), "1e39", "'1e39' is not a finite number below 3.4e"),
        (NumberEncoder("x", NumberScale(0.0)), -1e300, r"-1e\+300 is not a finite number below"),
        (
            NumberSequenceEncoder("x", NumberScale(0.0), " ", 2),
            "1 1e39",
            "'1 1e39' is not a sequence of finite numbers below 3.4e38",
        ),
        (
            NumberSequenceEncoder("x", NumberScale(0.0), " ", 2),
            "1 nan",
            "'1 nan' is not a sequence",
        ),
        (NumberEncoder("x", NumberScale(0.0)), 10**400, r"10+\.\.\.0+ is not a finite number"),
        (NumberEncoder("x", NumberScale(0.0)), -(10**309), r"-10+\.\.\.0+ is not a finite number"),
        (
            NumberSequenceEncoder("x", NumberScale(0.0), " ", 2),
            [1, 10**400],
            r"\(1, 10+\.\.\.0+\) is not a sequence",
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
