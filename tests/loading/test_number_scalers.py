"""Scalers by hand, and against slow and obvious ones."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.loading.number_scalers import (
    LogScaler,
    QuantileBuckets,
    StandardScaler,
    fit_scaler,
    scaler_from_plain,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
METHODS = ("standard", "log", "quantile", {"quantile": 3})


def float32s(*numbers):
    return np.array(numbers, np.float32)


def test_logarithms_by_hand():
    numbers = float32s(0, math.e - 1, -(math.e - 1), np.nan, np.inf)
    scaler = LogScaler.fit(numbers)
    deviation = (2 / 3) ** 0.5  # of 0, 1 and -1
    assert scaler.mean == pytest.approx(0, abs=1e-7)
    assert scaler.deviation == pytest.approx(deviation)
    embedded = scaler.embed(float32s(0, math.e**3 - 1, -(math.e**2 - 1), np.nan))
    assert embedded[:, 0] == pytest.approx([0, 3 / deviation, -2 / deviation, 0], abs=1e-6)
    assert embedded[:, 1].tolist() == [1, 1, 1, 1]


def test_quantiles_by_hand():
    scaler = QuantileBuckets.fit(float32s(*range(1, 13)), 4)
    assert scaler.edges == (4, 7, 10)
    embedded = scaler.embed(float32s(-5, 1, 3.9, 4, 6, 7, 12, 99))
    assert embedded.tolist() == [[1, bucket] for bucket in (1, 1, 1, 2, 2, 3, 4, 4)]


@pytest.mark.parametrize(
    ("numbers", "buckets", "edges"),
    [
        ([3, 3, 3], 4, ()),
        ([1, 2, 2, 9], 4, (2, 9)),
        ([0] * 95 + [1, 2, 3, 4, 5], 3, (1, 4)),  # a value of many rows takes one bucket
        ([0, 1, *[2] * 98, 3], 2, (2,)),  # 0 and 1 are nearer to a half than with 2's rows
        ([1, 2, *[3] * 8], 2, (3,)),
    ],
)
def test_equal_numbers_stay_in_one_bucket(numbers, buckets, edges):
    assert QuantileBuckets.fit(float32s(*numbers), buckets).edges == edges


def test_a_missing_number_has_an_embedding_where_training_had_one():
    numbers = float32s(1, 2, 3, 4, 5, np.nan)
    expected = {
        "standard": ([0, 1], [1, 2], 2),
        "log": ([0, 1], [1, 2], 2),
        "quantile": ([1, 3], [1, 6], 6),
    }
    for method, (typical, own, size) in expected.items():
        plain, learned = (
            fit_scaler(method, numbers, learns_missing=learns) for learns in (False, True)
        )
        assert plain.embed(float32s(np.nan)).tolist() == [typical]
        assert learned.embed(float32s(np.nan)).tolist() == [own]
        assert (plain.size, learned.size) == (size, size + 1)
        np.testing.assert_array_equal(learned.embed(numbers[:5]), plain.embed(numbers[:5]))


def slow_edges(numbers, buckets):
    """The same buckets, a row and a value at a time."""
    values = sorted(set(numbers))
    if len(values) <= buckets:
        return values[1:]
    rows_of = {value: sum(number == value for number in numbers) for value in values}
    edges, done = [], 0
    for left in range(buckets, 1, -1):
        goal = done + (len(numbers) - done) / left
        taken = [values.pop(0)]
        done += rows_of[taken[0]]
        while values and done < goal:
            with_next = done + rows_of[values[0]]
            if with_next > goal and with_next - goal > goal - done:
                break
            done = with_next
            values.pop(0)
        if not values:
            break
        edges.append(values[0])
    return edges


@given(st.lists(st.integers(-5, 30), min_size=1, max_size=80), st.integers(2, 9))
def test_quantiles_are_those_of_a_slow_reference(numbers, buckets):
    scaler = QuantileBuckets.fit(float32s(*numbers), buckets)
    assert list(scaler.edges) == slow_edges(numbers, buckets)
    assert scaler.n_embeddings <= buckets
    slow = [1 + sum(number >= edge for edge in scaler.edges) for number in numbers]
    assert scaler.embed(float32s(*numbers))[:, 1].tolist() == slow
    assert {*slow} == {*range(1, scaler.n_embeddings + 1)}  # none is empty


@given(st.lists(FLOATS, min_size=1, max_size=50), st.sampled_from(METHODS), st.booleans())
def test_any_numbers_are_scaled_alike_to_the_last_bit(values, method, learns_missing):
    numbers = np.array([*values, np.nan], np.float32)
    scaler = fit_scaler(method, numbers, learns_missing=learns_missing)
    embedded = scaler.embed(numbers)
    assert embedded.dtype == np.float32
    assert np.isfinite(embedded).all()
    assert ((embedded[:, 1] >= 1) & (embedded[:, 1] < scaler.size)).all()
    # By itself, in another shape and order, in float64, and by a scaler from a file.
    again = scaler_from_plain(scaler.to_plain())
    assert again == scaler
    assert again.agrees_with(scaler)
    single = np.concatenate([again.embed(np.array([number], np.float64)) for number in numbers])
    np.testing.assert_array_equal(single, embedded)
    np.testing.assert_array_equal(scaler.embed(numbers[::-1, None])[::-1, 0], embedded)
    # Larger numbers are not scaled to less.
    order = np.argsort(numbers[:-1], kind="stable")
    assert (np.diff(embedded[order], axis=0) >= 0).all()


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_infinite_numbers_stay_infinite(method):
    scaler = fit_scaler(method, float32s(1, 2, 3, np.inf))
    assert scaler.embed(float32s(np.inf, -np.inf))[:, 0].tolist() == [np.inf, -np.inf]


def test_scalers_of_other_rows_do_not_agree():
    standard, log = StandardScaler(1.0, 2.0), LogScaler(1.0, 2.0)
    assert standard.agrees_with(StandardScaler(1.0 + 1e-6, 2.0))
    assert not standard.agrees_with(StandardScaler(1.1, 2.0))
    assert not standard.agrees_with(StandardScaler(1.0, 2.0, learns_missing=True))
    assert not standard.agrees_with(log)
    assert not log.agrees_with(standard)
    assert not QuantileBuckets((1.0,)).agrees_with(QuantileBuckets((2.0,)))
    assert not QuantileBuckets((1.0,)).agrees_with(standard)


@pytest.mark.parametrize(
    "plain",
    [
        {"method": "quantile", "edges": [2.0, 1.0]},
        {"method": "quantile", "edges": [float("nan")]},
        {"method": "quantile", "edges": 1.0},
        {"method": "quantile", "edges": ["a"]},
        {"method": "log", "mean": 0.0, "deviation": -1.0},
        {"method": "log", "mean": 0.0},
        {"method": "standard", "mean": 0.0, "deviation": 1.0, "learns_missing": 1},
        {"method": "standard", "mean": 0.0, "deviation": 1.0, "edges": []},
        {"method": "root", "mean": 0.0, "deviation": 1.0},
    ],
    ids=str,
)
def test_damaged_scalers_are_refused(plain):
    with pytest.raises((ValueError, TypeError, KeyError)):
        scaler_from_plain(plain)


def test_a_scaler_of_an_earlier_version_is_read():
    plain = {"method": "standard", "mean": 1.0, "deviation": 2.0}
    assert scaler_from_plain(plain) == StandardScaler(1.0, 2.0)
