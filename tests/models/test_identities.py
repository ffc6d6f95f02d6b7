"""Models that are other models at certain settings or weights, with the same embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_midpg.models.adaptdhm import AdaptDHM
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.star import STAR
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_model

N_SCENARIOS = 4
BATCHES = [toy_batch(30, scenarios=[0, 1, 2, 3, 1]), toy_batch(1), toy_batch(0)]


def new_model(model_class: type, **settings: Any) -> Any:
    """A model in double precision, none of whose parameters is at a special value."""
    return scrambled(toy_model(model_class, **settings)).double()


def dnn_of(maps: Iterable[tuple[Tensor, Tensor]]) -> Any:
    """A DNN of given layers: a weight ``(N, M)`` and a bias ``(M,)`` each."""
    model = toy_model(DNN).double()
    with torch.no_grad():
        for linear, (weight, bias) in zip(model.backbone.layers[::3], maps, strict=True):
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias)
    return model


def adaptdhm_of_one_cluster_is_dnn(batch):
    model = new_model(AdaptDHM, clusters=1)
    merged = (
        (
            layer.shared_weight * (1 + layer.specific_weight[0]),
            layer.shared_bias + layer.specific_bias[0],
        )
        for layer in model.backbone.layers
    )
    return model, dnn_of(merged)


def adaptdhm_whose_clusters_are_the_scenarios_is_star(batch):
    model = new_model(AdaptDHM, clusters=N_SCENARIOS)
    model.routing.forward = lambda inputs: batch[SCENARIO]
    star = new_model(STAR, partitioned_norm=False, auxiliary_network=False)
    star.backbone = model.backbone
    return model, star


IDENTITIES = [
    adaptdhm_of_one_cluster_is_dnn,
    adaptdhm_whose_clusters_are_the_scenarios_is_star,
]


@pytest.mark.parametrize("batch", BATCHES, ids=len)
@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_logits_and_gradients_are_the_same(identity, batch):
    """The gradient of the embeddings is of all that lies between them and the loss."""
    model, other = identity(batch)
    other.token_embedding_table = model.token_embedding_table
    torch.testing.assert_close(model(batch), other(batch), rtol=0, atol=1e-12)
    table = model.token_embedding_table.embedding.weight
    gradient, expected = (
        torch.autograd.grad(side.calculate_loss(batch), table)[0] for side in (model, other)
    )
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
