import json

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from recbole_midpg.common.errors import UsageError
from recbole_midpg.generated import bayes_of_split, bayes_optimal, read_bayes, read_truth
from recbole_midpg.generated.bayes import BayesScores, split_rows, truth_file
from tests.atomic_data_scripts.recbole_reading import built, column, config_of


def scores(chances, labels, n_chunks=1):
    result = BayesScores()
    for part in np.array_split(np.arange(len(chances)), n_chunks):
        result.add(chances[part], labels[part])
    return result.result()


@pytest.fixture
def drawn():
    random = np.random.default_rng(0)
    chances = random.beta(1, 9, 400)
    return chances, (random.random(400) < chances).astype(np.uint8)


def test_expected_scores_are_sums_over_pairs(drawn):
    chances, labels = drawn
    result = scores(chances, labels, n_chunks=3)
    right = total = 0.0
    for i, p in enumerate(chances):
        for j, q in enumerate(chances):
            if i != j:
                total += p * (1 - q)
                right += p * (1 - q) * ((p > q) + 0.5 * (p == q))
    entropy = -(chances * np.log(chances) + (1 - chances) * np.log(1 - chances)).mean()
    assert result["auc"] == pytest.approx(right / total, abs=1e-5)
    assert result["logloss"] == pytest.approx(entropy, abs=1e-7)
    assert result["rows"] == 400
    assert result["positives"] == pytest.approx(chances.sum(), abs=1e-6)


def test_scores_of_drawn_labels_are_those_of_sklearn(drawn):
    chances, labels = drawn
    result = scores(chances, labels)
    assert result["auc_of_drawn_labels"] == pytest.approx(roc_auc_score(labels, chances), abs=2e-5)
    assert result["logloss_of_drawn_labels"] == pytest.approx(log_loss(labels, chances))


def test_expected_scores_are_means_over_labels(drawn):
    chances, _ = drawn
    random = np.random.default_rng(1)
    draws = [(random.random(400) < chances).astype(np.uint8) for _ in range(25)]
    results = [scores(chances, labels) for labels in draws]
    for name, tolerance in (("auc", 0.03), ("logloss", 0.015)):
        mean = np.mean([result[f"{name}_of_drawn_labels"] for result in results])
        assert mean == pytest.approx(results[0][name], abs=tolerance)


def test_no_pairs_no_auc():
    labels = np.ones(3, dtype=np.uint8)
    assert scores(np.full(3, 0.5), labels)["auc_of_drawn_labels"] is None
    assert scores(np.full(3, 0.5), labels)["auc"] == pytest.approx(0.5)


@pytest.mark.parametrize(("seed", "ratios"), [(2020, (0.8, 0.1, 0.1)), (7, (2, 1, 1))])
def test_split_is_that_of_recbole(advertising, seed, ratios):
    config = config_of(
        advertising.name,
        advertising.output,
        seed=seed,
        eval_args={
            "split": {"RS": list(ratios)},
            "order": "RO",
            "group_by": None,
            "mode": "labeled",
        },
    )
    from recbole.utils import init_seed

    init_seed(seed, True)
    raw = [line.split(",") for line in advertising.raw.read_text().splitlines()[1:]]
    truth = read_truth(advertising.folder)
    for loader, places in zip(built(config), split_rows(len(raw), ratios, seed), strict=True):
        part = loader.dataset
        # RecBole shuffles its training loader when it is run through, not before.
        assert column(part, "user_id") == [raw[place][0] for place in places]
        assert column(part, "label") == truth["label"][places].tolist()


def test_small_parts_are_those_of_recbole():
    assert [len(part) for part in split_rows(5, (0.8, 0.1, 0.1), 0)] == [3, 1, 1]
    assert [len(part) for part in split_rows(2, (0.8, 0.1, 0.1), 0)] == [1, 0, 1]


def test_bayes_json(any_set):
    bayes = read_bayes(any_set.folder)
    assert bayes["rows"] == any_set.report.rows_out == 20_000
    assert bayes["scenario_field"]
    similarity = np.array(bayes["similarity"])
    assert similarity.shape == (len(bayes["scenarios"]),) * 2
    assert np.linalg.eigvalsh(similarity).min() > 0
    assert set(bayes["scenarios"]) == set(any_set.report.scenarios)
    assert bayes["overall"] == pytest.approx(bayes_optimal(any_set.folder))
    assert bayes["splits"] == bayes_of_split(any_set.folder)
    assert [part["rows"] for part in bayes["splits"].values()] == [16_000, 2_000, 2_000]
    for part in bayes["splits"].values():
        assert 0.6 < part["auc"] < 0.85


def test_rows_are_chosen(amazon):
    rows = np.array([5, 3, 8, 100, 7])
    truth = read_truth(amazon.folder)[rows]
    expected = scores(truth["probability"], truth["label"])
    assert bayes_optimal(amazon.folder, rows) == pytest.approx(expected)


def test_no_generated_set(tmp_path):
    with pytest.raises(UsageError, match="there is no such file, expected the folder of a gen"):
        bayes_optimal(tmp_path)
    np.save(truth_file(tmp_path), np.zeros(3))
    with pytest.raises(UsageError, match="holds float64, expected true probabilities"):
        read_truth(tmp_path)
    assert read_bayes(tmp_path) is None
    (tmp_path / "bayes.json").write_text(json.dumps({})[:1])
    with pytest.raises(UsageError, match="is not JSON text; remove it"):
        read_bayes(tmp_path)
