"""Steps of rows, missed and taken, against the sums and the Adam that they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from recbole_midpg.training.row_steps import (
    NEVER_TOUCHED,
    AdamTable,
    ZeroGradientTails,
    sum_equal_rows,
    take_missed_steps,
    take_step,
)

BETAS, EPS = (0.9, 0.999), 1e-8


@pytest.mark.parametrize("last", [1, 2, 50, 4000, 60_000])
@pytest.mark.parametrize("missed", [0, 1, 2, 180, 5000])
@pytest.mark.parametrize("on_device", [False, True])
def test_sums_over_missed_steps(last: int, missed: int, on_device: bool) -> None:
    """Against the sums themselves, term by term."""
    beta1, beta2 = 0.9, 0.999
    steps = torch.arange(1, missed + 1, dtype=torch.float64)
    weights = beta1**steps / (1 - beta1 ** (last + steps))
    values = beta2 ** (-steps / 2) * (1 - beta2 ** (last + steps)).sqrt()
    total = (weights * values).sum()
    now = torch.tensor(last + missed, dtype=torch.int32) if on_device else last + missed
    results = ZeroGradientTails(beta1, beta2).between(
        torch.tensor([last], dtype=torch.int32), now, torch.float64
    )
    first_decay, second_decay, own_total, mean, variance, skew = (x.item() for x in results)
    assert first_decay == pytest.approx(beta1**missed)
    assert second_decay == pytest.approx(beta2**missed)
    assert own_total == pytest.approx(total.item(), rel=1e-12)
    if missed:
        moments = weights * values / total
        expected = (moments * values).sum()
        assert mean == pytest.approx(expected.item(), rel=1e-12)
        assert variance == pytest.approx(
            (moments * (values - expected) ** 2).sum().item(), rel=1e-6, abs=1e-12
        )
        assert skew == pytest.approx(
            (moments * (values - expected) ** 3).sum().item(), rel=1e-6, abs=1e-12
        )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40))
def test_each_repetition_of_a_row_has_the_sum_of_all(rows: list[int]) -> None:
    values = torch.randn(len(rows), 3, dtype=torch.float64)
    expected = torch.zeros(6, 3, dtype=torch.float64)
    for row, value in zip(rows, values, strict=True):
        expected[row] += value
    ids = torch.tensor(rows, dtype=torch.int64)
    sums = sum_equal_rows(ids, values)
    torch.testing.assert_close(sums, expected[ids])
    for row in range(6):  # to the last bit, as all of them are written to the row
        assert len(sums[ids == row].unique(dim=0)) <= 1


def table_of(weight: Tensor) -> AdamTable:
    never = torch.full((len(weight),), NEVER_TOUCHED, dtype=torch.int32)
    return AdamTable(weight.clone(), torch.zeros_like(weight), torch.zeros_like(weight), never)


@pytest.mark.parametrize("on_device", [False, True])
def test_a_row_with_a_gradient_at_steps_2_and_5(on_device: bool) -> None:
    """A row is touched at steps 2 and 5 of 7; the others stand still."""

    def steps(count: int) -> int | Tensor:
        return torch.tensor(count, dtype=torch.int32) if on_device else count

    rate = torch.tensor(0.01, dtype=torch.float64) if on_device else 0.01
    table = table_of(torch.arange(6.0, dtype=torch.float64).view(3, 2))
    tails = ZeroGradientTails(*BETAS)
    rows = torch.tensor([1, 1])
    for now, missed in ((2, 2), (5, 4), (7, 7)):
        last = table.last_step[rows]
        take_missed_steps(table, rows, last, steps(missed), rate, EPS, tails)
        if now < 7:
            gradient = torch.tensor([[0.5, -2.0]] * 2, dtype=torch.float64) / now
            take_step(table, rows, gradient, steps(now), rate, BETAS, EPS)

    weight = torch.nn.Parameter(torch.arange(6.0, dtype=torch.float64).view(3, 2))
    adam = torch.optim.Adam([weight], lr=0.01)
    for now in range(1, 8):
        weight.grad = torch.zeros_like(weight)
        if now in (2, 5):
            weight.grad[1] = torch.tensor([0.5, -2.0], dtype=torch.float64) / now
        adam.step()
    state = adam.state[weight]
    torch.testing.assert_close(table.weight, weight.detach(), rtol=1e-9, atol=0)
    torch.testing.assert_close(table.first_moment, state["exp_avg"], rtol=1e-12, atol=0)
    torch.testing.assert_close(table.second_moment, state["exp_avg_sq"], rtol=1e-12, atol=0)
    assert table.last_step.tolist() == [NEVER_TOUCHED, 7, NEVER_TOUCHED]


def test_a_step_that_is_skipped_moves_nothing() -> None:
    table = table_of(torch.ones(2, 2))
    rows, gradient = torch.tensor([1]), torch.tensor([[float("inf"), float("nan")]])
    now, rate = torch.tensor(0, dtype=torch.int32), torch.tensor(0.01)
    take_step(table, rows, gradient, now, rate, BETAS, EPS, skip=torch.tensor(True))
    assert torch.equal(table.weight, torch.ones(2, 2))
    assert not table.first_moment.any() and not table.second_moment.any()
    take_step(table, rows, torch.ones(1, 2), now + 1, rate, BETAS, EPS, skip=torch.tensor(False))
    torch.testing.assert_close(table.weight[1], torch.full((2,), 0.99))


def test_a_rate_of_zero_stands_still() -> None:
    """Also where a gradient is 0, as in the first steps of a warm-up."""
    for rate in (0.0, torch.tensor(0.0)):
        table = table_of(torch.ones(1, 2))
        now = torch.tensor(1, dtype=torch.int32)
        take_step(table, torch.tensor([0]), torch.tensor([[0.0, 1.0]]), now, rate, BETAS, EPS)
        assert torch.equal(table.weight, torch.ones(1, 2))
        assert table.first_moment[0, 1] > 0


def test_shapes_are_known_without_any_value() -> None:
    """Under torch's fake tensors, which have none: a read, or a shape of one, raises."""
    tails, skip, scale = ZeroGradientTails(*BETAS), torch.tensor(False), torch.tensor(8.0)
    now, rate = torch.tensor(5, dtype=torch.int32), torch.tensor(0.01)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        now, rate, skip, scale = map(fake.from_tensor, (now, rate, skip, scale))
        for name in ("tails", "log_ratios", "log_betas"):
            setattr(tails, name, fake.from_tensor(getattr(tails, name)))
        table = table_of(torch.randn(50, 4))
        rows = torch.randint(0, 50, (12,))
        take_missed_steps(table, rows, table.last_step[rows], now, rate, EPS, tails)
        gradient = sum_equal_rows(rows, torch.randn(12, 4)) / scale
        assert gradient.shape == (12, 4)
        take_step(table, rows, gradient, now + 1, rate, BETAS, EPS, skip)
        with pytest.raises(DataDependentOutputException):
            int(now)
