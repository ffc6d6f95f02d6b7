"""Models of RecBole that do not run as they are: one function a defect.

Each wraps a method of a model, or stands in for a function of its module. ``seams.py`` says where,
and puts it there when the model is first asked for.
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
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
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


def _with_stand_in(module: ModuleType) -> Callable[[Any], Any]:
    """Make a wrapper of functions that import a package, for which a module stands in."""

    def wrap(stock: Any) -> Any:
        @functools.wraps(stock)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _standing_in(module):
                return stock(*args, **kwargs)

        return wrapped

    return wrap


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


# --------------------------------------------------------------------------------------------------
# Packages of graphs


def aggregating_in_torch(stock: Any) -> Any:
    """Wrap ``forward`` of KGIN's and MCCLK's aggregator, which then needs no ``torch_scatter``.

    Cause: it is compiled against one version of torch, and has no wheels in the package index; of
    all that it has, the two models use these two functions.
    """
    scatter = _module("torch_scatter", scatter_mean=scatter_mean, scatter_softmax=scatter_softmax)
    return _with_stand_in(scatter)(stock)


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


def counting_edges_without_dgl(stock: Any) -> Any:
    """Wrap ``KGAT.__init__``, which then counts the edges of its graph without ``dgl``.

    Cause: KGAT calls ``adjacency_matrix(transpose=..., scipy_fmt=...)``, which DGL 1.0 took away,
    and no DGL works with today's torch. It uses it to count the edges of each relation from node to
    node.
    """
    return _with_stand_in(_module("dgl", graph=Graph, edge_subgraph=_edge_subgraph))(stock)


# --------------------------------------------------------------------------------------------------
# Single models


def sample_users_and_items(n_users: int, n_items: int, size: int) -> tuple[list[int], list[int]]:
    """Stand in for DGCF's ``sample_cor_samples``: no more users, or items, than the data has.

    Cause: it samples as many of each as a batch's share of the larger number, and so fails where a
    batch holds a good part of the data, and users and items differ in number.
    """
    users, items = (random.sample(range(n), min(n, size)) for n in (n_users, n_items))
    return users, items


def checked_first(check: Callable[[Any, Any], None]) -> Callable[[Any], Any]:
    """Make a wrapper of a model's ``__init__`` that checks its config and dataset before."""

    def wrap(stock: Any) -> Any:
        @functools.wraps(stock)
        def initialize(self: Any, config: Any, dataset: Any) -> None:
            check(config, dataset)
            stock(self, config, dataset)

        return initialize

    return wrap


def clustering_where_the_model_is(stock: Any) -> Any:
    """Wrap ``NCL.run_kmeans``, which then runs on the CPU where there is no GPU for it.

    Cause: it asks for ``gpu=True``, which fails in ``faiss-cpu``.
    """

    @functools.wraps(stock)
    def run_kmeans(self: Any, x: Any) -> Any:
        import faiss  # noqa: PLC0415 - an extra of this one model, see model_needs

        has_gpu = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0

        def kmeans(gpu: bool, **options: Any) -> Any:
            return faiss.Kmeans(gpu=gpu and has_gpu, **options)

        with _standing_in(_module("faiss", Kmeans=kmeans)):
            return stock(self, x)

    return run_kmeans


def check_clusters(config: Any, dataset: Any) -> None:
    """Check that NCL has no more clusters than users or items.

    Raises:
        UsageError: it has; faiss would end the first epoch by an error of its own.
    """
    at_most = min(dataset.user_num, dataset.item_num)
    if config["num_clusters"] > at_most:
        raise UsageError(
            f"num_clusters: {config['num_clusters']} is not allowed, expected at most {at_most}, "
            "the smaller of the numbers of users and of items."
        )


def keeping_vectors_in_single_precision(stock: Any) -> Any:
    """Wrap ``KSR.__init__``, which then keeps the relations' vectors in the type of its weights.

    Cause: it keeps them as they are loaded, as float64, and multiplies them by float32.
    """

    @functools.wraps(stock)
    def initialize(self: Any, config: Any, dataset: Any) -> None:
        stock(self, config, dataset)
        self.relation_Matrix = self.relation_Matrix.float()

    return initialize


def check_vectors(size_key: str, *fields: str) -> Callable[[Any, Any], None]:
    """Make the check that the vectors which a model begins with are as long as its own.

    Args:
        size_key: the config key of their length.
        fields: the tokens whose vectors they are.
    """

    def check(config: Any, dataset: Any) -> None:
        for field in fields:
            length = dataset.get_preload_weight(field).shape[-1]
            if length != config[size_key]:
                raise UsageError(
                    f"{size_key}: {config[size_key]} is not allowed with the vectors of "
                    f"{config['preload_weight'][field]!r}, expected their length, {length}."
                )

    return check


def check_dataset(config: Any, dataset: Any) -> None:
    """Check that a model is built on a dataset.

    Raises:
        UsageError: it is given a loader, which RecBole's steps hand to the trainer.
    """
    if isinstance(dataset, AbstractDataLoader):
        kind, model = type(dataset).__name__, config["model"]
        raise UsageError(
            f"{model}(config, dataset): a {kind} is no dataset, expected that of its rows, as "
            f"{model}(config, train_data.dataset)."
        )


def check_reranked(config: Any, dataset: Any) -> None:
    """Check that GRU4RecCPR and SASRecCPR find as many items as they rerank.

    Raises:
        UsageError: there are too few; they take the best 100 of however many there are.
    """
    given = config["reranker_CAN_NUM"]
    if max(int(size) for size in str(given).split(",")) > dataset.item_num:
        raise UsageError(
            f"reranker_CAN_NUM: {given!r} is not allowed, expected at most {dataset.item_num}, the "
            "number of items."
        )
