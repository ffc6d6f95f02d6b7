import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recbole_midpg.experiments.statistics import (
    PairedTests,
    Spread,
    half_width,
    holm,
    paired_tests,
)


def test_spread_by_hand():
    assert Spread.of([1.0, 2.0, 6.0]) == Spread(3.0, pytest.approx(math.sqrt(7)), 3)
    assert math.isnan(Spread.of([1.0]).sd)
    assert Spread.of([]) is None


def test_paired_tests_are_scipys():
    ours, theirs = [0.70, 0.72, 0.71, 0.75, 0.74, 0.73], [0.69, 0.70, 0.72, 0.71, 0.70, 0.70]
    differences = np.subtract(ours, theirs)
    found = paired_tests(differences)
    assert found.t == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_nothing_to_test():
    assert paired_tests([0.1]) == PairedTests(None, None)
    assert paired_tests([0.0, 0.0]) == PairedTests(None, None)
    assert paired_tests([1.0, 1.0]).t is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_no_more_than_bonferroni_allows_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p)
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert [q for _, q in pairs] == sorted(corrected)


def test_half_width_is_that_of_students_interval():
    # Of 1, 2, 3: s = 1, and t of two degrees of freedom is 4.3027.
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert half_width([0.5, 0.5]) == 0.0
    assert half_width([0.5]) is None
    assert half_width([]) is None
