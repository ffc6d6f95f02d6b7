import pytest
import torch
from torch import distributed, nn

from recbole_midpg.training.gradient_exchange import GradientExchange, align
from tests.support.forked import in_group

SIZES = [(6, 3), (2,), (6, 3), (4,), ()]


def parameters():
    return [nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in SIZES]


def rows_of(rank):
    """Which rows of a table a process has looked up: rank 1 none."""
    return [[4, 1, 1], [], [1, 5]][rank]


def gradients_of(rank):
    """A table's sparse gradient, dense ones of all and of some, one of nobody, and a scalar's."""
    generator = torch.Generator().manual_seed(rank)

    def draw(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    rows = torch.tensor([rows_of(rank)], dtype=torch.int64)
    sparse = torch.sparse_coo_tensor(rows, draw(rows.shape[1], 3), (6, 3))
    return [sparse if rank != 1 else None, draw(2), None, draw(4) if rank == 1 else None, draw()]


def exchanged(rank, _):
    own = parameters()
    for parameter, gradient in zip(own, gradients_of(rank), strict=True):
        parameter.grad = gradient
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    GradientExchange([*own, frozen], None)([3, 0, 2])
    assert frozen.grad is None
    return [parameter.grad for parameter in own]


def test_every_process_has_the_sum():
    expected = [torch.zeros(size, dtype=torch.float64) for size in SIZES]
    for rank in range(3):
        for place, gradient in enumerate(gradients_of(rank)):
            if gradient is not None:
                expected[place] += gradient.to_dense()
    results = in_group(3, exchanged, None)
    for found in results:
        table, *others = found
        assert table.is_sparse
        assert table.is_coalesced()
        assert table.indices().tolist() == [[1, 4, 5]]  # and nothing of the other rows
        torch.testing.assert_close(table.to_dense(), expected[0])
        assert others[1] is None  # nobody has one, so no step is taken
        for place in (0, 2, 3):
            torch.testing.assert_close(others[place], expected[place + 1])
        for mine, first in zip(found, results[0], strict=True):  # to the last bit
            assert mine is first is None or torch.equal(mine.to_dense(), first.to_dense())


COUNTS = [2, 1, 3]  # rows of a batch, each of which looks up two rows of a table


def exchanged_repeated(rank, counts):
    table, bias = nn.Parameter(torch.zeros(6, 2)), nn.Parameter(torch.zeros(2))
    named = torch.arange(2 * counts[rank]).fmod(4).view(1, -1)
    values = (torch.arange(4.0 * counts[rank]).view(-1, 2) + 1) * 10**rank
    table.grad = torch.sparse_coo_tensor(named, values, (6, 2))
    if counts[rank]:
        bias.grad = torch.full((2,), float(rank))
    asked = []
    exchange = GradientExchange([table, bias], None, rows_repeat=True)
    with pytest.MonkeyPatch.context() as patch:
        all_gather = distributed.all_gather
        patch.setattr(
            distributed, "all_gather", lambda *a, **k: asked.append(a) or all_gather(*a, **k)
        )
        exchange(counts)
    return table.grad.to_dense(), bias.grad, len(asked)


@pytest.mark.parametrize(("counts", "exchanges"), [(COUNTS, 1), ([2, 0, 3], 2)])
def test_where_rows_repeat_nobody_is_asked(counts, exchanges):
    expected = torch.zeros(6, 2)
    for rank, count in enumerate(counts):
        for place in range(2 * count):
            expected[place % 4] += torch.tensor([2.0 * place + 1, 2.0 * place + 2]) * 10**rank
    bias = float(sum(rank for rank, count in enumerate(counts) if count))
    for table, found_bias, n_exchanges in in_group(3, exchanged_repeated, counts):
        torch.testing.assert_close(table, expected)
        assert found_bias.tolist() == [bias, bias]
        assert n_exchanges == exchanges


def exchanged_large(rank, rows):
    table = nn.Parameter(torch.empty(1, 1).expand(rows, 4))
    numbers = torch.tensor([[rank, rows - 1]])
    table.grad = torch.sparse_coo_tensor(numbers, torch.ones(2, 4), (rows, 4))
    GradientExchange([table], None)([1, 1])
    return table.grad.indices().tolist(), table.grad.values().tolist()


def test_nothing_of_a_tables_size_travels():
    rows = 10**17  # more than any machine's addresses reach, whatever it promises to hold
    with pytest.raises(RuntimeError):
        torch.empty(rows, 4)
    ones, twos = [1.0] * 4, [2.0] * 4
    for indices, values in in_group(2, exchanged_large, rows):
        assert indices == [[0, 1, rows - 1]]
        assert values == [ones, ones, twos]


def aligned(rank, _):
    values = [torch.full((3, 2), float(rank)), torch.arange(6.0).view(2, 3).T + rank]
    align(values)
    return values


def test_all_are_given_the_values_of_rank_0():
    for plain, transposed in in_group(3, aligned, None):
        assert torch.equal(plain, torch.zeros(3, 2))
        assert torch.equal(transposed, torch.arange(6.0).view(2, 3).T)
