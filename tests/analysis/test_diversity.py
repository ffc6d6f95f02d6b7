import itertools
from math import dist, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from recbole_midpg.analysis.diversity import (
    centred_similarity,
    cluster_order,
    compare_similarities,
    mean_matrices,
    silhouette,
    variance_parts,
)
from recbole_midpg.common.errors import UsageError

FOUR = np.array([[0.0], [1.0], [10.0], [11.0]])
TWO_SCENARIOS = np.array([3, 3, 5, 5])


def test_silhouette_by_hand():
    # Outer rows: 1 to their own, 10.5 to the others; inner rows: 1 and 9.5.
    expected = ((10.5 - 1) / 10.5 + (9.5 - 1) / 9.5) / 2
    assert silhouette(FOUR, TWO_SCENARIOS) == pytest.approx(expected)
    assert silhouette(FOUR, np.array([0, 1, 0, 1])) < 0


def test_silhouette_against_a_slow_reference():
    generator = np.random.default_rng(0)
    values, scenarios = generator.normal(size=(12, 3)), np.repeat([0, 1, 2, 3], [5, 4, 2, 1])
    total = 0.0
    for i, own in enumerate(scenarios):
        means = {
            other: np.mean(
                [dist(values[i], values[j]) for j in range(12) if scenarios[j] == other and i != j]
                or [0.0]
            )
            for other in range(4)
        }
        a, b = means.pop(own), min(means.values())
        if (scenarios == own).sum() > 1:
            total += (b - a) / max(a, b)
    assert silhouette(values, scenarios) == pytest.approx(total / 12)


@pytest.mark.parametrize("scenarios", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_silhouette_needs_two_scenarios_and_rows(scenarios):
    with pytest.raises(UsageError, match="at least two scenarios"):
        silhouette(FOUR, np.array(scenarios))


def test_variance_parts_by_hand():
    parts = variance_parts(FOUR, TWO_SCENARIOS)  # means 0.5 and 10.5 around 5.5
    assert (parts.between, parts.within, parts.ratio) == (25.0, 0.25, 100.0)
    unequal = variance_parts(np.array([[0.0], [0.0], [0.0], [4.0]]), np.array([0, 0, 0, 1]))
    assert (unequal.between, unequal.within, unequal.ratio) == (3.0, 0.0, None)


@given(st.lists(st.tuples(st.integers(0, 3), *[st.floats(-9, 9)] * 2), min_size=1, max_size=20))
def test_the_parts_add_up_to_the_variance(rows):
    table = np.array(rows, dtype=float)
    parts = variance_parts(table[:, 1:], table[:, 0].astype(int))
    assert parts.between + parts.within == pytest.approx(table[:, 1:].var(axis=0).sum(), abs=1e-9)


def test_mean_matrices_follow_the_scenarios_numbers():
    means = mean_matrices(FOUR, np.array([5, 3, 5, 3]))
    np.testing.assert_array_equal(means, [[6.0], [5.0]])


def test_similarity_is_the_cosine_without_the_common_mean():
    means = np.array([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    # Without (1, 1): (2, -1), (-1, 2), (-1, -1).
    ab, ac = -4 / 5, -1 / sqrt(10)
    expected = [[1, ab, ac], [ab, 1, ac], [ac, ac, 1]]
    np.testing.assert_allclose(centred_similarity(means), expected)
    np.testing.assert_allclose(centred_similarity(7 * means + 100), expected)
    # The raw cosine would call them all alike.
    shifted = means + 100
    lengths = np.linalg.norm(shifted, axis=1)
    assert (shifted @ shifted.T / np.outer(lengths, lengths)).min() > 0.99


def test_similarity_of_few_and_of_equal_scenarios():
    np.testing.assert_allclose(centred_similarity(np.array([[1.0], [2.0]])), [[1, -1], [-1, 1]])
    np.testing.assert_array_equal(centred_similarity(np.full((2, 3), 0.3)), np.eye(2))
    with pytest.raises(UsageError, match="at least two"):
        centred_similarity(np.ones((1, 3)))


def test_similar_scenarios_are_put_beside_each_other():
    block = np.array([0, 1, 2, 0, 1, 2])
    similarity = np.where(block[:, None] == block, 0.9, -0.4)
    np.fill_diagonal(similarity, 1.0)
    order = cluster_order(similarity)
    assert sorted(order) == list(range(6))
    assert len(list(itertools.groupby(block[order]))) == 3


def random_similarity(size, seed):
    matrix = np.random.default_rng(seed).normal(size=(size, size))
    return matrix + matrix.T


def test_all_renamings_of_four_scenarios_against_a_slow_reference():
    similarity, planted = random_similarity(4, 0), random_similarity(4, 1)
    upper = np.triu_indices(4, 1)
    every = [
        spearmanr(similarity[list(order)][:, list(order)][upper], planted[upper])[0]
        for order in itertools.permutations(range(4))
    ]
    found = compare_similarities(similarity, planted)
    assert found.rho == pytest.approx(every[0])
    assert found.p_value == pytest.approx(np.mean([rho >= every[0] - 1e-12 for rho in every]))
    assert found.renamings == 24


def test_drawn_renamings_of_many_scenarios():
    planted = random_similarity(10, 2)
    same = compare_similarities(np.exp(planted), planted)
    assert same.rho == pytest.approx(1.0)
    assert (same.p_value, same.renamings) == (1e-4, 9999)
    unrelated = [
        compare_similarities(random_similarity(10, seed), planted, drawn=199).p_value
        for seed in range(3, 43)
    ]
    assert 0.35 < np.mean(unrelated) < 0.65  # even, where there is nothing


@pytest.mark.parametrize("similarity", [random_similarity(2, 0), np.ones((4, 4))])
def test_correlations_that_are_not_defined(similarity):
    assert compare_similarities(similarity, random_similarity(len(similarity), 1)) is None
