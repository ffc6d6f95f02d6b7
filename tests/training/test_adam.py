"""torch's Adam with its learning rate on the device, and states that any Adam goes on from."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from recbole_midpg.training.adam import Adam


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    optimizer.zero_grad()
    inputs = torch.sin(torch.arange(12.0) + number).view(4, 3)
    model(inputs).square().sum().backward()
    optimizer.step()


def steps_of_both(ours: tuple[Any, Any], theirs: tuple[Any, Any], numbers: range) -> None:
    for number in numbers:
        step(*ours, number)
        ours[1].between_steps()
        step(*theirs, number)
    torch.testing.assert_close(ours[0].state_dict(), theirs[0].state_dict())


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_torchs_at_any_rate(capturable: bool, weight_decay: float) -> None:
    own, stock = linear(), linear()
    ours = Adam(own.parameters(), 0.01, weight_decay=weight_decay, capturable=capturable)
    theirs = torch.optim.Adam(stock.parameters(), 0.01, weight_decay=weight_decay)
    steps_of_both((own, ours), (stock, theirs), range(5))
    for optimizer in (ours, theirs):
        optimizer.param_groups[0]["lr"] = 0.1
    steps_of_both((own, ours), (stock, theirs), range(5, 10))
    decays = [
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in (ours, theirs)
    ]
    for number in range(10, 14):
        steps_of_both((own, ours), (stock, theirs), range(number, number + 1))
        for decay in decays:
            decay.step()
    assert float(ours.param_groups[0]["lr"]) == pytest.approx(0.1 * 0.5**4)


def test_the_rate_stays_where_a_graph_reads_it() -> None:
    optimizer = Adam(linear().parameters(), 0.01, capturable=True)
    rate = optimizer.param_groups[0]["lr"]
    assert rate.shape == () and rate.dtype == torch.float32
    optimizer.param_groups[0]["lr"] = 0.5
    assert optimizer.param_groups[0]["lr"] is rate and rate == 0.5
    optimizer.load_state_dict(Adam(linear().parameters(), 0.25).state_dict())
    assert optimizer.param_groups[0]["lr"] is rate and rate == 0.25
    optimizer.param_groups[0]["lr"] = 1.0
    assert rate == 1.0


@pytest.mark.parametrize("from_capturable", [False, True, None])
@pytest.mark.parametrize("to_capturable", [False, True, None])
def test_each_goes_on_from_the_state_of_each(
    from_capturable: bool | None, to_capturable: bool | None
) -> None:
    """``None`` is torch's own."""

    def make(capturable: bool | None) -> tuple[nn.Linear, torch.optim.Optimizer]:
        model = linear()
        if capturable is None:
            return model, torch.optim.Adam(model.parameters(), 0.01)
        return model, Adam(model.parameters(), 0.01, capturable=capturable)

    first, whole = make(from_capturable), make(None)
    for number in range(3):
        step(*first, number)
    second = make(to_capturable)
    step(*second, 7)  # what it had is forgotten
    second[0].load_state_dict(copy.deepcopy(first[0].state_dict()))
    second[1].load_state_dict(copy.deepcopy(first[1].state_dict()))
    for number in range(3, 6):
        step(*second, number)
    for number in range(6):
        step(*whole, number)
    torch.testing.assert_close(second[0].state_dict(), whole[0].state_dict())


@pytest.mark.parametrize("capturable", [False, True])
def test_a_state_is_loaded_into_the_tensors_that_are_there(capturable: bool) -> None:
    """And the state of an optimizer that has not begun is the beginning."""
    model, other = linear(), linear()
    optimizer = Adam(model.parameters(), capturable=capturable)
    step(model, optimizer, 0)
    before = {name: dict(state) for name, state in optimizer.state.items()}
    trained = Adam(other.parameters())
    step(other, trained, 1)
    step(other, trained, 2)
    for source in (trained, Adam(linear().parameters())):
        optimizer.load_state_dict(source.state_dict())
        for parameter, state in before.items():
            assert optimizer.state[parameter].keys() == state.keys()
            assert all(optimizer.state[parameter][name] is state[name] for name in state)
        for ours, theirs in zip(before.values(), trained.state.values(), strict=True):
            for name, value in theirs.items():
                expected = value if source is trained else torch.zeros_like(value)
                assert torch.equal(ours[name], expected)


def test_the_rate_in_a_state_is_a_number() -> None:
    state = Adam(linear().parameters(), 0.5, capturable=True).state_dict()
    assert state["param_groups"][0]["lr"] == 0.5
    assert isinstance(state["param_groups"][0]["lr"], float)


def test_parameters_on_several_devices_cannot_be_captured() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, device="meta"))]
    sentence = "parameters on cpu, meta are not allowed with capturable, expected one"
    with pytest.raises(ValueError, match=sentence):
        Adam(parameters, capturable=True)
    Adam(parameters)
