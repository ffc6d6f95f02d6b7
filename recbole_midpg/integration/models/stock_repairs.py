"""Models of RecBole that do not run as they are: one function a defect.

Each changes the module of one model in memory, once it is imported, and is found by the module's
name in ``REPAIRS``.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.scatter import scatter_mean, scatter_softmax


@contextmanager
def _standing_in(module: ModuleType) -> Iterator[None]:
    """Let an import by a module's name give this module, within the context alone."""
    name = module.__name__
    kept = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
        if kept is not None:
            sys.modules[name] = kept


def _with_stand_in(function: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    """Wrap a function that imports a package, for which a module stands in."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with _standing_in(module):
            return function(*args, **kwargs)

    return wrapped


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


# --------------------------------------------------------------------------------------------------
# Packages of graphs


def _aggregate_in_torch(module: Any) -> None:
    """Let KGIN and MCCLK aggregate without ``torch_scatter``.

    Cause: it is compiled against one version of torch, and has no wheels in the package index; of
    all that it has, the two models use these two functions.
    """
    scatter = _module("torch_scatter", scatter_mean=scatter_mean, scatter_softmax=scatter_softmax)
    module.Aggregator.forward = _with_stand_in(module.Aggregator.forward, scatter)


class Graph:
    """As much of DGL's graph as KGAT asks for: edges with data.

    Args:
        ends: the edges' sources and targets, ``(E,)`` each.
        n_nodes: the nodes, by default up to the last that has an edge.
    """

    def __init__(self, ends: tuple[Tensor, Tensor], n_nodes: int | None = None) -> None:
        self.ends = ends
        self.n_nodes = int(torch.cat(ends).max()) + 1 if n_nodes is None else n_nodes
        self.edata: dict[str, Tensor] = {}

    def filter_edges(self, predicate: Callable[[Any], Tensor]) -> Tensor:
        """The numbers of the edges of which a predicate of their data holds."""
        return predicate(SimpleNamespace(data=self.edata)).nonzero().flatten()

    def adjacency_matrix(self, transpose: bool, scipy_fmt: str) -> Any:
        """How many edges go from each node to each: from the row to the column, or transposed."""
        source, target = (end.numpy() for end in self.ends)
        places = (target, source) if transpose else (source, target)
        shape = (self.n_nodes, self.n_nodes)
        return scipy.sparse.coo_matrix((np.ones(len(source)), places), shape).asformat(scipy_fmt)


def _edge_subgraph(graph: Graph, edges: Tensor, preserve_nodes: bool) -> Graph:
    """The graph of some edges, whose nodes keep their numbers."""
    if not preserve_nodes:
        raise ValueError("Nodes keep their numbers.")
    source, target = graph.ends
    return Graph((source[edges], target[edges]), graph.n_nodes)


def _build_graph_without_dgl(module: Any) -> None:
    """Let KGAT count the edges of its graph without ``dgl``.

    Cause: KGAT calls ``adjacency_matrix(transpose=..., scipy_fmt=...)``, which DGL 1.0 took away,
    and no DGL works with today's torch. It uses it to count the edges of each relation from node to
    node.
    """
    dgl = _module("dgl", graph=Graph, edge_subgraph=_edge_subgraph)
    module.KGAT.__init__ = _with_stand_in(module.KGAT.__init__, dgl)


# --------------------------------------------------------------------------------------------------
# Single models


def _sample_no_more_than_there_are(module: Any) -> None:
    """Let DGCF's regularisation sample no more users, or items, than the data has.

    Cause: it samples as many of each as a batch's share of the larger number, and so fails where a
    batch holds a good part of the data, and users and items differ in number.
    """

    def sample(n_users: int, n_items: int, size: int) -> tuple[list[int], list[int]]:
        users, items = (random.sample(range(n), min(n, size)) for n in (n_users, n_items))
        return users, items

    module.sample_cor_samples = sample


def _checked_first(model_class: Any, check: Callable[[Any, Any], None]) -> None:
    """Let a model check its config and dataset before it is built."""
    stock = model_class.__init__

    @functools.wraps(stock)
    def initialize(self: Any, config: Any, dataset: Any) -> None:
        check(config, dataset)
        stock(self, config, dataset)

    model_class.__init__ = initialize


def _cluster_where_the_model_is(module: Any) -> None:
    """Let NCL's k-means run on the CPU where there is no GPU for it.

    Cause: it asks for ``gpu=True``, which fails in ``faiss-cpu``. More clusters than there are
    users or items end in an error of faiss in the first epoch.
    """
    stock = module.NCL.run_kmeans

    @functools.wraps(stock)
    def run_kmeans(self: Any, x: Any) -> Any:
        import faiss  # noqa: PLC0415 - an extra of this one model, see model_needs

        has_gpu = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0

        def kmeans(gpu: bool, **options: Any) -> Any:
            return faiss.Kmeans(gpu=gpu and has_gpu, **options)

        with _standing_in(_module("faiss", Kmeans=kmeans)):
            return stock(self, x)

    module.NCL.run_kmeans = run_kmeans
    _checked_first(module.NCL, _check_clusters)


def _check_clusters(config: Any, dataset: Any) -> None:
    at_most = min(dataset.user_num, dataset.item_num)
    if config["num_clusters"] > at_most:
        raise UsageError(
            f"num_clusters: {config['num_clusters']} is not allowed, expected at most {at_most}, "
            "the smaller of the numbers of users and of items."
        )


def _read_vectors_in_single_precision(module: Any) -> None:
    """Let KSR keep the relations' vectors in the type of its weights.

    Cause: it keeps them as they are loaded, as float64, and multiplies them by float32.
    """
    stock = module.KSR.__init__

    @functools.wraps(stock)
    def initialize(self: Any, config: Any, dataset: Any) -> None:
        stock(self, config, dataset)
        self.relation_Matrix = self.relation_Matrix.float()

    module.KSR.__init__ = initialize


def _rerank_no_more_than_there_are(module: Any) -> None:
    """Let the models with reranked items say that there are too few.

    Cause: GRU4RecCPR and SASRecCPR take the best 100 items, of however many there are.
    """
    name = "GRU4RecCPR" if hasattr(module, "GRU4RecCPR") else "SASRecCPR"
    _checked_first(getattr(module, name), _check_reranked)


def _check_reranked(config: Any, dataset: Any) -> None:
    given = config["reranker_CAN_NUM"]
    if max(int(size) for size in str(given).split(",")) > dataset.item_num:
        raise UsageError(
            f"reranker_CAN_NUM: {given!r} is not allowed, expected at most {dataset.item_num}, the "
            "number of items."
        )


REPAIRS: dict[str, Callable[[Any], None]] = {
    "dgcf": _sample_no_more_than_there_are,
    "gru4reccpr": _rerank_no_more_than_there_are,
    "kgat": _build_graph_without_dgl,
    "kgin": _aggregate_in_torch,
    "ksr": _read_vectors_in_single_precision,
    "mcclk": _aggregate_in_torch,
    "ncl": _cluster_where_the_model_is,
    "sasreccpr": _rerank_no_more_than_there_are,
}
