"""Row-wise tables look up what nn.Embedding does, and tell who leaves their rows behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding, make_row_wise, tables_of


class Told:
    """Notes what a table tells its optimizer."""

    def __init__(self, table: RowWiseEmbedding) -> None:
        self.rows: list[list[int]] = []
        self.times_all = 0
        table.attach(self.rows_needed, self.all_needed)

    def rows_needed(self, rows: Tensor) -> None:
        self.rows.append(rows.tolist())

    def all_needed(self) -> None:
        self.times_all += 1


@pytest.fixture
def table() -> RowWiseEmbedding:
    torch.manual_seed(0)
    return RowWiseEmbedding(nn.Parameter(torch.randn(6, 2)))


@pytest.mark.parametrize("shape", [(4,), (2, 3), (0,), (0, 3)])
@pytest.mark.parametrize("attached", [False, True])
def test_values_and_gradient_are_those_of_an_embedding(
    table: RowWiseEmbedding, shape: tuple[int, ...], attached: bool
) -> None:
    plain = nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
    if attached:
        Told(table)
    ids = torch.randint(0, 6, shape, generator=torch.Generator().manual_seed(1))
    upstream = torch.randn(*shape, 2)
    for embedding in (table, plain):
        embedding(ids).backward(upstream)
    assert torch.equal(table(ids), plain(ids))
    assert table.weight.grad is not None and plain.weight.grad is not None
    assert table.weight.grad.is_sparse == attached
    torch.testing.assert_close(table.weight.grad.to_dense(), plain.weight.grad)


def test_gradient_names_each_row_of_the_batch_once(table: RowWiseEmbedding) -> None:
    Told(table)
    table(torch.tensor([[5, 2], [2, 5], [0, 2]])).sum().backward()
    gradient = table.weight.grad
    assert gradient is not None
    assert gradient._indices().tolist() == [[0, 2, 5]]
    assert gradient._values().tolist() == [[1, 1], [3, 3], [2, 2]]


def test_two_lookups_add_their_gradients(table: RowWiseEmbedding) -> None:
    Told(table)
    (table(torch.tensor([1, 2])).sum() + 2 * table(torch.tensor([2, 3])).sum()).backward()
    assert table.weight.grad is not None
    assert table.weight.grad.to_dense()[:, 0].tolist() == [0, 1, 3, 2, 0, 0]


def test_optimizer_hears_of_rows_in_training_and_of_all_in_evaluation(
    table: RowWiseEmbedding,
) -> None:
    told = Told(table)
    table(torch.tensor([4, 1, 4]))
    assert told.rows == [[1, 4]] and told.times_all == 0
    with torch.no_grad():
        table(torch.tensor([3]))
    assert told.rows == [[1, 4]] and told.times_all == 1


def test_optimizer_hears_before_the_state_is_read_or_replaced(table: RowWiseEmbedding) -> None:
    model = nn.Sequential(table)
    told = Told(table)
    state = model.state_dict()
    assert told.times_all == 1
    model.load_state_dict(state)
    assert told.times_all == 2


def test_detached_table_tells_nobody_and_has_dense_gradients(table: RowWiseEmbedding) -> None:
    told = Told(table)
    table.detach()
    table(torch.tensor([1])).sum().backward()
    table.state_dict()
    assert told.rows == [] and told.times_all == 0
    assert table.weight.grad is not None and not table.weight.grad.is_sparse


class TestTablesOf:
    def test_leaves_out_what_a_row_alone_does_not_decide(self) -> None:
        model = nn.ModuleDict(
            {
                "plain": nn.Embedding(4, 2),
                "padded": nn.Embedding(4, 2, padding_idx=0),
                "limited": nn.Embedding(4, 2, max_norm=1.0),
                "scaled": nn.Embedding(4, 2, scale_grad_by_freq=True),
                "frozen": nn.Embedding.from_pretrained(torch.zeros(4, 2)),
                "tied": nn.Embedding(4, 2),
                "linear": nn.Linear(2, 4, bias=False),
            }
        )
        model["linear"].weight = model["tied"].weight
        assert tables_of(model) == ["plain"]

    def test_size_counts_rows(self) -> None:
        model = nn.ModuleList([nn.Embedding(4, 2), nn.Embedding(5, 1)])
        assert tables_of(model, min_rows=5) == ["1"]
        assert tables_of(model, min_rows=4) == ["0", "1"]


def test_make_row_wise_keeps_parameters_and_names() -> None:
    model = nn.Sequential(nn.ModuleList([nn.Embedding(4, 2)]), nn.Embedding(3, 2))
    before = dict(model.named_parameters())
    tables = make_row_wise(model, ["0.0", "1"])
    after = dict(model.named_parameters())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    assert tables == [model[0][0], model[1]]
    assert all(isinstance(table, RowWiseEmbedding) for table in tables)
