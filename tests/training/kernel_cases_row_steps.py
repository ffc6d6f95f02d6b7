"""Row-wise Adam's kernels against plain torch in float64; see tests/support/triton_process.py."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_midpg.layers.row_wise_embedding import make_row_wise
from recbole_midpg.training import row_steps
from recbole_midpg.training.row_step_kernels import IN_TRITON
from recbole_midpg.training.row_steps import (
    IN_TORCH,
    NEVER_TOUCHED,
    AdamTable,
    ZeroGradientTails,
)
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from tests.support.triton_process import DEVICE

BETAS, EPS = (0.9, 0.999), 1e-8
TAILS = ZeroGradientTails(*BETAS, DEVICE)


def random_table(n_rows, n_columns, now, generator):
    """A table whose rows are behind by up to 300 steps, with moments of all sizes."""
    first = torch.randn(n_rows, n_columns, generator=generator)
    first *= 10 ** (-9 * torch.rand(n_rows, 1, generator=generator))
    second = first**2 * (0.01 + torch.rand(n_rows, n_columns, generator=generator))
    last = torch.randint(max(0, now - 300), now + 1, (n_rows,), generator=generator).int()
    first[0], second[0], last[0] = 0, 0, NEVER_TOUCHED
    weight = torch.randn(n_rows, n_columns, generator=generator)
    return AdamTable(*(values.to(DEVICE) for values in (weight, first, second, last)))


def in_double(table):
    """A copy, for the reference."""
    floats = (table.weight, table.first_moment, table.second_moment)
    return AdamTable(*(values.double() for values in floats), table.last_step.clone())


def assert_close(table, expected):
    assert torch.equal(table.last_step, expected.last_step)
    for name in ("weight", "first_moment", "second_moment"):
        value, reference = getattr(table, name).double(), getattr(expected, name)
        # Differences of numbers of that size are left with its rounding.
        rounding = 1e-6 * float(reference.abs().max())
        torch.testing.assert_close(value, reference, rtol=1e-5, atol=rounding, msg=name)


@st.composite
def situations(draw):
    sizes = draw(st.integers(1, 40)), draw(st.integers(1, 19)), draw(st.integers(0, 90))
    now = draw(st.sampled_from([0, 1, 2, 17, 400, 5_000, 41_000, 10**6]))
    return *sizes, now, draw(st.integers(0, 2**16))


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # the interpreter is too slow to shrink by
)
@given(situation=situations(), on_device=st.booleans())
def test_rows_take_the_steps_that_they_missed_and_one_more(situation, on_device):
    n_rows, n_columns, n_lookups, now, seed = situation
    generator = torch.Generator().manual_seed(seed)
    table = random_table(n_rows, n_columns, now, generator)
    expected = in_double(table)
    # Rows repeat, with one gradient for all repetitions.
    rows = torch.randint(0, n_rows, (n_lookups,), generator=generator).to(DEVICE)
    gradients = 1e-3 * torch.randn(n_rows, n_columns, generator=generator).to(DEVICE)
    rate, steps = 0.01, now
    if on_device:
        rate = torch.tensor(rate, device=DEVICE)
        steps = torch.tensor(now, dtype=torch.int32, device=DEVICE)

    for functions, own in ((IN_TRITON, table), (IN_TORCH, expected)):
        if now:
            last = own.last_step.index_select(0, rows)
            functions.take_missed_steps(own, rows, last, steps, rate, EPS, TAILS)
    assert_close(table, expected)
    for functions, own in ((IN_TRITON, table), (IN_TORCH, expected)):
        gradient = gradients[rows].to(own.weight.dtype)
        functions.take_step(own, rows, gradient, steps + 1, rate, BETAS, EPS)
    assert_close(table, expected)


@pytest.mark.parametrize("skips", [True, False])
def test_a_step_may_be_left_out_by_a_value_on_the_device(skips):
    table = random_table(9, 5, 40, torch.Generator().manual_seed(0))
    expected = in_double(table)
    rows = torch.tensor([3, 0, 3, 7], device=DEVICE)
    gradient = torch.full((4, 5), float("inf") if skips else 0.1, device=DEVICE)
    skip = torch.tensor(skips, device=DEVICE)
    now = torch.tensor(41 - skips, dtype=torch.int32, device=DEVICE)
    rate = torch.tensor(0.01, device=DEVICE)
    for functions, own in ((IN_TRITON, table), (IN_TORCH, expected)):
        own_gradient = gradient.to(own.weight.dtype)
        functions.take_step(own, rows, own_gradient, now, rate, BETAS, EPS, skip)
    assert_close(table, expected)


def test_double_goes_the_plain_way():
    table = in_double(random_table(9, 5, 40, torch.Generator().manual_seed(0)))
    expected = in_double(table)
    rows = torch.tensor([3, 0, 3], device=DEVICE)
    for functions, own in ((IN_TRITON, table), (row_steps, expected)):
        last = own.last_step.index_select(0, rows)
        functions.take_missed_steps(own, rows, last, 40, 0.01, EPS, TAILS)
        functions.take_step(own, rows, torch.ones_like(own.weight[rows]), 41, 0.01, BETAS, EPS)
    assert torch.equal(table.weight, expected.weight)


@pytest.mark.parametrize("capturable", [False, True])
def test_training_leads_to_the_same_weights(capturable):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 6, generator=generator).to(DEVICE)
    batches = torch.randint(0, 30, (8, 7), generator=generator).to(DEVICE)
    target = torch.randn(6, generator=generator).to(DEVICE)

    def trained(functions):
        model = nn.Sequential(nn.Embedding.from_pretrained(weight.clone(), freeze=False))
        tables = make_row_wise(model, ["0"])
        optimizer = RowWiseAdam(
            model.parameters(), tables, lr=0.1, capturable=capturable, row_steps=functions
        )
        for batch in batches:
            optimizer.zero_grad()
            (model(batch) - target).square().sum().backward()
            optimizer.step()
            optimizer.between_steps()
        return model.state_dict()["0.weight"]

    own, expected = trained(IN_TRITON), trained(IN_TORCH)
    assert (own - weight).abs().max() > 0.1
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(own, trained(IN_TRITON))
