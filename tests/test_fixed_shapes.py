"""The check of fixed shapes notices all that it is there for."""

import pytest
import torch
from recbole.data.interaction import Interaction
from torch import nn

from tests.support.fixed_shapes import assert_fixed_shapes


class Computing(nn.Module):
    """A model whose loss and prediction are some function of a table and of ids."""

    def __init__(self, function):
        super().__init__()
        self.table = nn.Parameter(torch.ones(5, 4))
        self.function = function

    def predict(self, batch):
        return self.function(self.table, batch["ids"])

    def calculate_loss(self, batch):
        return self.predict(batch).sum()


def check(function):
    assert_fixed_shapes(Computing(function), Interaction({"ids": torch.tensor([1, 2, 0, 3, 1])}))


@pytest.mark.parametrize(
    "function",
    [
        lambda table, ids: table[ids],
        lambda table, ids: nn.functional.embedding(ids, table),
        lambda table, ids: table.index_fill(0, ids, 2.0),
        lambda table, ids: torch.zeros_like(table).index_add(0, ids, table),
        lambda table, ids: table * (ids > 0).unsqueeze(1) * torch.full((), 2.0, device=ids.device),
        lambda table, ids: table[torch.randperm(5, device=ids.device)],
    ],
)
def test_what_can_be_captured_passes(function):
    check(function)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda table, ids: table * int(ids.max()), "item"),
        (lambda table, ids: table * sum(ids.tolist()), "item|Cannot copy"),
        (lambda table, ids: table if (ids > 0).any() else -table, "item"),
        (lambda table, ids: table * float(table.sum()) if table.is_cuda else table, "item"),
        (lambda table, ids: table[torch.unique(ids)], "unique"),
        (lambda table, ids: table[ids > 0], "nonzero"),
        (lambda table, ids: table[(ids > 0).nonzero()], "nonzero"),
        (lambda table, ids: table.repeat_interleave(ids, 0), "repeat_interleave"),
        (lambda table, ids: table * torch.bincount(ids, minlength=5).unsqueeze(1), "bincount"),
        (lambda table, ids: table * table.new_tensor([1.0, 2, 3, 4]), "new_tensor copies"),
        (lambda table, ids: table * torch.tensor([2.0], device=ids.device), "tensor copies"),
        (lambda table, ids: table * torch.FloatTensor([2.0]).to(ids.device), "on the cpu"),
        (lambda table, ids: table + torch.zeros(4), "on the cpu"),
        (lambda table, ids: table[:, [0, 2]], r"the index \[0, 2\] is copied"),
        (lambda table, ids: torch.zeros_like(table).index_put((ids,), table), "waits for a GPU"),
    ],
)
def test_what_cannot_is_noticed(function, problem):
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError), match=problem):
        check(function)
