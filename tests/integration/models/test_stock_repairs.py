"""Each repair is needed, and gives what the model's formula says."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader.general_dataloader import TrainDataLoader

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import get_model
from recbole_midpg.integration.models.stock_repairs import Graph, check_vectors
from tests.support.recbole_shop import GRAPH, NAME, SEQUENTIAL_VECTORS, VECTOR, write_shop


def module_of(model):
    """A model's module, repaired."""
    return importlib.import_module(get_model(model).__module__)


def test_a_graph_counts_the_edges_of_a_kind():
    graph = Graph((torch.tensor([0, 2, 0, 1]), torch.tensor([1, 0, 1, 3])))
    graph.edata["relation_id"] = torch.tensor([1, 1, 1, 2])
    assert graph.filter_edges(lambda edges: edges.data["relation_id"] == 2).tolist() == [3]
    dense = graph.adjacency_matrix(transpose=False, scipy_fmt="coo").toarray()
    expected = [[0, 2, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert dense.tolist() == expected
    transposed = graph.adjacency_matrix(transpose=True, scipy_fmt="csr").toarray()
    assert transposed.tolist() == np.transpose(expected).tolist()


def kgat(tmp_path):
    write_shop(tmp_path)
    config = Config("KGAT", NAME, config_dict={"data_path": str(tmp_path)})
    dataset = create_dataset(config)
    train = dataset.build()[0]
    return get_model("KGAT")(config, train), train


def test_kgat_begins_with_the_mean_over_the_edges_of_each_relation(tmp_path):
    assert GRAPH.arguments == ()
    model, train = kgat(tmp_path)
    edges = train.ckg_graph(form="coo", value_field="relation_id")
    counts = np.zeros((model.n_relations, *edges.shape))
    for source, target, relation in zip(edges.row, edges.col, edges.data, strict=True):
        counts[relation, source, target] += 1
    outgoing = counts.sum(axis=2, keepdims=True)
    # Relation 0 is padding.
    expected = (counts / np.maximum(outgoing, 1))[1:].sum(axis=0)
    np.testing.assert_allclose(model.A_in.to_dense().numpy(), expected, rtol=1e-6)


def test_dgcf_samples_no_more_than_there_are():
    sample = module_of("DGCF").sample_cor_samples
    users, items = sample(7, 3, 5)
    assert len(set(users)) == 5
    assert sorted(items) == [0, 1, 2]
    assert set(users) <= set(range(7))


@pytest.mark.parametrize(
    ("model", "values", "sentence"),
    [
        ("NCL", {"num_clusters": 42}, "num_clusters: 42 is not allowed, expected at most 41,"),
        (
            "GRU4RecCPR",
            {"reranker_CAN_NUM": "100,20"},
            "reranker_CAN_NUM: '100,20' is not allowed, expected at most 41,",
        ),
        ("SASRecCPR", {"reranker_CAN_NUM": 42}, "reranker_CAN_NUM: 42 is not allowed"),
    ],
)
def test_more_than_there_are_is_said_before_a_model_is_built(model, values, sentence):
    dataset = SimpleNamespace(user_num=61, item_num=41)
    with pytest.raises(UsageError) as error:
        get_model(model)(values, dataset)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("model", "key"), [("KSR", "kg_embedding_size"), ("GRU4RecKG", "embedding_size")]
)
def test_vectors_are_as_long_as_the_model_s_own(model, key, tmp_path, monkeypatch):
    write_shop(tmp_path)
    words = [*SEQUENTIAL_VECTORS.arguments, f"--data_path={tmp_path}", f"--{key}=6"]
    monkeypatch.setattr("sys.argv", ["run_recbole", *words])
    config = Config(model, NAME)
    train = create_dataset(config).build()[0]
    with pytest.raises(UsageError) as error:
        get_model(model)(config, train)
    assert str(error.value) == (
        f"{key}: 6 is not allowed with the vectors of 'ent_emb', expected their length, {VECTOR}."
    )


def test_the_vectors_of_each_field_are_looked_at():
    vectors = {"ent_id": np.zeros((7, 4)), "rel_id": np.zeros((3, 5))}
    dataset = SimpleNamespace(get_preload_weight=vectors.get)
    values = {"size": 4, "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"}}
    check_vectors("size", "ent_id")(values, dataset)
    with pytest.raises(UsageError, match="size: 4 is not allowed with the vectors of 'rel_emb'"):
        check_vectors("size", "ent_id", "rel_id")(values, dataset)


@pytest.mark.parametrize("model", ["DNN", "DeepFM", "BPR", "GRU4Rec", "CKE"])
def test_a_loader_given_for_its_dataset_is_named(model):
    loader = object.__new__(TrainDataLoader)
    with pytest.raises(UsageError) as error:
        get_model(model)({"model": model}, loader)
    assert str(error.value) == (
        f"{model}(config, dataset): a TrainDataLoader is no dataset, expected that of its rows, as "
        f"{model}(config, train_data.dataset)."
    )


def test_ncl_clusters_without_a_gpu():
    pytest.importorskip("faiss")
    points = np.repeat(np.float32([[0, 1], [1, 0]]), 100, axis=0)
    owner = SimpleNamespace(latent_dim=2, k=2, device=torch.device("cpu"))
    centroids, clusters = module_of("NCL").NCL.run_kmeans(owner, points)
    assert len(set(clusters[:100].tolist())) == len(set(clusters[100:].tolist())) == 1
    assert clusters[0] != clusters[100]
    torch.testing.assert_close(centroids[clusters[0]], torch.tensor([0.0, 1.0]))
