import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_midpg.analysis.diversity import centred_similarity, mean_matrices
from recbole_midpg.analysis.matrices import MatrixSample, collect_matrices
from recbole_midpg.analysis.matrix_figures import describe, heat_map_of, project, scatter_of
from recbole_midpg.common.errors import UsageError
from recbole_midpg.generated.bayes import BAYES_FILE
from recbole_midpg.integration.run.checkpoint import load_data_and_model
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.midpg import MIDPG
from tests.integration.run.test_checkpoint import trained


def checkpoint_of(model_class, **values):
    return trained(model_class, **values)[0].saved_model_file


@pytest.mark.parametrize("model_class", [DPG, MIDPG])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_every_row_of_a_small_split_is_taken(model_class, split):
    checkpoint = checkpoint_of(model_class, n=2, m=4, weighting="r")
    sample = collect_matrices(checkpoint, split=split)
    _, model, dataset, *loaders = load_data_and_model(checkpoint)
    data = loaders[["train", "valid", "test"].index(split)].dataset
    model.eval()
    expected = {}
    for row in range(len(data)):
        batch = data[torch.tensor([row])]
        with torch.no_grad():
            matrices = model.weighting_matrices(batch)
        name = dataset.id2token("job", int(batch["job"]))
        flat = torch.cat([matrix.flatten() for matrix in matrices]).numpy()
        expected.setdefault(name, []).append(flat)
    assert sorted(sample.names) == sorted(expected)
    assert sample.values.shape == (len(data), 3 * 2 * 4)
    assert (sample.model, sample.split, sample.planted) == (model_class.__name__, split, None)
    for place, name in enumerate(sample.names):
        own = sample.values[sample.scenarios == place]
        np.testing.assert_allclose(own, expected[name], rtol=1e-5)


def test_samples_are_limited_seeded_and_the_same_for_every_model():
    first, second = (checkpoint_of(model) for model in (DPG, MIDPG))
    whole = collect_matrices(first, split="train")
    most = max(whole.rows_of_scenarios())
    assert most > 1
    one = collect_matrices(first, split="train", rows_per_scenario=1, seed=3)
    assert one.rows_of_scenarios() == [1] * len(whole.names)
    again = collect_matrices(first, split="train", rows_per_scenario=1, seed=3)
    np.testing.assert_array_equal(one.values, again.values)
    other = collect_matrices(second, split="train", rows_per_scenario=1, seed=3)
    assert other.names == one.names
    drawn = {
        collect_matrices(first, split="train", rows_per_scenario=1, seed=seed).values.tobytes()
        for seed in range(6)
    }
    assert len(drawn) > 1


def test_scenarios_can_be_chosen():
    checkpoint = checkpoint_of(DPG)
    whole = collect_matrices(checkpoint, split="train")
    chosen = collect_matrices(checkpoint, split="train", chosen=whole.names[::-1][:2])
    assert chosen.names == whole.names[::-1][:2]
    np.testing.assert_array_equal(
        chosen.values[chosen.scenarios == 0],
        whole.values[whole.scenarios == len(whole.names) - 1],
    )


def test_bad_input_is_told():
    with pytest.raises(UsageError, match="it holds a DNN, which has no weighting matrices"):
        collect_matrices(checkpoint_of(DNN))
    with pytest.raises(UsageError, match="there is no such file"):
        collect_matrices("none.pth")
    checkpoint = checkpoint_of(DPG)
    for wrong, words in (
        ({"split": "all"}, "'all' is not allowed, expected one of train"),
        ({"rows_per_scenario": 0}, "expected at least 1"),
        ({"chosen": ["smith"]}, "no row of the test split has job = 'smith'"),
    ):
        with pytest.raises(UsageError, match=words):
            collect_matrices(checkpoint, **wrong)


def test_the_planted_similarity_is_put_into_the_order_of_the_names(tmp_path, monkeypatch):
    checkpoint = checkpoint_of(DPG)
    names = collect_matrices(checkpoint, split="train").names
    bayes = {"scenario_field": "job", "scenarios": [*names[::-1], "other"]}
    size = len(bayes["scenarios"])
    bayes["similarity"] = np.arange(size * size).reshape(size, size).tolist()
    monkeypatch.setattr("recbole_midpg.analysis.matrices.read_bayes", lambda _: bayes)
    planted = collect_matrices(checkpoint, split="train").planted
    places = [bayes["scenarios"].index(name) for name in names]
    for row, column in np.ndindex(planted.shape):
        assert planted[row, column] == bayes["similarity"][places[row]][places[column]]
    bayes["scenario_field"] = "gender"
    assert collect_matrices(checkpoint, split="train").planted is None
    bayes.update(scenario_field="job", scenarios=["other"])
    with pytest.raises(UsageError, match=f"{BAYES_FILE} knows no scenario"):
        collect_matrices(checkpoint, split="train")


def sample_of(values, scenarios, planted=None):
    names = [f"s{number}" for number in range(max(scenarios) + 1)]
    return MatrixSample(
        "DPG", "gaps", "test", names, np.array(scenarios), np.array(values), planted
    )


@pytest.fixture
def blocks():
    """Scenarios 0 and 2 are alike, and so are 1 and 3; twenty rows each."""
    generator = np.random.default_rng(0)
    centres = np.array([[5.0, 0, 0], [-5, 0, 1], [5, 1, 0], [-5, 0, 2]])
    scenarios = np.repeat(np.arange(4), 20)
    values = centres[scenarios] + 0.1 * generator.normal(size=(80, 3))
    planted = np.where(np.arange(4)[:, None] % 2 == np.arange(4) % 2, 0.9, -0.5)
    planted[[0, 2], [2, 0]] = 0.8
    return sample_of(values, scenarios.tolist(), planted)


def test_numbers_and_heat_map_of_a_sample(blocks):
    numbers = describe("one", blocks)
    assert numbers.rows == {f"s{number}": 20 for number in range(4)}
    assert numbers.silhouette > 0.5 and numbers.variance_ratio > 100
    assert {frozenset(numbers.order[:2]), frozenset(numbers.order[2:])} == {
        frozenset({"s0", "s2"}),
        frozenset({"s1", "s3"}),
    }
    similarity = centred_similarity(mean_matrices(blocks.values, blocks.scenarios))
    places = [int(name[1:]) for name in numbers.order]
    heat_map = heat_map_of(numbers)
    np.testing.assert_array_equal(heat_map.similarity, similarity[places][:, places])
    np.testing.assert_array_equal(heat_map.planted, blocks.planted[places][:, places])
    assert heat_map.rank_correlation == numbers.rank_correlation > 0.5
    assert numbers.renamings == 24 and numbers.p_value >= 1 / 24


def test_real_data_has_no_rank_correlation(blocks):
    real = sample_of(blocks.values, blocks.scenarios.tolist())
    numbers = describe("one", real)
    assert (numbers.planted, numbers.rank_correlation, numbers.p_value) == (None, None, None)


def test_scatter_keeps_scenarios_apart_and_is_the_same_again(blocks):
    samples = {"one": blocks}
    numbers = {"one": describe("one", blocks)}
    scatter = scatter_of(samples, numbers, seed=1)
    assert scatter == scatter_of(samples, numbers, seed=1)
    (panel,) = scatter.panels
    assert panel.scenarios == [f"s{number}" for number in blocks.scenarios]
    assert f"{numbers['one'].silhouette:.2f}" in panel.title
    points = np.array([panel.x, panel.y]).T
    nearest = [np.argsort(((points - point) ** 2).sum(axis=1))[1] for point in points]
    same_side = blocks.scenarios[nearest] % 2 == blocks.scenarios % 2
    assert same_side.mean() > 0.95


@pytest.mark.parametrize("values", [np.eye(4), np.ones((9, 3)), np.arange(9.0).reshape(9, 1)])
def test_samples_that_have_no_plane(values):
    with pytest.raises(UsageError, match="cannot be laid out"):
        project(values, 0)


def test_few_rows_have_a_plane():
    assert project(np.random.default_rng(0).normal(size=(5, 3)), 0).shape == (5, 2)


def test_numbers_become_json(blocks):
    from dataclasses import asdict

    from recbole_midpg.analysis.drawing import write_json

    write_json(asdict(describe("one", blocks)), Path("numbers.json"))
    content = json.loads(Path("numbers.json").read_text())
    assert np.shape(content["similarity"]) == (4, 4)
