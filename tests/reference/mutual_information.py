"""The estimators of mutual information as their formulas read: one pair at a time, plain floats.

``T`` is a function of one scenario embedding and one row of matrices that returns a score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor], Tensor]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _log_sigmoid(score: float) -> float:
    return -math.log(1 + math.exp(-score))


@torch.no_grad()
def shuffled_pairs_loss(
    T: Score,
    estimator: str,
    scenario: Tensor,
    matrices: Tensor,
    scenario_tokens: Tensor,
    shuffled: Sequence[int],
    mask_same_scenario: bool,
) -> float:
    """The loss of jsd, kl or dv for a given shuffle; zero where it has nothing to tell apart."""
    ids = [tuple(row.tolist()) for row in scenario_tokens]
    rows = range(len(ids))
    matched = [float(T(scenario[i], matrices[i])) for i in rows]
    mismatched = [
        float(T(scenario[shuffled[i]], matrices[i]))
        for i in rows
        if not (mask_same_scenario and ids[i] == ids[shuffled[i]])
    ]
    if len(set(ids)) < 2 or not mismatched:
        return 0.0
    if estimator == "jsd":
        bound = _mean([_log_sigmoid(t) for t in matched])
        bound += _mean([_log_sigmoid(-t) for t in mismatched])  # 1 - sigmoid(t) = sigmoid(-t)
    elif estimator == "kl":
        bound = _mean(matched) - _mean([math.exp(t - 1) for t in mismatched])
    else:
        bound = _mean(matched) - math.log(_mean([math.exp(t) for t in mismatched]))
    return -bound


@torch.no_grad()
def infonce_loss(
    T: Score, scenario: Tensor, matrices: Tensor, scenario_tokens: Tensor, mask_same_scenario: bool
) -> float:
    """InfoNCE over all ``B x B`` pairs of the batch; zero where it holds one scenario only."""
    ids = [tuple(row.tolist()) for row in scenario_tokens]
    rows = range(len(ids))
    if len(set(ids)) < 2:
        return 0.0
    terms = []
    for i in rows:
        total = 0.0
        for j in rows:
            if j == i or not (mask_same_scenario and ids[i] == ids[j]):
                total += math.exp(float(T(scenario[j], matrices[i])))
        terms.append(math.log(total) - float(T(scenario[i], matrices[i])))
    return _mean(terms)
