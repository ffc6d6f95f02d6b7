"""Adam by the row gives the weights of torch's Adam, which walks over whole tables."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from tests.support.recorded_operations import RecordedOperations

N_ROWS, N_COLUMNS, N_STEPS = 300, 4, 2000
# As exactly as the rate of a capturable step, which is a float32.
RATE = float(torch.tensor(0.001))

Batch = tuple[Tensor, Tensor]
both_ways = pytest.mark.parametrize("capturable", [False, True], ids=["host", "capturable"])


def gappy_batches(scale: float, n_steps: int = N_STEPS) -> Iterator[Batch]:
    """Rows that are touched in every step, after gaps of up to 1,998 steps, and never.

    The columns' gradients differ in size by six orders of magnitude.
    """
    generator = torch.Generator().manual_seed(3)
    chance = torch.logspace(0, -4, N_ROWS)
    columns = scale * torch.logspace(0, -6, N_COLUMNS)
    for step in range(n_steps):
        touched = torch.rand(N_ROWS, generator=generator) < chance
        if step == 0:
            touched[::2] = True
        if step == n_steps - 1:
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-8])
def test_catching_up_is_exact_beyond_the_rounding_of_float32(scale: float) -> None:
    by_row = train_by_row(gappy_batches(scale), torch.float64)
    exact = train_dense(gappy_batches(scale), torch.float64)
    assert differences(by_row, exact).max() < 1e-6


@both_ways
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=8), min_size=1, max_size=40),
    st.sampled_from([1e-9, 1e-7, 1e-4, 1.0]),
)
def test_any_sequence_of_rows(capturable: bool, touches: list[list[int]], scale: float) -> None:
    weight = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)
    table = RowWiseEmbedding(nn.Parameter(weight.clone()))
    dense = nn.Embedding.from_pretrained(weight.clone(), freeze=False)
    ours = RowWiseAdam([table.weight], [table], lr=0.125, capturable=capturable)
    theirs = torch.optim.Adam(dense.parameters(), lr=0.125)
    for step, rows in enumerate(touches):
        ids = torch.tensor(rows)
        upstream = scale * torch.sin(torch.arange(2.0 * len(rows)) + step).reshape(-1, 2).double()
        for embedding, optimizer in ((table, ours), (dense, theirs)):
            optimizer.zero_grad()
            out = embedding(ids)
            out.backward(upstream)
            take_step(optimizer)
    torch.testing.assert_close(
        table.state_dict()["weight"], dense.weight.detach(), rtol=1e-5, atol=1e-7
    )


@both_ways
def test_rows_are_up_to_date_whenever_they_are_read(capturable: bool) -> None:
    """In training, in evaluation, and in the state, after steps that touched other rows."""
    table, dense, ours, theirs = pair(capturable)
    step_both(table, dense, ours, theirs, [0, 1])
    for _ in range(30):
        step_both(table, dense, ours, theirs, [1])
    row = torch.tensor([0])
    torch.testing.assert_close(table(row), dense(row), rtol=1e-5, atol=1e-7)
    for _ in range(30):
        step_both(table, dense, ours, theirs, [1])
    with torch.no_grad():
        torch.testing.assert_close(table(row), dense(row), rtol=1e-5, atol=1e-7)


def take_step(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    if isinstance(optimizer, RowWiseAdam):
        optimizer.between_steps()


def pair(
    capturable: bool,
) -> tuple[RowWiseEmbedding, nn.Embedding, RowWiseAdam, torch.optim.Adam]:
    torch.manual_seed(0)
    dense = nn.Embedding(4, 3)
    table = RowWiseEmbedding(nn.Parameter(dense.weight.detach().clone()))
    return (
        table,
        dense,
        RowWiseAdam([table.weight], [table], capturable=capturable),
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
        take_step(optimizer)


@both_ways
@pytest.mark.parametrize("by_scheduler", [False, True])
def test_change_of_the_learning_rate_leaves_missed_steps_at_the_old_one(
    capturable: bool, by_scheduler: bool
) -> None:
    table, dense, ours, theirs = pair(capturable)
    schedulers = [
        torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda _: 50.0)
        for optimizer in (ours, theirs)
    ]
    step_both(table, dense, ours, theirs, [0, 1])
    for _ in range(5):
        step_both(table, dense, ours, theirs, [1])
    for optimizer, scheduler in zip((ours, theirs), schedulers, strict=True):
        if by_scheduler:
            scheduler.step()
        else:
            optimizer.param_groups[0]["lr"] = 0.05
    for _ in range(5):
        step_both(table, dense, ours, theirs, [1])
    torch.testing.assert_close(
        table.state_dict()["weight"], dense.weight.detach(), rtol=1e-5, atol=1e-7
    )


@both_ways
def test_weights_loaded_amid_training_are_not_moved_by_steps_missed_before(
    capturable: bool,
) -> None:
    table, dense, ours, theirs = pair(capturable)
    step_both(table, dense, ours, theirs, [0, 1])
    step_both(table, dense, ours, theirs, [1])
    best = {"weight": torch.arange(12.0).reshape(4, 3)}
    table.load_state_dict(best)
    with torch.no_grad():
        assert torch.equal(table(torch.arange(4)), best["weight"])
    assert torch.equal(table.state_dict()["weight"], best["weight"])


class TestState:
    @both_ways
    def test_goes_on_bit_for_bit(self, capturable: bool) -> None:
        table, dense, ours, theirs = pair(capturable)
        for rows in ([0, 1], [1], [2, 1], [1]):
            step_both(table, dense, ours, theirs, rows)
        saved = copy.deepcopy((ours.state_dict(), table.state_dict()))
        other = RowWiseEmbedding(nn.Parameter(torch.zeros(4, 3)))
        resumed = RowWiseAdam([other.weight], [other], capturable=capturable)
        resumed.load_state_dict(saved[0])
        other.load_state_dict(saved[1])
        for rows in ([0], [3, 1], [1], [0, 2]):
            step_both(table, other, ours, resumed, rows)
        assert torch.equal(table.state_dict()["weight"], other.state_dict()["weight"])

    @both_ways
    @pytest.mark.parametrize("dense_first", [True, False])
    def test_is_that_of_adam(self, capturable: bool, dense_first: bool) -> None:
        """A run of either optimizer goes on with the other."""
        table, dense, ours, theirs = pair(capturable)
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

    @both_ways
    def test_before_the_first_step(self, capturable: bool) -> None:
        table, dense, ours, theirs = pair(capturable)
        ours.load_state_dict(theirs.state_dict())
        step_both(table, dense, ours, theirs, [0, 3])
        torch.testing.assert_close(table.state_dict()["weight"], dense.weight.detach())


@both_ways
def test_other_parameters_and_steps_without_a_lookup(capturable: bool) -> None:
    """A table that a step does not use takes no step, as in torch's Adam."""
    torch.manual_seed(0)
    dense, linear = nn.Embedding(4, 3), nn.Linear(3, 1)
    table = RowWiseEmbedding(nn.Parameter(dense.weight.detach().clone()))
    own_linear = copy.deepcopy(linear)
    ours = RowWiseAdam([table.weight, *own_linear.parameters()], [table], capturable=capturable)
    theirs = torch.optim.Adam([dense.weight, *linear.parameters()])
    rows = torch.tensor([0, 2])
    for step in range(12):
        for embedding, layer, optimizer in ((table, own_linear, ours), (dense, linear, theirs)):
            optimizer.zero_grad()
            inputs = embedding(rows) if step % 3 else torch.ones(2, 3)
            layer(inputs).sum().backward()
            take_step(optimizer)
    torch.testing.assert_close(table.state_dict()["weight"], dense.weight.detach())
    torch.testing.assert_close(own_linear.weight, linear.weight)


@both_ways
def test_table_that_is_read_as_a_whole_is_updated_as_a_whole(capturable: bool) -> None:
    """Where a model regularises the table itself, its gradient is dense."""
    table, dense, ours, theirs = pair(capturable)
    for _ in range(5):
        for embedding, optimizer in ((table, ours), (dense, theirs)):
            optimizer.zero_grad()
            loss = embedding(torch.tensor([1, 1])).square().sum() + embedding.weight.norm()
            loss.backward()
            take_step(optimizer)
    assert ours.row_wise_tables() == []
    torch.testing.assert_close(table.weight, dense.weight)


@both_ways
def test_lazy_rows_wait_and_miss_their_steps(capturable: bool) -> None:
    """As torch's SparseAdam."""
    torch.manual_seed(0)
    sparse = nn.Embedding(4, 3, sparse=True)
    table = RowWiseEmbedding(nn.Parameter(sparse.weight.detach().clone()))
    ours = RowWiseAdam([table.weight], [table], catch_up=False, capturable=capturable)
    theirs = torch.optim.SparseAdam(sparse.parameters())
    for rows in ([0, 1], [1, 1], [2, 1], [1], [0, 3]):
        step_both(table, sparse, ours, theirs, rows)
    torch.testing.assert_close(table.state_dict()["weight"], sparse.weight.detach())


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="needs torch 2.3's scaler")
@both_ways
def test_gradient_scaler_unscales_and_leaves_steps_out(capturable: bool) -> None:
    """Gradients are of the size of epsilon, so that one that is still scaled is seen."""
    table, dense, *_ = pair(capturable)
    own_linear, linear = nn.Linear(3, 1), nn.Linear(3, 1)
    own_linear.load_state_dict(linear.state_dict())
    ours = RowWiseAdam([table.weight, *own_linear.parameters()], [table], capturable=capturable)
    theirs = torch.optim.Adam([dense.weight, *linear.parameters()])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for rows, factor in (([0, 1], 1e-7), ([1, 1], 1e-8), ([0, 2], float("inf")), ([2, 1], 1e-7)):
        ids = torch.tensor(rows)
        ours.zero_grad()
        scaler.scale(factor * own_linear(table(ids)).square().sum()).backward()
        scaler.step(ours)
        scaler.update()
        ours.between_steps()
        if factor < 1:
            theirs.zero_grad()
            (factor * linear(dense(ids)).square().sum()).backward()
            theirs.step()
    assert scaler.get_scale() == 512.0
    torch.testing.assert_close(table.state_dict()["weight"], dense.weight.detach())
    torch.testing.assert_close(own_linear.state_dict(), linear.state_dict())
    assert ours.state_dict()["state"][0]["step"] == 3


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


# --------------------------------------------------------------------------------------------------
# Steps that can be captured


class Training:
    """A table and a layer, whose steps read their batch from tensors that stay where they are."""

    def __init__(self, capturable: bool, device: str = "cpu") -> None:
        self.table = RowWiseEmbedding(start_weight(torch.float64))
        self.layer = nn.Linear(N_COLUMNS, 1).double()
        torch.nn.init.constant_(self.layer.weight, 0.5)
        torch.nn.init.constant_(self.layer.bias, 0.1)
        self.model = nn.Sequential(self.table, self.layer).to(device)
        self.optimizer = RowWiseAdam(
            self.model.parameters(), [self.table], RATE, capturable=capturable
        )
        self.doubling = torch.optim.lr_scheduler.MultiplicativeLR(self.optimizer, lambda _: 2.0)
        self.rows = torch.zeros(24, dtype=torch.int64, device=device)
        self.targets = torch.zeros(24, 1, dtype=torch.float64, device=device)
        # What takes a step: Python, or from some time on a replay.
        self.step: Callable[[], None] = self.python_step

    def python_step(self) -> None:
        self.optimizer.zero_grad()
        (self.model(self.rows) - self.targets).square().sum().backward()
        self.optimizer.step()

    def train(self, numbers: range) -> None:
        for number in numbers:
            generator = torch.Generator().manual_seed(number)
            # The first rows are in every batch, the last ones in hardly any.
            self.rows.copy_((torch.rand(24, generator=generator) ** 4 * N_ROWS).long())
            self.targets.copy_(torch.randn(24, 1, generator=generator))
            self.step()
            self.optimizer.between_steps()

    def train_with_incidents(self, numbers: range) -> None:
        """Train, and meanwhile set the rate in several ways, read the table, and load a state."""
        incidents: dict[int, Callable[[], Any]] = {
            60: lambda: self.set_rate(0.01),
            61: lambda: self.set_rate(0.0),
            64: lambda: self.set_rate(0.002),
            150: lambda: self.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict())),
            250: self.model.state_dict,
            251: lambda: self.set_rate(0.001),
            350: self.doubling.step,
        }
        for number in numbers:
            incidents.get(number, lambda: None)()
            self.train(range(number, number + 1))

    def set_rate(self, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = float(torch.tensor(rate))

    def result(self) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in self.model.state_dict().items()}


def test_capturable_steps_give_the_weights_of_those_that_are_not() -> None:
    results = []
    for capturable in (False, True):
        training = Training(capturable)
        training.train_with_incidents(range(430))
        results.append((training.result(), training.optimizer.state_dict()["state"]))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-14)


def test_the_same_steps_twice_give_the_same_bits() -> None:
    results = []
    for _ in range(2):
        training = Training(capturable=True)
        training.train(range(60))
        results.append(training.result())
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_replayed_steps_give_the_weights_of_those_that_python_takes() -> None:
    """Python has no part in a replay, other than what is done between steps."""
    replayed, python = Training(capturable=True), Training(capturable=True)
    for training in (replayed, python):
        training.train(range(3))
    graph = RecordedOperations(torch.device("cpu"))
    graph.record(replayed.python_step)
    replayed.step = graph.replay
    replayed.train_with_incidents(range(3, 430))
    python.train_with_incidents(range(3, 430))
    torch.testing.assert_close(replayed.result(), python.result(), rtol=0, atol=0)


def test_between_steps_the_device_is_left_alone() -> None:
    training = Training(capturable=True)
    training.train(range(12))
    # All rows are brought up to date after 12 and 15 steps; nothing is read to know that.
    training.step()
    graph = RecordedOperations(torch.device("cpu"))
    graph.record(training.optimizer.between_steps)
    assert graph.operations == []


def test_all_rows_are_brought_up_to_date_after_the_same_steps() -> None:
    trainings = [Training(capturable) for capturable in (False, True)]
    for number in range(60):
        columns = []
        for training in trainings:
            training.train(range(number, number + 1))
            (table,) = training.optimizer._tables.values()
            columns.append(table.table.last_step)
        assert torch.equal(*columns)


def test_several_steps_at_once_at_another_rate() -> None:
    one, two = Training(capturable=True), Training(capturable=True)
    for training in (one, two):
        training.train(range(330))
        training.set_rate(0.01)
    one.train(range(330, 332))
    between = two.optimizer.between_steps
    between(0)
    two.optimizer.between_steps = lambda: None  # type: ignore[method-assign]
    two.train(range(330, 332))
    between(2)
    torch.testing.assert_close(one.result(), two.result(), rtol=1e-12, atol=1e-15)


# --------------------------------------------------------------------------------------------------
# On a GPU
