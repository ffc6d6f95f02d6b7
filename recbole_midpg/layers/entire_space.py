"""Probabilities of one event given another, learned on rows in which the other did not happen."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from recbole_midpg.layers.mlp import mean_or_zero

_LOG_HALF = -math.log(2)


def joint_cross_entropy(first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    r"""Mean binary cross-entropy of the product of two probabilities, zero for an empty batch.

    .. math:: p_i = \sigma(a_i)\,\sigma(b_i), \qquad
        -\frac{1}{B}\sum_i y_i \log p_i + (1 - y_i)\log(1 - p_i)

    Above one half :math:`1 - p` is computed as :math:`\sigma(-a) + \sigma(a)\,\sigma(-b)`, all from
    logarithms, so that neither a very small nor a very large probability rounds to 0 or 1.

    Source: the second term of the loss of Ma et al., "Entire Space Multi-Task Model", SIGIR 2018,
    equation (3).

    Args:
        first: logits :math:`a`, ``(B,)``.
        second: logits :math:`b`, ``(B,)``.
        labels: ``(B,)``, 1 where both events happened.

    Returns:
        A scalar.
    """
    log_first = logsigmoid(first)
    log_both = log_first + logsigmoid(second)
    log_not_both = torch.where(
        log_both < _LOG_HALF,
        torch.log1p(-log_both.clamp(max=_LOG_HALF).exp()),
        logsigmoid(-first).logaddexp(log_first + logsigmoid(-second)),
    )
    return -mean_or_zero(labels * log_both + (1 - labels) * log_not_both)
