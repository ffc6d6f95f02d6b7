"""Each repair is needed, and gives what the model's formula says."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import get_model
from recbole_midpg.integration.models.stock_repairs import Graph
from tests.support.recbole_shop import GRAPH, NAME, write_shop


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


def test_ncl_clusters_without_a_gpu():
    pytest.importorskip("faiss")
    points = np.repeat(np.float32([[0, 1], [1, 0]]), 100, axis=0)
    owner = SimpleNamespace(latent_dim=2, k=2, device=torch.device("cpu"))
    centroids, clusters = module_of("NCL").NCL.run_kmeans(owner, points)
    assert len(set(clusters[:100].tolist())) == len(set(clusters[100:].tolist())) == 1
    assert clusters[0] != clusters[100]
    torch.testing.assert_close(centroids[clusters[0]], torch.tensor([0.0, 1.0]))
