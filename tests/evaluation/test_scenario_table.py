import re

import numpy as np
import pytest

from recbole_midpg.evaluation.scenario_table import scenario_table

NAMES = ["missing", "art", "books"]


def test_lines_by_hand():
    labels = np.array([1.0, 0, 1, 1, 1])
    scores = np.array([0.5, 0.25, 0.25, 0.5, 0.5])
    table = scenario_table(labels, scores, np.array([1, 1, 1, 2, 2]), NAMES)
    art, books = table.scenarios
    assert (art.name, art.rows, art.positives, art.cvr) == ("art", 3, 2, 2 / 3)
    assert art.auc == 0.75
    assert art.logloss == pytest.approx((np.log(2) - np.log(0.75) + np.log(4)) / 3)
    assert art.pcoc == 0.5
    assert (books.rows, books.auc, books.pcoc) == (2, None, 0.5)
    assert (table.everything.name, table.everything.rows) == ("all", 5)
    assert table.without_auc == 1


def test_the_text_counts_scenarios_without_an_auc():
    labels, scores = np.array([1.0, 0, 1]), np.array([0.5, 0.25, 0.5])
    text = scenario_table(labels, scores, np.array([0, 0, 2]), NAMES).text()
    lines = text.splitlines()
    headers = ["scenario", "rows", "positives", "positive rate", "AUC", "LogLoss", "PCOC"]
    assert re.split(r"  +", lines[0].strip()) == headers
    assert lines[2].split()[:5] == ["missing", "2", "1", "0.5000", "1.0000"]
    assert lines[3].split()[4] == "-"
    assert lines[-1] == "scenarios of one class, without an AUC: 1"
    whole = scenario_table(labels[:2], scores[:2], np.array([1, 1]), NAMES).text()
    assert "without an AUC" not in whole
