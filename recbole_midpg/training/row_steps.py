r"""Steps of Adam for rows of a table: those with a gradient, and all at once those without.

Where a row's gradient is zero, a step of Adam still moves it: its first moment fades away over some
180 steps. A row may wait, and take all the steps that it missed when it is next needed.

Notation, as in Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1:
learning rate :math:`\alpha`, moments :math:`m, v`, :math:`\beta_1, \beta_2, \epsilon`. A row last
up to date at step :math:`t_0` has missed :math:`K` steps at :math:`t = t_0 + K`. In those its
moments were :math:`\beta_1^j m` and :math:`\beta_2^j v`, and its weight lost

.. math::
    \alpha m \sum_{j=1}^{K} \frac{w_j}{\sqrt v / u_j + \epsilon}, \quad
    w_j = \frac{\beta_1^j}{1 - \beta_1^{t_0+j}}, \quad
    u_j = \beta_2^{-j/2} \sqrt{1 - \beta_2^{t_0+j}}.

Only :math:`\sqrt v` and :math:`m` differ from value to value. As :math:`u_j` changes little while
:math:`w_j` fades, the sum is expanded around the mean :math:`\bar u` of :math:`u_j` with weights
:math:`w_j u_j`, whose total is :math:`\mu`, variance :math:`\sigma^2` and third central moment
:math:`\kappa`:

.. math::
    \frac{\mu}{d} \left(1 + \sigma^2 z^2 - \kappa z^3\right), \quad
    d = \sqrt v + \epsilon \bar u, \quad z = \epsilon / d.

For :math:`\sqrt v \gg \epsilon` the bracket is 1 and the sum is exact. The moments of the weights
need no sum over :math:`j` either: :math:`\sum_j w_j u_j^p` is the difference of two infinite tails,

.. math::
    A_p(t_0) - r_p^K A_p(t), \quad A_p(\tau) = \sum_{j \ge 1} r_p^j
    \frac{(1 - \beta_2^{\tau+j})^{p/2}}{1 - \beta_1^{\tau+j}}, \quad r_p = \beta_1 \beta_2^{-p/2},

that depend on the step alone and are tabulated once. In the first steps :math:`u_j` grows like
:math:`\sqrt{t_0+j}`; rows must not wait long there, so that it cannot change much in between.

Shapes never depend on values here, and nothing is read on the host where the number of steps and
the learning rate are tensors on the table's device: the functions can stand in a CUDA graph. They
are deterministic too: rows may repeat, and whatever is written to a row twice is equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

# A number that is known on the host, or a tensor without dimensions on the device of the table.
Steps: TypeAlias = int | Tensor
Rate: TypeAlias = float | Tensor

# Stands for the last step of a row that no gradient has ever touched: such a row never moves.
NEVER_TOUCHED = torch.iinfo(torch.int32).max
# The powers p for which the tails A_p are needed: three moments of u, and their total.
_POWERS = np.arange(1, 5)
# Sums are cut off where the rest is less than this share of them, bias corrections alike.
NEGLIGIBLE = 2.0**-60


@dataclass(frozen=True)
class AdamTable:
    """A table, and where Adam is with each of its rows; the functions below work in place.

    Attributes:
        weight: ``(V, D)``.
        first_moment: :math:`m`, ``(V, D)``.
        second_moment: :math:`v`, ``(V, D)``.
        last_step: the step up to which a row is up to date, ``(V,)`` of int32, or
            :data:`NEVER_TOUCHED`.
    """

    weight: Tensor
    first_moment: Tensor
    second_moment: Tensor
    last_step: Tensor


class RowSteps(NamedTuple):
    """What lets rows take steps: the two functions below, or their equals."""

    take_missed_steps: Callable[..., None]
    take_step: Callable[..., None]


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
    r"""Let rows take the steps without a gradient up to ``now``.

    Args:
        table: the table.
        rows: ``(R,)``; they may repeat, and may be up to date already.
        last: their ``last_step``, ``(R,)``.
        now: :math:`t`.
        lr: :math:`\alpha`.
        eps: :math:`\epsilon`.
        tails: of the betas.
    """
    first_decay, second_decay, total, mean, variance, skew = tails.between(
        last, now, table.weight.dtype
    )
    first = table.first_moment.index_select(0, rows)
    second = table.second_moment.index_select(0, rows)
    denominator = second.sqrt().add_(mean * eps)
    share = eps / denominator  # z
    lost = torch.addcmul(variance, share, skew, value=-1).mul_(share).mul_(share)
    lost = torch.addcmul(total, lost, total).mul_(first).div_(denominator).mul_(-lr)
    table.weight.index_copy_(0, rows, lost.add_(table.weight.index_select(0, rows)))
    table.first_moment.index_copy_(0, rows, first.mul_(first_decay))
    table.second_moment.index_copy_(0, rows, second.mul_(second_decay))
    _fill_rows(table.last_step, rows, now)


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
    r"""Let rows, which are up to date with step ``now - 1``, take step ``now`` of Adam.

    Args:
        table: the table.
        rows: ``(R,)``; those that repeat have equal gradients, each the whole of the row's.
        gradient: ``(R, D)``.
        now: :math:`t`.
        lr: :math:`\alpha`.
        betas: :math:`(\beta_1, \beta_2)`.
        eps: :math:`\epsilon`.
        skip: a truth value ``()`` on the device, with which nothing moves, whatever the gradient;
            ``now`` is then the step before.
    """
    beta1, beta2 = betas
    first = table.first_moment.index_select(0, rows).lerp_(gradient, 1 - beta1)
    second = table.second_moment.index_select(0, rows).mul_(beta2)
    second.addcmul_(gradient, gradient, value=1 - beta2)
    denominator = second.sqrt().div_(_bias_correction(beta2, now) ** 0.5).add_(eps)
    weight = table.weight.index_select(0, rows)
    step_size = lr / _bias_correction(beta1, now)
    if isinstance(step_size, Tensor):  # addcdiv takes its factor from the host only
        weight.addcmul_(first / denominator, step_size, value=-1)
    else:
        weight.addcdiv_(first, denominator, value=-step_size)
    _set_rows(table.weight, rows, weight, skip)
    _set_rows(table.first_moment, rows, first, skip)
    _set_rows(table.second_moment, rows, second, skip)
    _fill_rows(table.last_step, rows, now)


IN_TORCH = RowSteps(take_missed_steps, take_step)


def sum_equal_rows(rows: Tensor, values: Tensor) -> Tensor:
    """Give each row the sum of the values of all its repetitions, always added in the same order.

    It is the sum that the gradient of an embedding is, of a table with as many rows as there may
    be distinct ones. Its kernel on CUDA adds without atomics, several threads for a row that is
    repeated often, and works on capture.

    Args:
        rows: ``(R,)``.
        values: ``(R, D)``.

    Returns:
        ``(R, D)``.
    """
    ordered, order = rows.sort(stable=True)
    is_first = torch.ones_like(ordered)
    is_first[1:] = ordered[1:] != ordered[:-1]
    groups = torch.empty_like(order).scatter_(0, order, is_first.cumsum(0) - 1)
    sums = torch.ops.aten.embedding_dense_backward(values, groups, len(rows), -1, False)
    return sums.index_select(0, groups)


def _bias_correction(beta: float, now: Steps) -> Rate:
    return 1 - beta ** (now.double() if isinstance(now, Tensor) else now)


def _set_rows(target: Tensor, rows: Tensor, values: Tensor, skip: Tensor | None) -> None:
    if skip is not None:
        values = torch.where(skip, target.index_select(0, rows), values)
    target.index_copy_(0, rows, values)


def _fill_rows(column: Tensor, rows: Tensor, value: Steps) -> None:
    if isinstance(value, Tensor):  # index_fill_ would read it
        column.index_copy_(0, rows, value.to(column.dtype).expand_as(rows))
    else:
        column.index_fill_(0, rows, value)


class ZeroGradientTails:
    r"""What steps without a gradient do to a row, by the steps that it was last up to date at.

    Args:
        beta1: :math:`\beta_1`.
        beta2: :math:`\beta_2`.
        device: where the rows are.
    """

    def __init__(
        self, beta1: float, beta2: float, device: torch.device | str | None = None
    ) -> None:
        log_ratios = math.log(beta1) - _POWERS / 2 * math.log(beta2)  # ln r_p
        log_betas = np.log([beta1, beta2])
        constant_from = math.ceil(math.log(NEGLIGIBLE) / log_betas[1])
        n_terms = math.ceil(math.log(NEGLIGIBLE) / log_ratios.max())
        steps = np.arange(1, constant_from + n_terms + 1)
        correction1, correction2 = -np.expm1(np.outer(log_betas, steps))
        # The tails' terms j = n_terms .. 1, as a convolution turns its second operand round.
        fading = np.exp(np.outer(log_ratios, np.arange(n_terms, 0, -1)))
        tails = [
            np.convolve(correction2 ** (power / 2) / correction1, weights, mode="valid")
            for power, weights in zip(_POWERS, fading, strict=True)
        ]
        # A_p by step 0 .. constant_from, from which on it does not change.
        self.tails = torch.tensor(np.stack(tails, axis=1), device=device)
        self.log_ratios = torch.tensor(log_ratios, device=device)
        self.log_betas = torch.tensor(log_betas, device=device)

    def between(self, last: Tensor, now: Steps, dtype: torch.dtype) -> tuple[Tensor, ...]:
        r"""What the steps after ``last`` up to ``now`` sum up to.

        Args:
            last: :math:`t_0`, ``(R,)`` integers; whatever is beyond ``now`` has missed nothing.
            now: :math:`t`.
            dtype: of the results, which are computed in float64.

        Returns:
            :math:`\beta_1^K`, :math:`\beta_2^K`, :math:`\mu`, :math:`\bar u`, :math:`\sigma^2` and
            :math:`\kappa`, ``(R, 1)`` each.
        """
        last = last.clamp(max=now)
        missed = (now - last).double().unsqueeze(1)
        earlier = self.tails.index_select(0, last.clamp_(max=len(self.tails) - 1))
        sums = earlier.addcmul_(torch.exp(missed * self.log_ratios), self._at(now), value=-1)
        total = sums[:, :1]
        # Where no step was missed all sums are 0, and any mean will do.
        shares = sums / total.clamp(min=NEGLIGIBLE)
        mean, square, cube = shares[:, 1:].clamp_(min=NEGLIGIBLE).split(1, dim=1)
        variance = square - mean**2
        skew = cube - mean * (3 * variance + mean**2)
        decays = torch.exp(missed * self.log_betas)
        results = torch.cat([decays, total, mean, variance, skew], dim=1)
        return results.to(dtype).split(1, dim=1)

    def _at(self, step: Steps) -> Tensor:
        """A_p of a step, ``(4,)`` or ``(1, 4)``."""
        last = len(self.tails) - 1
        if isinstance(step, Tensor):  # as an index it would be read
            return self.tails.index_select(0, step.clamp(max=last).view(1))
        return self.tails[min(step, last)]
