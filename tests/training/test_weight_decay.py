"""Decoupled decay: AdamW where the optimizer is Adam, and the learning rate of the step."""

import math

import pytest
import torch
from torch import nn

from recbole_midpg.layers.row_wise_embedding import make_row_wise
from recbole_midpg.training.adam import Adam
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from recbole_midpg.training.weight_decay import decay_weights

DECAY, RATE = 0.3, 0.02


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 3)
        self.layer = nn.Linear(3, 1)
        self.idle = nn.Linear(2, 2)

    def forward(self, ids):
        return self.layer(self.table(ids))


def row_wise(model, **how):
    return RowWiseAdam(model.parameters(), make_row_wise(model, ["table"]), RATE, **how)


OPTIMIZERS = {
    "adam": lambda model: torch.optim.Adam(model.parameters(), RATE),
    "ours": lambda model: Adam(model.parameters(), RATE),
    "capturable": lambda model: Adam(model.parameters(), RATE, capturable=True),
    "by the row": row_wise,
    "by the row, capturable": lambda model: row_wise(model, capturable=True),
}


def steps(model, optimizer, count=12):
    for number in range(count):
        if number == count // 2:
            optimizer.param_groups[0]["lr"] = RATE / 4
            if len(optimizer.param_groups) > 1:
                optimizer.param_groups[1]["lr"] = RATE / 4
        optimizer.zero_grad()
        ids = torch.arange(6) * (number + 1) % 50
        (model(ids) - 1).square().mean().backward()
        optimizer.step()
        if isinstance(optimizer, Adam):
            optimizer.between_steps()
    return model.state_dict()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_adam_it_is_adamw_of_all_but_the_exempt(name):
    own, stock = Small().double(), Small().double()
    optimizer = OPTIMIZERS[name](own)
    decay_weights(optimizer, DECAY, exempt=[own.table.weight])
    groups = [
        {"params": [stock.table.weight], "weight_decay": 0.0},
        {"params": [*stock.layer.parameters(), *stock.idle.parameters()]},
    ]
    expected = steps(stock, torch.optim.AdamW(groups, RATE, weight_decay=DECAY))
    found = steps(own, optimizer)
    # Capturable, the rate is a tensor of float32; by the row, sums are expanded.
    tolerance = 1e-7 if "capturable" in name or "row" in name else 1e-15
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    before = Small().double().state_dict()
    assert torch.equal(found["idle.weight"], before["idle.weight"])  # it never has a gradient
    assert not torch.equal(found["layer.weight"], before["layer.weight"])


def test_a_step_by_hand():
    weight, bias = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight, bias], 0.1)
    decay_weights(optimizer, 0.5, exempt=[bias])
    (3 * weight + 3 * bias).backward()
    optimizer.step()
    assert weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.3)
    assert bias.item() == pytest.approx(2 - 0.3)


@pytest.mark.skipif(
    not hasattr(torch.amp, "GradScaler"), reason="torch before 2.3 has none on a CPU"
)
def test_a_step_that_a_scaler_leaves_out_decays_nothing():
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight], 0.1)
    decay_weights(optimizer, 0.5)
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    scaler.scale((math.inf * weight).sum()).backward()
    scaler.step(optimizer)
    assert weight.item() == 2.0


def test_the_decay_outlives_a_loaded_state():
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight], 0.1)
    decay_weights(optimizer, 0.5)
    optimizer.load_state_dict(optimizer.state_dict())
    (0 * weight).sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(2 * 0.95)
