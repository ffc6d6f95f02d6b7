"""A small generated task on which scenarios oppose each other, and how well a model learns it."""

from __future__ import annotations

import functools
from typing import Any

import torch
from recbole.data.interaction import Interaction
from sklearn.metrics import roc_auc_score

from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.dnn import DNN
from tests.support.toy import LABEL, SCENARIO, ToyDataset, toy_model, train_step

N_FEATURES, N_TOKENS, N_SCENARIOS = 4, 8, 8
N_ROWS = 3000
NARROW = {"embedding_size": 8, "mlp_hidden_size": [4, 3], "activation": "tanh"}


@functools.cache
def opposing_scenarios() -> tuple[ToyDataset, Interaction]:
    """Rows whose label follows features with a sign that each scenario draws for each feature.

    A feature's token has a value, the same everywhere; a scenario turns some of the values round.
    Half of the rows are for training.
    """
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(N_FEATURES, N_TOKENS, generator=generator)
    signs = torch.randint(0, 2, (N_SCENARIOS, N_FEATURES), generator=generator) * 2.0 - 1
    tokens = torch.randint(1, N_TOKENS, (2 * N_ROWS, N_FEATURES), generator=generator)
    scenarios = torch.randint(1, N_SCENARIOS, (2 * N_ROWS,), generator=generator)
    terms = signs[scenarios] * values[torch.arange(N_FEATURES), tokens]
    chance = torch.sigmoid(2 * terms.sum(1))
    labels = (torch.rand(2 * N_ROWS, generator=generator) < chance).float()
    names = ["user_id", "item_id", "shop_id", "brand_id"][:N_FEATURES]
    columns = {name: tokens[:, i] for i, name in enumerate(names)}
    dataset = ToyDataset({**dict.fromkeys(names, N_TOKENS), SCENARIO: N_SCENARIOS})
    return dataset, Interaction({**columns, SCENARIO: scenarios, LABEL: labels})


def auc_after_training(model_class: type[ScenarioRecommender], **overrides: Any) -> float:
    """Train on one half of :func:`opposing_scenarios`; the other half's AUC, mean of three seeds.

    The network is narrow: too narrow for one set of weights to serve scenarios that oppose each
    other in as many epochs as are given.
    """
    return sum(_auc(model_class, seed, **overrides) for seed in range(3)) / 3


def _auc(model_class: type[ScenarioRecommender], seed: int, **overrides: Any) -> float:
    dataset, rows = opposing_scenarios()
    settings = {**NARROW, **overrides}
    model = toy_model(model_class, dataset, seed, **settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        for part in torch.randperm(N_ROWS, generator=generator).split(150):
            train_step(model, rows[part], optimizer)
    model.eval()
    with torch.no_grad():
        scores = model.predict(rows[N_ROWS:])
    return float(roc_auc_score(rows[N_ROWS:][LABEL], scores))


@functools.cache
def dnn_auc() -> float:
    """What the plain network reaches."""
    return auc_after_training(DNN)
