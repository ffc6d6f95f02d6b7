"""PPNet as its formula reads, one row at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.baselines import gated_network


def ppnet_logits(model, inputs: Tensor) -> Tensor:
    """PPNet's logits."""
    return torch.stack([gated_network(model, row, row[model.prior_columns]) for row in inputs])
