"""The squared lengths of looked-up embeddings: by hand, and the gradient of a row of a table."""

import torch
from torch import nn

from recbole_midpg.layers.looked_up import LookedUp
from recbole_midpg.layers.row_wise_embedding import make_row_wise


def tables():
    model = nn.ModuleDict({"plain": nn.Embedding(4, 2), "lists": nn.Embedding(3, 2)})
    with torch.no_grad():
        model["plain"].weight.copy_(torch.tensor([[1.0, 2], [3, 4], [5, 6], [7, 8]]))
        model["lists"].weight.copy_(torch.tensor([[9.0, 9], [1, 0], [0, 2]]))
    return model.double()


def test_each_lookup_counts_and_padding_does_not():
    model = tables()
    with LookedUp(model, ["lists"]).squared_lengths() as sums:
        model["plain"](torch.tensor([0, 1, 1]))
        model["lists"](torch.tensor([[1, 0], [2, 2], [0, 0]]))
    assert [value.item() for value in sums] == [5 + 25 + 25, 1 + 4 + 4]


def test_a_row_of_a_table_is_drawn_as_often_as_it_is_looked_up():
    model = tables()
    with LookedUp(model, ["lists"]).squared_lengths() as sums:
        model["plain"](torch.tensor([0, 1, 1]))
        model["lists"](torch.tensor([[1, 0], [2, 2], [0, 0]]))
    sum(sums).backward()
    assert model["plain"].weight.grad.tolist() == [[2, 4], [12, 16], [0, 0], [0, 0]]
    assert model["lists"].weight.grad.tolist() == [[0, 0], [2, 0], [0, 8]]


def test_a_weighted_lookup_counts_by_its_row():
    model = tables()
    weights = [torch.tensor([1.0, 0.5, 9, 9]), torch.tensor([9.0, 2, 0.25])]
    with LookedUp(model, ["lists"]).squared_lengths(weights) as sums:
        model["plain"](torch.tensor([0, 1, 1]))
        model["lists"](torch.tensor([[1, 0], [2, 2], [0, 0]]))
    assert [value.item() for value in sums] == [5 + 25, 2 * 1 + 2 * 4 / 4]


def test_lookups_are_counted_by_the_row():
    model = tables()
    watch = LookedUp(model, ["lists"])
    with watch.counts() as counts:
        for _ in range(2):
            model["plain"](torch.tensor([0, 1, 1]))
        model["lists"](torch.tensor([[1, 0], [2, 2], [0, 0]]))
    assert [of_table.tolist() for of_table in counts] == [[2, 4, 0, 0], [3, 1, 2]]
    assert not any(table._forward_hooks for table in model.values())


def test_rows_weighted_by_their_lookups_are_drawn_alike():
    model = tables()
    ids = torch.tensor([0, 1, 1, 1, 1, 3, 3])
    watch = LookedUp(model)
    with watch.counts() as counts:
        model["plain"](ids)
    with watch.squared_lengths([1 / of_table.clamp(min=1) for of_table in counts]) as sums:
        model["plain"](ids)
    sum(sums).backward()
    torch.testing.assert_close(
        model["plain"].weight.grad, torch.tensor([[2.0, 4], [6, 8], [0, 0], [14, 16]]).double()
    )


def test_by_the_row_the_gradient_is_the_same_and_as_sparse_as_the_lookup():
    dense, by_row = tables(), tables()
    ids = torch.tensor([3, 1, 1, 3, 1])
    for model in (dense, by_row):
        if model is by_row:
            for table in make_row_wise(model, ["plain", "lists"]):
                table.attach(lambda _: None, lambda: None)
        with LookedUp(model).squared_lengths() as sums:
            used = model["plain"](ids)
        (used.sin().sum() + 0.3 * sum(sums)).backward()
    sparse = by_row["plain"].weight.grad
    assert sparse._indices().tolist() == [[1, 3]]
    torch.testing.assert_close(sparse.to_dense(), dense["plain"].weight.grad, rtol=0, atol=1e-12)


def test_nothing_is_collected_afterwards():
    model = tables()
    with LookedUp(model).squared_lengths() as sums:
        pass
    model["plain"](torch.tensor([0]))
    assert not sums
    assert not any(table._forward_hooks for table in model.values())
