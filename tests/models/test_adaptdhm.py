"""AdaptDHM: the formulas, what its clusters share, and what a cluster's step leaves alone."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.flops import count_flops
from recbole_midpg.layers.scenario_grouping import ScenarioGroups
from recbole_midpg.models.adaptdhm import AdaptDHM
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from tests.reference.adaptdhm import adaptdhm_logits, clusters_of, moved_centres
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import scrambled, toy_batch, toy_dataset, toy_model, train_step


def spread_out(model):
    """A model whose embeddings are long enough for its rows to lie in several clusters."""
    return scrambled(model, seed=2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"clusters": 5, "routing_temperature": 0.1},
        {"routing_similarity": "cosine", "routing_steps": 1, "center_momentum": 0.0},
    ],
    ids=str,
)
def test_reference(training, settings):
    model = spread_out(toy_model(AdaptDHM, **settings)).double().train(training)
    batch = toy_batch(40, scenarios=[1, 1, 1, 2, 0, 3])
    inputs, _ = model.embed(batch)
    centres = moved_centres(model.routing, inputs) if training else model.routing.centres.clone()
    clusters = clusters_of(centres, inputs)
    assert len(set(clusters)) > 1
    expected = adaptdhm_logits(model, inputs, clusters)
    found = model(batch)
    torch.testing.assert_close(model.routing.centres, centres, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    leaves = list(model.parameters())
    for gradient, expected_gradient in zip(
        torch.autograd.grad(found.square().sum(), leaves),
        torch.autograd.grad(expected.square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


def test_at_the_start_every_cluster_gives_a_row_the_same_logit():
    model = toy_model(AdaptDHM).double()
    inputs, _ = model.embed(toy_batch(8))
    logits = []
    for cluster in range(model.n_clusters):
        groups = ScenarioGroups(torch.full((8,), cluster), model.n_clusters)
        logits.append(groups.pick_up(model.backbone(groups.lay_out(inputs), groups)))
    assert all(torch.equal(logits[0], other) for other in logits[1:])


def test_a_step_leaves_clusters_without_rows():
    model = spread_out(toy_model(AdaptDHM))
    model.routing.centres[1:] = -model.routing.centres[:1]
    with torch.no_grad():
        rows = model.embed(toy_batch(60))[0] @ model.routing.centres[0] > 0
    batch = toy_batch(60)[rows]
    model.eval()  # centres stay, so that all rows are the first cluster's
    assert len(batch) > 5
    model.calculate_loss(batch).backward()
    for layer in model.backbone.layers:
        for specific in (layer.specific_weight, layer.specific_bias):
            assert specific.grad[0].any()
            assert not specific.grad[1:].any()


def test_in_training_the_centres_follow_once_a_batch():
    model = spread_out(toy_model(AdaptDHM)).double()
    batch = toy_batch(30)
    expected = moved_centres(model.routing, model.embed(batch)[0])
    model.calculate_loss(batch)
    torch.testing.assert_close(model.routing.centres, expected, rtol=0, atol=1e-12)
    assert model.routing.rows_seen.sum() == 30


def test_a_checkpoint_holds_the_centres(tmp_path):
    model = toy_model(AdaptDHM, routing_temperature=0.1)
    optimizer = torch.optim.Adam(model.parameters())
    train_step(model, toy_batch(30), optimizer)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    restored = toy_model(AdaptDHM, seed=5, routing_temperature=0.1)
    assert not torch.equal(restored.routing.centres, model.routing.centres)
    restored.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert torch.equal(restored.routing.centres, model.routing.centres)
    assert torch.equal(restored.routing.rows_seen, model.routing.rows_seen)


@pytest.mark.parametrize("hidden_sizes", [[128, 64, 32], [5]])
@pytest.mark.parametrize("clusters", [1, 3])
def test_size(hidden_sizes, clusters):
    sizes = {"mlp_hidden_size": hidden_sizes, "embedding_size": 20}
    model = toy_model(AdaptDHM, clusters=clusters, **sizes)
    of_dnn = count_parameters(toy_model(DNN, **sizes))[1]
    assert count_parameters(model)[1] == (clusters + 1) * of_dnn
    kept = sum(buffer.numel() for buffer in model.routing.buffers())
    assert kept == clusters * model.input_size + clusters


def test_size_at_the_defaults_does_not_grow_with_scenarios():
    for scenarios in (11, 101):
        model = toy_model(
            AdaptDHM, toy_dataset(scenarios), embedding_size=20, mlp_hidden_size=[128, 64, 32]
        )
        assert model.input_size == 80
        assert count_parameters(model)[1] == 82_948


class OneRow:
    """What the count of operations reads of a dataset."""

    def __getitem__(self, rows):
        return toy_batch(1)


@pytest.mark.parametrize(("embedding_size", "multiple"), [(20, 1.01), (50, 1.02)])
def test_multiplications(embedding_size, multiple):
    sizes = {"mlp_hidden_size": [128, 64, 32], "embedding_size": embedding_size}
    counted = {}
    for model_class in (AdaptDHM, DNN):
        model = toy_model(model_class, **sizes)
        flops = count_flops(model, OneRow(), torch.device("cpu"), lambda _, rows: rows)
        counted[model_class] = flops - model.input_size  # embeddings that are read
    d_0 = 4 * embedding_size
    assert counted[DNN] == 128 * d_0 + 10_272
    assert counted[AdaptDHM] == counted[DNN] + 3 * d_0
    assert round(counted[AdaptDHM] / counted[DNN], 2) == multiple


def test_it_needs_no_scenario():
    model = toy_model(AdaptDHM, scenario_fields=[], scenario_id_field=None)
    assert model(toy_batch(5)).isfinite().all()
    assert not AdaptDHM.needs_scenario


def test_what_is_remarked_of_clusters_that_part():
    model = toy_model(AdaptDHM)
    assert model.remarks() == []
    model.routing.rows_seen.copy_(torch.tensor([5, 0, 15]))
    model.routing.centres.copy_(torch.eye(3, model.input_size))
    (sentence,) = model.remarks()
    assert (
        sentence
        == "AdaptDHM: of the rows seen in training, its clusters had 25.0 %, 0.0 %, 75.0 %."
    )


def test_what_is_remarked_of_clusters_that_are_one():
    model = toy_model(AdaptDHM)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for _ in range(60):
        train_step(model, toy_batch(50), optimizer)
    _, sentence = model.remarks()
    assert "have a cosine of 1.0000 and hardly part rows" in sentence
    assert toy_model(AdaptDHM, clusters=1).remarks() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"clusters": 0},
        {"routing_steps": 0},
        {"center_momentum": 1.0},
        {"routing_similarity": "euclidean"},
        {"routing_temperature": 0},
    ],
    ids=str,
)
def test_values_that_mean_nothing_are_refused(settings):
    (key,) = settings
    with pytest.raises(UsageError, match=key):
        toy_model(AdaptDHM, **settings)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    settings = {"routing_similarity": "cosine", "routing_temperature": 0.1}
    assert auc_after_training(AdaptDHM, **settings) > 0.87 > dnn_auc()
