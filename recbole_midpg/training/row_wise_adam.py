r"""Adam that updates the rows of large tables only when they are touched, with Adam's result.

Where a row's gradient is zero, a step of Adam still moves it: its first moment fades away over some
180 steps. Dense Adam pays for this with a walk over the whole table in each step. Here a row waits,
and takes all the steps that it missed at once when it is next needed.

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
:math:`\sqrt{t_0+j}`; all touched rows are then brought up to date so often that it cannot change
much in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding

# The powers p for which the tails A_p are needed: three moments of u, and their total.
_POWERS = np.arange(1, 5)
# Tails leave out less than this share of themselves, and less of a bias correction.
_NEGLIGIBLE = 2.0**-60
# The step up to which a row is up to date that no gradient has ever touched: it never moves.
_ALWAYS = torch.iinfo(torch.int32).max
# Rows that are brought up to date at once when all are.
_ROWS_AT_ONCE = 1 << 18
# Until this step no row waits for more than a quarter of the steps before.
_LAST_EARLY_STEP = 320


def _early_steps() -> Iterator[int]:
    """The steps after which all rows are brought up to date, as u changes fast in between."""
    step = 1
    while step <= _LAST_EARLY_STEP:
        yield step
        step += max(1, step // 4)


_EARLY_STEPS = frozenset(_early_steps())


class RowWiseAdam(torch.optim.Adam):
    r"""Adam, walking over the rows of large tables only where they are touched.

    Weights, and the moments in ``state_dict``, follow ``torch.optim.Adam`` (without weight decay)
    within the rounding of float32; ``state_dict`` has its format, so that a checkpoint of either
    goes on with the other. All parameters other than the tables are left to the fused Adam of
    torch, where it has one.

    Args:
        parameters: all parameters, those of the tables included, in the order of the model.
        tables: the tables to update row by row.
        lr: :math:`\alpha`, 0.001 by default.
        betas: :math:`(\beta_1, \beta_2)`, (0.9, 0.999) by default; :math:`\beta_1 < \beta_2^2`.
        eps: :math:`\epsilon > 0`, 1e-8 by default.
        catch_up: whether a row takes the steps that it missed. Without, a row's weight and moments
            change only in steps that touch it, as with ``torch.optim.SparseAdam``: cheaper, and
            another algorithm.

    Raises:
        ValueError: the betas or eps are not in their range.
    """

    # A gradient scaler must unscale the sparse gradients itself, as it does for other optimizers.
    _step_supports_amp_scaling = False

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        tables: Iterable[RowWiseEmbedding],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        catch_up: bool = True,
    ) -> None:
        if not 0 < betas[0] < betas[1] ** 2 < 1:
            raise ValueError(f"betas {betas} are not allowed, expected 0 < beta1 < beta2^2 < 1")
        if not eps > 0:
            raise ValueError(f"eps {eps} is not allowed, expected a number above 0")
        parameters = list(parameters)
        super().__init__(parameters, lr, betas, eps, fused=_has_fused_adam(parameters))
        tails = _ZeroGradientTails(*betas) if catch_up else None
        self._tables = {embedding.weight: _Table(self, embedding, tails) for embedding in tables}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step: the tables by their sparse gradients, all else by torch's Adam.

        A table with a dense gradient, which comes from a model that reads the whole table, is
        from then on updated as a whole.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients: dict[nn.Parameter, Tensor] = {}
        for weight, table in list(self._tables.items()):
            gradient = weight.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                table.update(*_row_gradients(gradient))
                gradients[weight], weight.grad = gradient, None
            else:
                table.catch_up_all()
                table.embedding.detach()
                del self._tables[weight]
        super().step()
        for weight, gradient in gradients.items():
            weight.grad = gradient
        return loss

    def row_wise_tables(self) -> list[RowWiseEmbedding]:
        """The tables that are updated row by row."""
        return [table.embedding for table in self._tables.values()]

    def state_dict(self) -> dict[str, Any]:
        """Give the state, in the format of ``torch.optim.Adam``, with all rows up to date."""
        for table in self._tables.values():
            table.catch_up_all()
        return super().state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of this optimizer or of ``torch.optim.Adam``."""
        for table in self._tables.values():
            table.catch_up_all()
        super().load_state_dict(dict(state_dict))
        for table in self._tables.values():
            table.take_over_state()


class _Table:
    """One table: its moments, and the step up to which each of its rows is updated."""

    def __init__(
        self, optimizer: RowWiseAdam, embedding: RowWiseEmbedding, tails: _ZeroGradientTails | None
    ) -> None:
        self.embedding = embedding
        self.weight = embedding.weight
        self.tails = tails and tails.to(self.weight.device)
        self._optimizer = optimizer
        self.take_over_state()
        embedding.attach(self.catch_up, self.catch_up_all)

    def take_over_state(self) -> None:
        """Begin from the optimizer's state, in which all rows are up to date."""
        state = self._optimizer.state[self.weight]
        if not state:
            state["step"] = torch.zeros((), device=self.weight.device)
            state["exp_avg"] = torch.zeros_like(self.weight)
            state["exp_avg_sq"] = torch.zeros_like(self.weight)
        self._lr: float = self._settings["lr"]
        self.step_count = int(state["step"])
        self.first_moment: Tensor = state["exp_avg"]
        self.second_moment: Tensor = state["exp_avg_sq"]
        self.last_step = torch.full_like(self.weight[:, 0], _ALWAYS, dtype=torch.int32)
        touched = self.second_moment.any(dim=1) | self.first_moment.any(dim=1)
        self.last_step[touched] = self.step_count
        self.all_up_to_date = True

    @property
    def _settings(self) -> dict[str, Any]:
        return self._optimizer.param_groups[0]

    def catch_up(self, rows: Tensor) -> None:
        """Let rows take the steps that they missed; equal rows may repeat."""
        if self.tails is None or self.all_up_to_date:
            return
        last = self.last_step.index_select(0, rows)
        if not rows.is_cuda:  # there, finding the rows that are behind would wait for the device
            behind = (last < self.step_count).nonzero().squeeze(1)
            if not len(behind):
                return
            rows, last = rows.index_select(0, behind), last.index_select(0, behind)
        self._take_missed_steps(rows, last, self.tails)

    def catch_up_all(self) -> None:
        """Let all rows take the steps that they missed."""
        if self.tails is None or self.all_up_to_date:
            return
        for start in range(0, len(self.last_step), _ROWS_AT_ONCE):
            last = self.last_step[start : start + _ROWS_AT_ONCE]
            behind = (last < self.step_count).nonzero().squeeze(1)
            if len(behind):
                self._take_missed_steps(behind + start, last.index_select(0, behind), self.tails)
        self.all_up_to_date = True

    @torch.no_grad()
    def _take_missed_steps(self, rows: Tensor, last: Tensor, tails: _ZeroGradientTails) -> None:
        eps = self._settings["eps"]
        first_decay, second_decay, total, mean, variance, skew = tails.between(
            last, self.step_count, self.weight.dtype
        )
        first = self.first_moment.index_select(0, rows)
        second = self.second_moment.index_select(0, rows)
        denominator = second.sqrt().add_(mean * eps)
        share = eps / denominator  # z
        lost = torch.addcmul(variance, share, skew, value=-1).mul_(share).mul_(share)
        lost = torch.addcmul(total, lost, total).mul_(first).div_(denominator).mul_(-self._lr)
        self.weight.index_copy_(0, rows, lost.add_(self.weight.index_select(0, rows)))
        self.first_moment.index_copy_(0, rows, first.mul_(first_decay))
        self.second_moment.index_copy_(0, rows, second.mul_(second_decay))
        self.last_step.index_fill_(0, rows, self.step_count)

    def update(self, rows: Tensor, gradient: Tensor) -> None:
        """Take a step of Adam with a gradient that is zero for all other rows.

        Args:
            rows: ``(R,)``; rows that repeat have equal gradients, each the whole of the row's.
            gradient: ``(R, D)``.
        """
        if self._settings["lr"] != self._lr:
            # Missed steps were missed at the rate of their time.
            self.catch_up_all()
            self._lr = self._settings["lr"]
        self.catch_up(rows)
        beta1, beta2 = self._settings["betas"]
        self.step_count += 1
        self._optimizer.state[self.weight]["step"] += 1

        first = self.first_moment.index_select(0, rows).lerp_(gradient, 1 - beta1)
        second = self.second_moment.index_select(0, rows).mul_(beta2)
        second.addcmul_(gradient, gradient, value=1 - beta2)
        correction1 = 1 - beta1**self.step_count
        correction2 = 1 - beta2**self.step_count
        denominator = second.sqrt().div_(math.sqrt(correction2)).add_(self._settings["eps"])
        weight = self.weight.index_select(0, rows)
        weight.addcdiv_(first, denominator, value=-self._lr / correction1)
        self.weight.index_copy_(0, rows, weight)
        self.first_moment.index_copy_(0, rows, first)
        self.second_moment.index_copy_(0, rows, second)
        self.last_step.index_fill_(0, rows, self.step_count)
        self.all_up_to_date = False
        if self.step_count in _EARLY_STEPS:
            self.catch_up_all()


class _ZeroGradientTails:
    """What steps without a gradient do to a row, by the steps that it was last up to date at."""

    def __init__(self, beta1: float, beta2: float) -> None:
        log_ratios = math.log(beta1) - _POWERS / 2 * math.log(beta2)  # ln r_p
        log_betas = np.log([beta1, beta2])
        self._constant_from = math.ceil(math.log(_NEGLIGIBLE) / log_betas[1])
        n_terms = math.ceil(math.log(_NEGLIGIBLE) / log_ratios.max())
        steps = np.arange(1, self._constant_from + n_terms + 1)
        correction1, correction2 = -np.expm1(np.outer(log_betas, steps))
        # The tails' terms j = n_terms .. 1, as a convolution turns its second operand round.
        fading = np.exp(np.outer(log_ratios, np.arange(n_terms, 0, -1)))
        tails = [
            np.convolve(correction2 ** (power / 2) / correction1, weights, mode="valid")
            for power, weights in zip(_POWERS, fading, strict=True)
        ]
        self._tails = torch.tensor(np.stack(tails, axis=1))  # A_p by step 0 .. constant_from
        self._log_ratios = torch.tensor(log_ratios)
        self._log_betas = torch.tensor(log_betas)

    def to(self, device: torch.device) -> _ZeroGradientTails:
        """Move the tables of steps to the device of the rows."""
        self._tails = self._tails.to(device)
        self._log_ratios = self._log_ratios.to(device)
        self._log_betas = self._log_betas.to(device)
        return self

    def between(self, last: Tensor, now: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
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
        earlier = self._tails.index_select(0, last.clamp_(max=self._constant_from))
        later = self._tails[min(now, self._constant_from)]
        sums = earlier.addcmul_(torch.exp(missed * self._log_ratios), later, value=-1)
        total = sums[:, :1]
        # Where no step was missed all sums are 0, and any mean will do.
        shares = sums / total.clamp(min=_NEGLIGIBLE)
        mean, square, cube = shares[:, 1:].clamp_(min=_NEGLIGIBLE).split(1, dim=1)
        variance = square - mean**2
        skew = cube - mean * (3 * variance + mean**2)
        decays = torch.exp(missed * self._log_betas)
        results = torch.cat([decays, total, mean, variance, skew], dim=1)
        return results.to(dtype).split(1, dim=1)


def _row_gradients(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a sparse gradient and their whole gradients; equal rows may repeat.

    Args:
        gradient: a sparse tensor ``(V, D)``.

    Returns:
        Rows ``(R,)`` and gradients ``(R, D)``, which are equal where rows are.
    """
    rows, values = gradient._indices()[0], gradient._values()
    if rows.is_cuda:
        # Coalescing would wait for the device to tell how many rows are distinct.
        rows, order = rows.sort()
        is_first_of_equals = torch.ones_like(rows)
        is_first_of_equals[1:] = rows[1:] != rows[:-1]
        groups = is_first_of_equals.cumsum(0) - 1
        values = values.index_select(0, order)
        return rows, torch.zeros_like(values).index_add_(0, groups, values)[groups]
    # Autograd forgets that a gradient is coalesced.
    if (rows[1:] > rows[:-1]).all():
        return rows, values
    gradient = gradient.coalesce()
    return gradient._indices()[0], gradient._values()


def _has_fused_adam(parameters: list[nn.Parameter]) -> bool:
    """Whether torch's fused Adam can be had: everywhere on CUDA, on the CPU since torch 2.4."""
    on_cuda = all(parameter.is_cuda for parameter in parameters)
    on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
    return on_cuda or (on_cpu and TorchVersion(torch.__version__) >= (2, 4))
