"""Adam by the row gives the weights of torch's Adam, which walks over whole tables."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding
from recbole_midpg.training.row_wise_adam import RowWiseAdam

N_ROWS, N_COLUMNS, N_STEPS = 300, 4, 2000

Batch = tuple[Tensor, Tensor]


def gappy_batches(scale: float) -> Iterator[Batch]:
    """Rows that are touched in every step, after gaps of up to 1,998 steps, and never.

    The columns' gradients differ in size by six orders of magnitude.
    """
    generator = torch.Generator().manual_seed(3)
    chance = torch.logspace(0, -4, N_ROWS)
    columns = scale * torch.logspace(0, -6, N_COLUMNS)
    for step in range(N_STEPS):
        touched = torch.rand(N_ROWS, generator=generator) < chance
        if step == 0:
            touched[::2] = True
        if step == N_STEPS - 1:
            touched[::3] = True
        touched[-1] = False
        rows = touched.nonzero().squeeze(1)
        yield rows, torch.randn(len(rows), N_COLUMNS, generator=generator) * columns


def start_weight(dtype: torch.dtype = torch.float32) -> nn.Parameter:
    weight = torch.randn(N_ROWS, N_COLUMNS, generator=torch.Generator().manual_seed(1)) * 0.05
    return nn.Parameter(weight.to(dtype))


def train_dense(batches: Iterator[Batch], dtype: torch.dtype) -> Tensor:
    weight = start_weight(dtype)
    optimizer = torch.optim.Adam([weight])
    for rows, gradient in batches:
        weight.grad = torch.zeros_like(weight).index_add(0, rows, gradient.to(dtype))
        optimizer.step()
    return weight.detach().double()


def train_by_row(batches: Iterator[Batch], dtype: torch.dtype = torch.float32) -> Tensor:
    table = RowWiseEmbedding(start_weight(dtype))
    optimizer = RowWiseAdam([table.weight], [table])
    for rows, gradient in batches:
        optimizer.zero_grad()
        table(rows).backward(gradient.to(dtype))
        optimizer.step()
    return table.state_dict()["weight"].double()


def differences(ours: Tensor, theirs: Tensor) -> Tensor:
    """Relative differences; of weights near 0, relative to a hundredth."""
    return (ours - theirs).abs() / theirs.abs().clamp_min(0.01)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-8])
def test_weights_follow_adam_over_long_gaps(scale: float) -> None:
    by_row = train_by_row(gappy_batches(scale))
    dense = train_dense(gappy_batches(scale), torch.float32)
    exact = train_dense(gappy_batches(scale), torch.float64)
    rounding = differences(dense, exact).max()  # what float32 costs Adam itself
    assert differences(by_row, exact).max() <= max(1.1 * rounding, 1e-6)
    assert differences(by_row, dense).max() <= max(2.1 * rounding, 1e-6)
    assert rounding < 2e-5
    never_touched = start_weight().detach()[-1].double()
    assert torch.equal(by_row[-1], never_touched)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-8])
def test_catching_up_is_exact_beyond_the_rounding_of_float32(scale: float) -> None:
    by_row = train_by_row(gappy_batches(scale), torch.float64)
    exact = train_dense(gappy_batches(scale), torch.float64)
    assert differences(by_row, exact).max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=8), min_size=1, max_size=40),
    st.sampled_from([1e-9, 1e-7, 1e-4, 1.0]),
)
def test_any_sequence_of_rows(touches: list[list[int]], scale: float) -> None:
    weight = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)
    table = RowWiseEmbedding(nn.Parameter(weight.clone()))
    dense = nn.Embedding.from_pretrained(weight.clone(), freeze=False)
    ours = RowWiseAdam([table.weight], [table], lr=0.1)
    theirs = torch.optim.Adam(dense.parameters(), lr=0.1)
    for step, rows in enumerate(touches):
        ids = torch.tensor(rows)
        upstream = scale * torch.sin(torch.arange(2.0 * len(rows)) + step).reshape(-1, 2).double()
        for embedding, optimizer in ((table, ours), (dense, theirs)):
            optimizer.zero_grad()
            out = embedding(ids)
            out.backward(upstream)
            optimizer.step()
    torch.testing.assert_close(
        table.state_dict()["weight"], dense.weight.detach(), rtol=1e-5, atol=1e-7
    )


def test_rows_are_up_to_date_whenever_they_are_read() -> None:
    """In training, in evaluation, and in the state, after steps that touched other rows."""
    table, dense, ours, theirs = pair()
    step_both(table, dense, ours, theirs, [0, 1])
    for _ in range(30):
        step_both(table, dense, ours, theirs, [1])
    row = torch.tensor([0])
    torch.testing.assert_close(table(row), dense(row), rtol=1e-5, atol=1e-7)
    for _ in range(30):
        step_both(table, dense, ours, theirs, [1])
    with torch.no_grad():
        torch.testing.assert_close(table(row), dense(row), rtol=1e-5, atol=1e-7)


def pair() -> tuple[RowWiseEmbedding, nn.Embedding, RowWiseAdam, torch.optim.Adam]:
    torch.manual_seed(0)
    dense = nn.Embedding(4, 3)
    table = RowWiseEmbedding(nn.Parameter(dense.weight.detach().clone()))
    return (
        table,
        dense,
        RowWiseAdam([table.weight], [table]),
        torch.optim.Adam(dense.parameters()),
    )


def step_both(
    table: RowWiseEmbedding,
    dense: nn.Embedding,
    ours: torch.optim.Optimizer,
    theirs: torch.optim.Optimizer,
    rows: list[int],
    scale: float = 1.0,
) -> None:
    for embedding, optimizer in ((table, ours), (dense, theirs)):
        optimizer.zero_grad()
        (scale * embedding(torch.tensor(rows)).square().sum()).backward()
        optimizer.step()


def test_change_of_the_learning_rate_leaves_missed_steps_at_the_old_one() -> None:
    table, dense, ours, theirs = pair()
    step_both(table, dense, ours, theirs, [0, 1])
    for _ in range(5):
        step_both(table, dense, ours, theirs, [1])
    for optimizer in (ours, theirs):
        optimizer.param_groups[0]["lr"] = 0.05
    for _ in range(5):
        step_both(table, dense, ours, theirs, [1])
    torch.testing.assert_close(
        table.state_dict()["weight"], dense.weight.detach(), rtol=1e-5, atol=1e-7
    )


def test_weights_loaded_amid_training_are_not_moved_by_steps_missed_before() -> None:
    table, dense, ours, theirs = pair()
    step_both(table, dense, ours, theirs, [0, 1])
    step_both(table, dense, ours, theirs, [1])
    best = {"weight": torch.arange(12.0).reshape(4, 3)}
    table.load_state_dict(best)
    with torch.no_grad():
        assert torch.equal(table(torch.arange(4)), best["weight"])
    assert torch.equal(table.state_dict()["weight"], best["weight"])


class TestState:
    def test_goes_on_bit_for_bit(self) -> None:
        table, dense, ours, theirs = pair()
        for rows in ([0, 1], [1], [2, 1], [1]):
            step_both(table, dense, ours, theirs, rows)
        saved = copy.deepcopy((ours.state_dict(), table.state_dict()))
        other = RowWiseEmbedding(nn.Parameter(torch.zeros(4, 3)))
        resumed = RowWiseAdam([other.weight], [other])
        resumed.load_state_dict(saved[0])
        other.load_state_dict(saved[1])
        for rows in ([0], [3, 1], [1], [0, 2]):
            step_both(table, other, ours, resumed, rows)
        assert torch.equal(table.state_dict()["weight"], other.state_dict()["weight"])

    @pytest.mark.parametrize("dense_first", [True, False])
    def test_is_that_of_adam(self, dense_first: bool) -> None:
        """A run of either optimizer goes on with the other."""
        table, dense, ours, theirs = pair()
        for rows in ([0, 1], [1], [2, 1], [1]):
            step_both(table, dense, ours, theirs, rows)
        if dense_first:
            table.load_state_dict(dense.state_dict())
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        else:
            dense.load_state_dict(table.state_dict())
            theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
        for rows in ([0], [3, 1], [1], [0, 2]):
            step_both(table, dense, ours, theirs, rows)
        torch.testing.assert_close(
            table.state_dict()["weight"], dense.weight.detach(), rtol=1e-5, atol=1e-7
        )
        ours_state, theirs_state = ours.state_dict()["state"][0], theirs.state_dict()["state"][0]
        assert ours_state.keys() == theirs_state.keys()
        for key, value in theirs_state.items():
            torch.testing.assert_close(ours_state[key], value)

    def test_before_the_first_step(self) -> None:
        table, dense, ours, theirs = pair()
        ours.load_state_dict(theirs.state_dict())
        step_both(table, dense, ours, theirs, [0, 3])
        torch.testing.assert_close(table.state_dict()["weight"], dense.weight.detach())


def test_other_parameters_and_steps_without_a_lookup() -> None:
    """A table that a step does not use takes no step, as in torch's Adam."""
    torch.manual_seed(0)
    dense, linear = nn.Embedding(4, 3), nn.Linear(3, 1)
    table = RowWiseEmbedding(nn.Parameter(dense.weight.detach().clone()))
    own_linear = copy.deepcopy(linear)
    ours = RowWiseAdam([table.weight, *own_linear.parameters()], [table])
    theirs = torch.optim.Adam([dense.weight, *linear.parameters()])
    rows = torch.tensor([0, 2])
    for step in range(12):
        for embedding, layer, optimizer in ((table, own_linear, ours), (dense, linear, theirs)):
            optimizer.zero_grad()
            inputs = embedding(rows) if step % 3 else torch.ones(2, 3)
            layer(inputs).sum().backward()
            optimizer.step()
    torch.testing.assert_close(table.state_dict()["weight"], dense.weight.detach())
    torch.testing.assert_close(own_linear.weight, linear.weight)


def test_table_that_is_read_as_a_whole_is_updated_as_a_whole() -> None:
    """Where a model regularises the table itself, its gradient is dense."""
    table, dense, ours, theirs = pair()
    for _ in range(5):
        for embedding, optimizer in ((table, ours), (dense, theirs)):
            optimizer.zero_grad()
            loss = embedding(torch.tensor([1, 1])).square().sum() + embedding.weight.norm()
            loss.backward()
            optimizer.step()
    assert ours.row_wise_tables() == []
    torch.testing.assert_close(table.weight, dense.weight)


def test_lazy_rows_wait_and_miss_their_steps() -> None:
    """As torch's SparseAdam."""
    torch.manual_seed(0)
    sparse = nn.Embedding(4, 3, sparse=True)
    table = RowWiseEmbedding(nn.Parameter(sparse.weight.detach().clone()))
    ours = RowWiseAdam([table.weight], [table], catch_up=False)
    theirs = torch.optim.SparseAdam(sparse.parameters())
    for rows in ([0, 1], [1, 1], [2, 1], [1], [0, 3]):
        step_both(table, sparse, ours, theirs, rows)
    torch.testing.assert_close(table.state_dict()["weight"], sparse.weight.detach())


def test_gradient_scaler_unscales_the_rows() -> None:
    table, dense, ours, theirs = pair()
    scaler = (
        torch.amp.GradScaler("cpu", init_scale=1024.0) if hasattr(torch.amp, "GradScaler") else None
    )
    if scaler is None:
        pytest.skip("this torch has no gradient scaler for the CPU")
    for rows in ([0, 1], [1], [0, 2]):
        ours.zero_grad()
        scaler.scale(table(torch.tensor(rows)).square().sum()).backward()
        scaler.step(ours)
        scaler.update()
        theirs.zero_grad()
        dense(torch.tensor(rows)).square().sum().backward()
        theirs.step()
    torch.testing.assert_close(table.state_dict()["weight"], dense.weight.detach())


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"betas": (0.999, 0.9)}, "betas"),
        ({"betas": (0.0, 0.9)}, "betas"),
        ({"eps": 0.0}, "eps"),
    ],
)
def test_settings_without_a_closed_form_are_refused(keywords: dict[str, float], words: str) -> None:
    table = RowWiseEmbedding(nn.Parameter(torch.zeros(2, 2)))
    with pytest.raises(ValueError, match=words):
        RowWiseAdam([table.weight], [table], **keywords)  # type: ignore[arg-type]
