"""Functions of a batch whose rows lie in three processes, one of them without a row."""

import pytest
import torch

from recbole_midpg.layers.across_processes import (
    SharedBatch,
    gather_rows,
    is_shared,
    of_first_process,
    share_of_batch,
    shared,
    sum_over_processes,
    whole_batch,
)
from tests.support.forked import in_group

COUNTS = (3, 0, 2)
GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(5, 4, generator=GENERATOR, dtype=torch.float64)
WEIGHTS = torch.randn(5, 4, generator=GENERATOR, dtype=torch.float64)


def own(tensor, rank):
    return tensor.split(COUNTS)[rank].clone()


def test_the_share_of_a_batch():
    batch = SharedBatch(COUNTS, 2)
    assert (batch.rows, batch.share) == (5, 0.4)
    assert (is_shared(), share_of_batch()) == (False, 1.0)
    with shared(batch):
        assert (is_shared(), share_of_batch()) == (True, 0.4)
        with shared(SharedBatch((1, 3), 0)):
            assert share_of_batch() == 0.25
        assert share_of_batch() == 0.4
    assert not is_shared()
    with pytest.raises(ZeroDivisionError), shared(batch):
        _ = 1 / 0
    assert not is_shared()


def test_where_all_rows_are_here_nothing_is_done():
    other = torch.zeros(5, 1)
    assert sum_over_processes(ROWS) is ROWS
    assert of_first_process(ROWS) is ROWS
    assert all(
        mine is given for mine, given in zip(whole_batch(ROWS, other), (ROWS, other), strict=True)
    )


def gathered(rank, _):
    return gather_rows(own(ROWS, rank), COUNTS)


def test_rows_are_gathered_by_rank():
    for parts in in_group(3, gathered, None):
        assert [len(part) for part in parts] == list(COUNTS)
        assert torch.equal(torch.cat(parts), ROWS)


def loss_of_rows(rows, weights):
    """A loss in which every row depends on all others: no part of it is a mean over rows."""
    total = rows.sum(0)
    pairs = rows @ rows.T
    return (total.tanh() * weights[0]).sum() + (pairs * (weights @ weights.T)).sin().sum()


def shared_loss(rank, how):
    rows = own(ROWS, rank).requires_grad_()
    batch = SharedBatch(COUNTS, rank)
    with shared(batch):
        if how == "gathered":
            whole, weights = whole_batch(rows, own(WEIGHTS, rank))
            loss = loss_of_rows(whole, weights)
        else:
            total = sum_over_processes((rows.square() * own(WEIGHTS, rank)).sum(0))
            loss = total.sin().prod()
        (loss * batch.share).backward()
    return loss.detach(), rows.grad


@pytest.mark.parametrize("how", ["gathered", "summed"])
def test_the_gradient_is_that_of_the_whole_batch(how):
    rows = ROWS.clone().requires_grad_()
    if how == "gathered":
        expected = loss_of_rows(rows, WEIGHTS)
    else:
        expected = (rows.square() * WEIGHTS).sum(0).sin().prod()
    expected.backward()
    results = in_group(3, shared_loss, how)
    for loss, _ in results:
        torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(torch.cat([gradient for _, gradient in results]), rows.grad)


def parts_of_whole(rank, _):
    with shared(SharedBatch(COUNTS, rank)):
        return whole_batch(torch.arange(5).unsqueeze(1).split(COUNTS)[rank])


def test_tokens_are_gathered_too():
    for (tokens,) in in_group(3, parts_of_whole, None):
        assert tokens.squeeze(1).tolist() == [0, 1, 2, 3, 4]


def drawn(rank, _):
    torch.manual_seed(rank)
    with shared(SharedBatch(COUNTS, rank)):
        return of_first_process(torch.randperm(50))


def test_all_have_what_rank_0_has_drawn():
    torch.manual_seed(0)
    expected = torch.randperm(50)
    assert all(torch.equal(found, expected) for found in in_group(3, drawn, None))
