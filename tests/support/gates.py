"""What holds for every model with PEPNet's gates."""

from __future__ import annotations

from typing import Any

import torch

from recbole_midpg.layers.gates import GateUnits
from tests.support.toy import toy_batch


def assert_gates_read_a_copy(model: Any, *units: GateUnits) -> None:
    """Embeddings learn as if gates had read a constant copy of what they let no gradient into.

    Args:
        model: in double precision.
        units: its gate units, in the order in which it runs them.
    """
    batch = toy_batch(30)
    table = model.token_embedding_table.embedding.weight
    (gradient,) = torch.autograd.grad(model.calculate_loss(batch), table)
    copies: list[torch.Tensor] = []
    watches = [
        unit.register_forward_pre_hook(lambda _unit, given: copies.append(given[1].detach()))
        for unit in units
    ]
    model(batch)
    for watch in watches:
        watch.remove()
    for unit, copy in zip(units, copies, strict=True):
        unit.register_forward_pre_hook(lambda _unit, given, copy=copy: (given[0], copy.clone()))
    (as_constant,) = torch.autograd.grad(model.calculate_loss(batch), table)
    torch.testing.assert_close(gradient, as_constant, rtol=0, atol=1e-14)


def assert_gates_know_the_scenario(model: Any) -> None:
    """The scenario decides, also where the network's first layer does not read its embedding.

    Args:
        model: in double precision, none of its parameters at a special value.
    """
    with torch.no_grad():
        model.backbone.layers[0].weight[:, -model.scenario_size :] = 0
    one, other = toy_batch(20, scenarios=[1]), toy_batch(20, scenarios=[2])
    assert one["user_id"].equal(other["user_id"])
    assert ((model(one) - model(other)).abs() > 1e-6).all()
