"""The sizes of mixtures of experts under towers of scenarios, as settings make them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any


def mixture_parameters(settings: Mapping[str, Any], input_size: int, n_scenarios: int) -> int:
    """Parameters of MMoE without embeddings, with hidden layers of 8, 6 and 4.

    Args:
        settings: ``experts``, ``expert_layers``, and ``expert_gate_hidden_size`` with one layer.
        input_size: ``d_0``.
        n_scenarios: ``S``, token 0 included.
    """
    n, depth = settings.get("experts", 4), settings.get("expert_layers", 2)
    layers = [(fan_in + 1) * m for fan_in, m in pairwise([input_size, 8, 6, 4, 1])]
    gate = input_size * n
    if "expert_gate_hidden_size" in settings:
        (hidden,) = settings["expert_gate_hidden_size"]
        gate = (input_size + 1) * hidden + hidden * n
    return n * sum(layers[:depth]) + n_scenarios * (gate + sum(layers[depth:]))
