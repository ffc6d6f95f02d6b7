import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.generated.popularity import (
    by_first_appearance,
    drawn,
    long_tailed_counts,
    scaled,
    shared_counts,
    shared_out,
    subset_of_size,
    subset_with_total,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_long_tailed_counts(random):
    counts = long_tailed_counts(random, 1_000, 100_000, spread=1.6)
    assert counts.sum() == 100_000
    assert counts.min() >= 1
    assert np.sort(counts)[-100:].sum() > 0.4 * counts.sum()
    even = long_tailed_counts(random, 1_000, 100_000, spread=0.0)
    assert np.sort(even)[-100:].sum() < 0.15 * even.sum()


def test_subset_with_total(random):
    counts = np.array([1, 1, 1, 5, 9, 4, 1, 1, 1, 1])
    for total in range(1, 24):
        chosen = subset_with_total(random, counts, np.arange(10), total)
        assert counts[chosen].sum() <= total
        assert len(set(chosen.tolist())) == len(chosen)
    many = np.append(counts, np.ones(20, dtype=np.int64))
    for total in range(1, 40):
        assert many[subset_with_total(random, many, np.arange(30), total)].sum() == total


def test_subset_with_total_keeps_to_the_candidates(random):
    candidates = np.array([2, 5, 7])
    assert set(subset_with_total(random, np.ones(10, int), candidates, 2)) < set(candidates)


def test_subset_of_size(random):
    counts = long_tailed_counts(random, 5_000, 12_000, spread=0.9)
    for size, total in ((439, 964), (100, 250), (7, 40)):
        chosen = subset_of_size(random, counts, np.arange(5_000), size, total)
        assert len(set(chosen.tolist())) == size
        assert counts[chosen].sum() == total


def test_by_first_appearance():
    new, old = by_first_appearance(np.array([7, 3, 7, 9, 3]))
    assert new.tolist() == [0, 1, 0, 2, 1]
    assert old.tolist() == [7, 3, 9]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.integers(0, 500))
def test_shared_counts(shares, size):
    counts = shared_counts(shares, size)
    assert counts.sum() == size
    assert np.abs(counts - np.array(shares) / sum(shares) * size).max() <= 1


def test_shared_out_is_exact_and_in_random_order(random):
    values = shared_out(random, (3, 1), 400)
    assert np.bincount(values).tolist() == [300, 100]
    assert 0 < values[:200].sum() < 100


def test_drawn(random):
    shares = np.bincount(drawn(random, (1, 2, 7), 100_000), minlength=3) / 100_000
    np.testing.assert_allclose(shares, (0.1, 0.2, 0.7), atol=0.01)


def test_scaled():
    assert scaled(900, 500, 1000) == 450
    assert scaled(900, 250, 1000, power=0.5) == 450
    assert scaled(9, 1, 1000, least=4) == 4
