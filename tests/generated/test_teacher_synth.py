"""Worlds in which the right architecture is known."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from recbole_midpg.generated import read_truth
from recbole_midpg.generated.teacher_synth import BASE_RATE, N_SCENARIOS, SPREAD, make
from recbole_midpg.generated.teachers import KINDS
from tests.atomic_data_scripts.recbole_reading import CONFIGS


@pytest.fixture(scope="module")
def frame(teacher):
    return pd.read_csv(teacher.raw)


def test_shape(frame):
    assert frame.user_id.nunique() == 20_000 // 50
    assert frame.item_id.nunique() == round(20_000**0.5)
    assert sorted(frame.scenario.unique()) == list(range(N_SCENARIOS))
    assert frame.label.mean() == pytest.approx(BASE_RATE, abs=1e-4)
    assert frame.scenario.value_counts().is_monotonic_decreasing
    assert frame.scenario.value_counts()[0] > 2 * frame.scenario.value_counts()[9]


def test_logits_have_the_spread(teacher):
    probability = read_truth(teacher.folder)["probability"].astype(np.float64)
    logits = np.log(probability / (1 - probability))
    assert logits.std() == pytest.approx(SPREAD, rel=1e-3)


def test_no_field_stands_in_for_the_scenario(frame):
    """The scenario's distribution is the same whatever another field says."""
    shares = frame.scenario.value_counts(normalize=True).sort_index()
    for field in ("hour", "page", "device"):
        counts = pd.crosstab(frame[field], frame.scenario)
        expected = np.outer(counts.sum(axis=1), shares)
        statistic = ((counts - expected) ** 2 / expected).to_numpy().sum()
        freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
        assert statistic < freedom + 5 * (2 * freedom) ** 0.5, field


def test_scenarios_of_every_kind_are_alike_in_part(teacher):
    similarity = np.array(json.loads((teacher.folder / "bayes.json").read_text())["similarity"])
    assert similarity.shape == (N_SCENARIOS, N_SCENARIOS)
    np.testing.assert_allclose(np.diag(similarity), 1.0)
    for kind in KINDS:
        pairs = make(kind, 5_000, 1).model.similarity[np.triu_indices(N_SCENARIOS, 1)]
        assert 0.1 < pairs.mean() < 0.95, kind


def test_kinds_share_their_rows_and_not_their_labels():
    lines = {}
    for kind in ("dnn", "star"):
        (chunk,) = make(kind, 5_000, 1).chunks
        lines[kind] = [line.rpartition(",")[0] for line in chunk.lines]
        lines[kind, "labels"] = chunk.label.tolist()
    assert lines["dnn"] == lines["star"]
    assert lines["dnn", "labels"] != lines["star", "labels"]


def test_more_rows_are_of_the_same_world():
    """But for scale and shift, which are fitted to the rows, the logits of a row stay."""
    few, many = (make("dpg", rows, 1).model for rows in (5_000, 20_000))
    n_tokens = {"user": 100, "item": 71, "hour": 24, "page": 50, "device": 6, "scenario": 10}
    random = np.random.default_rng(0)
    columns = {name: random.integers(0, count, 1_000) for name, count in n_tokens.items()}
    odds = [p / (1 - p) for p in (few.probability(columns), many.probability(columns))]
    assert np.corrcoef(np.log(odds))[0, 1] == pytest.approx(1.0, abs=1e-9)


def test_all_kinds_have_the_same_config():
    texts = [(CONFIGS / f"teacher_{kind}_synth.yaml").read_text() for kind in KINDS]
    assert all(yaml.safe_load(text) == yaml.safe_load(texts[0]) for text in texts)
    assert all(f"({kind})" in text for kind, text in zip(KINDS, texts, strict=True))
