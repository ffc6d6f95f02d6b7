import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recbole_midpg.evaluation.binary_metrics import log_loss
from recbole_midpg.evaluation.grouped_metrics import GroupedValues, grouped_auc
from recbole_midpg.evaluation.measures import AUC, LOG_LOSS


@st.composite
def grouped_rows(draw, values=(0.1, 0.2, 0.3, 0.9)):
    rows = draw(st.integers(0, 60))
    scores = draw(arrays.arrays(np.float32, rows, elements=st.sampled_from(values)))
    labels = draw(arrays.arrays(np.float32, rows, elements=st.sampled_from([0.0, 1.0])))
    groups = draw(arrays.arrays(np.int64, rows, elements=st.integers(0, 6)))
    return labels, scores, groups


@given(grouped_rows() | grouped_rows(values=(0.1, 0.2, math.inf, math.nan)))
def test_one_sort_gives_the_auc_of_each_group(data):
    labels, scores, groups = data
    found = grouped_auc(labels, scores, groups)
    slow = AUC.by_group(labels, scores, groups)
    assert found.groups.tolist() == slow.groups.tolist() == sorted(set(groups.tolist()))
    assert found.rows.tolist() == slow.rows.tolist()
    np.testing.assert_array_equal(found.values, slow.values)


@given(grouped_rows())
def test_each_group_is_measured_by_its_own_rows(data):
    labels, scores, groups = data
    found = LOG_LOSS.by_group(labels, scores, groups)
    for group, rows, value in zip(found.groups, found.rows, found.values, strict=True):
        here = groups == group
        assert rows == here.sum()
        assert value == pytest.approx(log_loss(labels[here], scores[here]), rel=1e-12)
    if len(labels):
        assert found.weighted_mean() == pytest.approx(log_loss(labels, scores), rel=1e-9)


def test_means_leave_undefined_groups_out():
    values = GroupedValues(np.arange(3), np.array([10, 30, 99]), np.array([0.5, 0.9, np.nan]))
    assert values.left_out == 1
    assert values.mean() == pytest.approx(0.7)
    assert values.weighted_mean() == pytest.approx((5 + 27) / 40)


def test_means_of_nothing_are_not_defined():
    values = GroupedValues(np.arange(1), np.array([4]), np.array([np.nan]))
    assert math.isnan(values.mean())
    assert math.isnan(values.weighted_mean())
