"""Which rows are positive, and those that a condition leaves."""

import re
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction.labels import LabelColumn, RowsWhere, find_label
from recbole_midpg.prediction.rows import open_rows


@dataclass(frozen=True)
class Block:
    columns: dict

    def line_of(self, row):
        return row + 2


NEW = SimpleNamespace(path="new.csv", place="line")


def read(texts, threshold=None):
    block = Block({"label": texts})
    return LabelColumn("label", threshold).read(block, NEW).tolist()


def test_labels_by_hand():
    assert read(["1", "0", "1.0", "0.0", "1"]) == [True, False, True, False, True]
    assert read([1, 0, True, False, 1.0]) == [True, False, True, False, True]
    assert read(["3.99", "4", "5", "-1"], threshold=4) == [False, True, True, False]
    assert read([]) == []


@given(st.lists(st.floats(-5, 5)), st.floats(-5, 5))
def test_a_threshold_makes_labels_as_in_training(numbers, threshold):
    texts = [repr(number) for number in numbers]
    assert read(texts, threshold) == [number >= threshold for number in numbers]


@pytest.mark.parametrize(
    ("texts", "threshold", "told"),
    [
        (["0", "2"], None, "new.csv, line 3, column 'label': '2' is not allowed, expected 0 or 1."),
        (["", "1"], None, "new.csv, line 2, column 'label': '' is not allowed, expected 0 or 1."),
        (["1", "NA", "x"], None, "line 3, column 'label': 'NA'"),
        (["1", "yes"], None, "'yes' is not allowed"),
        ([1, None], None, "None is not allowed"),
        (["5", "good"], 4, "'good' is not allowed, expected a number, which makes a row positive"),
        (["5", ""], 4, "line 3, column 'label': '' is not allowed"),
    ],
)
def test_labels_that_are_none_are_told(texts, threshold, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        read(texts, threshold)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "new.csv").write_text("rating,label,click,user\n5,0,1,a\n1,1,0,b\n4,1,1,c\n")
    with open_rows(tmp_path / "new.csv", {}, "\t") as file:
        yield file


@pytest.mark.parametrize(
    ("threshold", "name", "expected"),
    [
        (None, None, LabelColumn("label")),
        ({"rating": 4}, None, LabelColumn("rating", 4)),
        ({"stars": 4}, None, LabelColumn("label")),
        ({"rating": 4}, "click", LabelColumn("click")),
        ({"rating": 4}, "rating", LabelColumn("rating", 4)),
    ],
)
def test_the_column_of_labels(source, threshold, name, expected):
    config = {"threshold": threshold, "LABEL_FIELD": "label"}
    assert find_label(config, source, name) == expected


def test_a_label_that_is_missing_is_told(source):
    told = r"new.csv, line 1: column 'clicks' is missing, the label of .*; did you mean 'click'\?"
    with pytest.raises(UsageError, match=told):
        find_label({"threshold": None, "LABEL_FIELD": "label"}, source, "clicks")
    with pytest.raises(UsageError, match=r"found rating, .*user \(--label names another column\)"):
        find_label({"threshold": None, "LABEL_FIELD": "bought_it"}, source, None, "--label")


@given(clicks=st.lists(st.integers(0, 1)), size=st.integers(1, 4))
def test_rows_where_a_column_is_1(tmp_path_factory, clicks, size):
    path = tmp_path_factory.mktemp("rows") / "new.csv"
    lines = [f"{click},{place}" for place, click in enumerate(clicks)]
    path.write_text("\n".join(["click,place", *lines]) + "\n")
    with open_rows(path, {}, "\t") as file:
        rows = RowsWhere(file, LabelColumn("click"))
        blocks = list(rows.blocks(size))
    chosen = np.flatnonzero(clicks).tolist()
    assert [int(p) for block in blocks for p in block.columns["place"]] == chosen
    assert [int(p) for block in blocks for p in block.written["place"]] == chosen
    assert rows.passed_over == len(clicks) - len(chosen)
    lines = [block.line_of(r) for block in blocks for r in range(len(block.columns["place"]))]
    assert lines == [place + 2 for place in chosen]
