r"""Triton kernels of row-wise Adam: the functions of ``row_steps.py`` beside it, in its notation.

Each is two kernels: one gathers weight and moments of the rows and moves them, into a block of
their own; one scatters the block. In between every row has been read, so that rows may repeat:
what is then written twice is equal. Grids depend on shapes alone, and nothing is read by the host.

Counted and not measured: plain torch launches 23 kernels for a step and 46 for the missed ones, two
each here. A value of a looked-up row passes 52 bytes in a step, the block included, and 48 in the
missed ones, where plain torch passes about 130 and 180.

Numbers that are one of a row are computed in float64, as there.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from recbole_midpg.training import row_steps
from recbole_midpg.training.row_steps import AdamTable, Rate, RowSteps, Steps, ZeroGradientTails

# To be tuned on a GPU, by benchmarks/kernels.py: values of a table that a program moves.
VALUES, WARPS = 512, 4


# --- inside of a kernel ---------------------------------------------------------------------------


@triton.jit
def _values_of(
    R: int, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Which rows a program has, which columns, and which of its values exist."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    return rows, columns, (rows < R)[:, None] & (columns < D)[None, :]


@triton.jit
def _store_moved(
    moved: tl.tensor,
    places: tl.tensor,
    exist: tl.tensor,
    size: tl.tensor,
    weight: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
) -> None:
    """Put new weights and moments into the block ``(3, R, D)``, whose parts have a size each."""
    tl.store(moved + places, weight, mask=exist)
    tl.store(moved + size + places, first, mask=exist)
    tl.store(moved + 2 * size + places, second, mask=exist)


# --- the kernels ----------------------------------------------------------------------------------


@triton.jit
def missed_steps_kernel(
    weight: tl.tensor,  # (V, D)
    first_moment: tl.tensor,  # (V, D)
    second_moment: tl.tensor,  # (V, D)
    rows: tl.tensor,  # (R,)
    last_steps: tl.tensor,  # (R,)
    now: tl.tensor,  # ()
    lr: tl.tensor,  # ()
    tails: tl.tensor,  # A_p, (LAST_TAIL + 1, 4) of float64
    log_ratios: tl.tensor,  # (4,) of float64
    log_betas: tl.tensor,  # (2,) of float64
    moved: tl.tensor,  # (3, R, D)
    R: int,
    eps: float,
    D: tl.constexpr,
    LAST_TAIL: tl.constexpr,
    NEGLIGIBLE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Gather rows and let them take the steps that they missed; program ``(block of rows,)``."""
    own, columns, exist = _values_of(R, D, ROWS, COLUMNS)
    row = tl.load(rows + own, mask=own < R, other=0)
    step = tl.load(now)
    last = tl.minimum(tl.load(last_steps + own, mask=own < R, other=0), step)
    missed = (step - last).to(tl.float64)
    earlier = tails + tl.minimum(last, LAST_TAIL) * 4
    later = tails + tl.minimum(step, LAST_TAIL) * 4

    total = _missed_sum(earlier, later, log_ratios, missed, 0)
    share = 1.0 / tl.maximum(total, NEGLIGIBLE)
    mean = tl.maximum(_missed_sum(earlier, later, log_ratios, missed, 1) * share, NEGLIGIBLE)
    square = tl.maximum(_missed_sum(earlier, later, log_ratios, missed, 2) * share, NEGLIGIBLE)
    cube = tl.maximum(_missed_sum(earlier, later, log_ratios, missed, 3) * share, NEGLIGIBLE)
    variance = square - mean * mean
    skew = cube - mean * (3.0 * variance + mean * mean)
    first_decay = tl.exp(missed * tl.load(log_betas)).to(tl.float32)[:, None]
    second_decay = tl.exp(missed * tl.load(log_betas + 1)).to(tl.float32)[:, None]

    at = row.to(tl.int64)[:, None] * D + columns[None, :]
    first = tl.load(first_moment + at, mask=exist, other=0.0)
    second = tl.load(second_moment + at, mask=exist, other=0.0)
    denominator = tl.sqrt_rn(second) + mean.to(tl.float32)[:, None] * eps
    z = tl.div_rn(tl.full([ROWS, COLUMNS], 1.0, tl.float32) * eps, denominator)
    bracket = (variance.to(tl.float32)[:, None] - z * skew.to(tl.float32)[:, None]) * z * z
    total = total.to(tl.float32)[:, None]
    lost = tl.div_rn((total + total * bracket) * first, denominator)
    before = tl.load(weight + at, mask=exist, other=0.0)
    after = before - lost * tl.load(lr).to(tl.float32)
    places = own.to(tl.int64)[:, None] * D + columns[None, :]
    size = tl.full([], D, tl.int64) * R
    _store_moved(moved, places, exist, size, after, first * first_decay, second * second_decay)


@triton.jit
def _missed_sum(
    earlier: tl.tensor,
    later: tl.tensor,
    log_ratios: tl.tensor,
    missed: tl.tensor,
    power: tl.constexpr,
) -> tl.tensor:
    """The sum over a row's missed steps of the weights times a power of ``u``."""
    fading = tl.exp(missed * tl.load(log_ratios + power))
    return tl.load(earlier + power) - fading * tl.load(later + power)


@triton.jit
def step_kernel(
    weight: tl.tensor,  # (V, D)
    first_moment: tl.tensor,  # (V, D)
    second_moment: tl.tensor,  # (V, D)
    rows: tl.tensor,  # (R,)
    gradient: tl.tensor,  # (R, D)
    now: tl.tensor,  # ()
    lr: tl.tensor,  # ()
    skip: tl.tensor,  # (); not read unless MAY_SKIP
    moved: tl.tensor,  # (3, R, D)
    R: int,
    eps: float,
    MAY_SKIP: tl.constexpr,
    BETA1: tl.constexpr,
    BETA2: tl.constexpr,
    LOG_BETA1: tl.constexpr,
    LOG_BETA2: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Gather rows and let them take a step; program ``(block of rows,)``."""
    own, columns, exist = _values_of(R, D, ROWS, COLUMNS)
    row = tl.load(rows + own, mask=own < R, other=0)
    step = tl.load(now).to(tl.float64)
    correction1 = 1.0 - tl.exp(step * tl.full([], LOG_BETA1, tl.float64))
    correction2 = 1.0 - tl.exp(step * tl.full([], LOG_BETA2, tl.float64))
    step_size = (tl.load(lr).to(tl.float64) / correction1).to(tl.float32)
    root = tl.sqrt(correction2).to(tl.float32)

    at = row.to(tl.int64)[:, None] * D + columns[None, :]
    places = own.to(tl.int64)[:, None] * D + columns[None, :]
    slope = tl.load(gradient + places, mask=exist, other=0.0)
    before = tl.load(weight + at, mask=exist, other=0.0)
    old_first = tl.load(first_moment + at, mask=exist, other=0.0)
    old_second = tl.load(second_moment + at, mask=exist, other=0.0)
    first = old_first + (1.0 - BETA1) * (slope - old_first)
    second = BETA2 * old_second + (1.0 - BETA2) * slope * slope
    denominator = tl.div_rn(tl.sqrt_rn(second), tl.zeros([ROWS, COLUMNS], tl.float32) + root) + eps
    after = before - step_size * tl.div_rn(first, denominator)
    if MAY_SKIP:
        stays = tl.load(skip) != 0
        after = tl.where(stays, before, after)
        first = tl.where(stays, old_first, first)
        second = tl.where(stays, old_second, second)
    size = tl.full([], D, tl.int64) * R
    _store_moved(moved, places, exist, size, after, first, second)


@triton.jit
def scatter_kernel(
    moved: tl.tensor,  # (3, R, D)
    rows: tl.tensor,  # (R,)
    now: tl.tensor,  # ()
    weight: tl.tensor,  # (V, D)
    first_moment: tl.tensor,  # (V, D)
    second_moment: tl.tensor,  # (V, D)
    last_step: tl.tensor,  # (V,)
    R: int,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Put rows that have moved back into the table; program ``(block of rows,)``."""
    own, columns, exist = _values_of(R, D, ROWS, COLUMNS)
    row = tl.load(rows + own, mask=own < R, other=0)
    at = row.to(tl.int64)[:, None] * D + columns[None, :]
    places = own.to(tl.int64)[:, None] * D + columns[None, :]
    size = tl.full([], D, tl.int64) * R
    tl.store(weight + at, tl.load(moved + places, mask=exist), mask=exist)
    tl.store(first_moment + at, tl.load(moved + size + places, mask=exist), mask=exist)
    tl.store(second_moment + at, tl.load(moved + 2 * size + places, mask=exist), mask=exist)
    tl.store(last_step + row, tl.load(now).to(tl.int32) + tl.zeros([ROWS], tl.int32), mask=own < R)


# --- outside of it --------------------------------------------------------------------------------


def constants(table: AdamTable) -> dict[str, int]:
    """The compile-time arguments that the kernels have in common, for a table."""
    n_columns = table.weight.shape[1]
    columns = triton.next_power_of_2(n_columns)
    return {"D": n_columns, "ROWS": max(VALUES // columns, 1), "COLUMNS": columns}


@torch.no_grad()
def take_missed_steps(
    table: AdamTable,
    rows: Tensor,
    last: Tensor,
    now: Steps,
    lr: Rate,
    eps: float,
    tails: ZeroGradientTails,
) -> None:
    """Compute :func:`recbole_midpg.training.row_steps.take_missed_steps` by the kernels.

    No rows, and tables in another type than float32, go the plain way.
    """
    if not _serves(table, rows):
        row_steps.take_missed_steps(table, rows, last, now, lr, eps, tails)
        return
    moved, now = _block_for(table, rows), _on_device(now, rows)
    missed_steps_kernel[_grid(table, rows)](
        table.weight, table.first_moment, table.second_moment, rows, last, now,
        _on_device(lr, rows), tails.tails, tails.log_ratios, tails.log_betas, moved, len(rows), eps,
        LAST_TAIL=len(tails.tails) - 1, NEGLIGIBLE=row_steps.NEGLIGIBLE,
        **constants(table), num_warps=WARPS,
    )  # fmt: skip
    _scatter(table, rows, now, moved)


@torch.no_grad()
def take_step(
    table: AdamTable,
    rows: Tensor,
    gradient: Tensor,
    now: Steps,
    lr: Rate,
    betas: tuple[float, float],
    eps: float,
    skip: Tensor | None = None,
) -> None:
    """Compute :func:`recbole_midpg.training.row_steps.take_step` by the kernels.

    No rows, and tables in another type than float32, go the plain way.
    """
    if not _serves(table, rows):
        row_steps.take_step(table, rows, gradient, now, lr, betas, eps, skip)
        return
    moved, now = _block_for(table, rows), _on_device(now, rows)
    step_kernel[_grid(table, rows)](
        table.weight, table.first_moment, table.second_moment, rows, gradient.contiguous(), now,
        _on_device(lr, rows), now if skip is None else skip, moved, len(rows), eps,
        MAY_SKIP=skip is not None, BETA1=betas[0], BETA2=betas[1],
        LOG_BETA1=math.log(betas[0]), LOG_BETA2=math.log(betas[1]),
        **constants(table), num_warps=WARPS,
    )  # fmt: skip
    _scatter(table, rows, now, moved)


IN_TRITON = RowSteps(take_missed_steps, take_step)


def _serves(table: AdamTable, rows: Tensor) -> bool:
    return table.weight.dtype == torch.float32 and len(rows) > 0


def _on_device(number: Steps | Rate, rows: Tensor) -> Tensor:
    """A number as a tensor without dimensions; one that is already a tensor stays what it is."""
    if isinstance(number, Tensor):
        return number
    dtype = torch.int32 if isinstance(number, int) else torch.float64
    return torch.full((), number, dtype=dtype, device=rows.device)


def _block_for(table: AdamTable, rows: Tensor) -> Tensor:
    return table.weight.new_empty(3, len(rows), table.weight.shape[1])


def _grid(table: AdamTable, rows: Tensor) -> tuple[int]:
    return (triton.cdiv(len(rows), constants(table)["ROWS"]),)


def _scatter(table: AdamTable, rows: Tensor, now: Tensor, moved: Tensor) -> None:
    scatter_kernel[_grid(table, rows)](
        moved, rows, now, table.weight, table.first_moment, table.second_moment, table.last_step,
        len(rows), **constants(table), num_warps=WARPS,
    )  # fmt: skip
