"""Adam that updates the rows of large tables only when they are touched, with Adam's result.

Dense Adam walks over a whole table in each step, as a row moves in steps without a gradient too.
Here a row waits, and takes the steps that it missed when it is next needed: the formulas are in
:mod:`recbole_midpg.training.row_steps`; this module decides which rows wait, and until when.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding
from recbole_midpg.training.adam import Adam
from recbole_midpg.training.row_steps import (
    IN_TORCH,
    NEVER_TOUCHED,
    AdamTable,
    Rate,
    RowSteps,
    Steps,
    ZeroGradientTails,
    sum_equal_rows,
)

# torch's step without its wrapper for torch.compile, which imports the compiler for seconds.
_step_of_adam = inspect.unwrap(torch.optim.Adam.step)
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


_EARLY_STEPS = tuple(_early_steps())


class RowWiseAdam(Adam):
    r"""Adam, walking over the rows of large tables only where they are touched.

    Weights, and the moments in ``state_dict``, follow ``torch.optim.Adam`` (without weight decay)
    within the rounding of float32; ``state_dict`` has its format, so that a checkpoint of either
    goes on with the other. All parameters other than the tables are left to the fused Adam of
    torch, where it has one.

    With ``capturable`` a step can stand in a CUDA graph, lookups and gradients of the tables
    included: its shapes do not depend on the batch's values, it reads nothing on the host, and the
    same steps give the same bits. What the host decides, it decides in :meth:`between_steps`, which
    has to be called after every step, replayed or not. As a replay runs no Python, a few things are
    then left to the caller:

    - a step takes the gradients of lookups that were made since the step before;
    - a graph is of a step that has been taken once outside of it, when tables whose gradient is
      dense have been given up;
    - before the tables are read by a graph that looks nothing up for training, as one of
      predictions, :meth:`catch_up` is called;
    - the learning rate is set between :meth:`between_steps` and the next step.

    Args:
        parameters: all parameters, those of the tables included, in the order of the model.
        tables: the tables to update row by row.
        lr: :math:`\alpha`, 0.001 by default.
        betas: :math:`(\beta_1, \beta_2)`, (0.9, 0.999) by default; :math:`\beta_1 < \beta_2^2`.
        eps: :math:`\epsilon > 0`, 1e-8 by default.
        catch_up: whether a row takes the steps that it missed. Without, a row's weight and moments
            change only in steps that touch it, as with ``torch.optim.SparseAdam``: cheaper, and
            another algorithm.
        capturable: whether a step can be captured in a CUDA graph, False by default; see
            :class:`~recbole_midpg.training.adam.Adam` for what this means for the learning rate.
        row_steps: what lets rows of the tables take steps; plain torch by default.

    Raises:
        ValueError: the betas or eps are not in their range, or the parameters of a capturable step
            are on several devices.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        tables: Iterable[RowWiseEmbedding],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        catch_up: bool = True,
        capturable: bool = False,
        row_steps: RowSteps = IN_TORCH,
    ) -> None:
        if not 0 < betas[0] < betas[1] ** 2 < 1:
            raise ValueError(f"betas {betas} are not allowed, expected 0 < beta1 < beta2^2 < 1")
        if not eps > 0:
            raise ValueError(f"eps {eps} is not allowed, expected a number above 0")
        super().__init__(parameters, lr, betas, eps, capturable=capturable)
        self.row_steps = row_steps
        # Where this is False, a gradient scaler unscales gradients and leaves steps out itself, for
        # which it reads from the device.
        self._step_supports_amp_scaling = capturable and self.param_groups[0]["fused"]
        table_class = _CapturableTable if capturable else _Table
        self._tables = {
            embedding.weight: table_class(self, embedding, catch_up) for embedding in tables
        }

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
            table.is_in_step = gradient is not None
            if gradient is None:
                continue
            if gradient.is_sparse:
                table.update(gradient)
                gradients[weight], weight.grad = gradient, None
            else:
                table.settle()
                table.embedding.detach()
                del self._tables[weight]
        _step_of_adam(self)
        for weight, gradient in gradients.items():
            weight.grad = gradient
        return loss

    def between_steps(self, steps: int = 1) -> None:
        """Do what the host has to do now and then; called after steps, replayed ones as well.

        Rows of tables are brought up to date in the first 320 steps, after fewer and fewer of them,
        and where the learning rate has changed. Otherwise nothing is done on the device. Without
        ``capturable`` it does nothing at all, as a step does this itself.

        Args:
            steps: how many steps were taken since the last call, 1 by default. More than one cost
                accuracy in the first 320 steps, and after a change of the learning rate, unless it
                is called with 0 right after that.
        """
        for table in self._tables.values():
            table.between_steps(steps)

    def row_wise_tables(self) -> list[RowWiseEmbedding]:
        """The tables that are updated row by row."""
        return [table.embedding for table in self._tables.values()]

    def catch_up(self) -> None:
        """Let all rows of all tables take the steps that they missed."""
        for table in self._tables.values():
            table.catch_up_all()

    def state_dict(self) -> dict[str, Any]:
        """Give the state, in the format of ``torch.optim.Adam``, with all rows up to date."""
        for table in self._tables.values():
            table.settle()
        return super().state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of this optimizer or of ``torch.optim.Adam``, in place."""
        self.catch_up()
        super().load_state_dict(state_dict)
        for table in self._tables.values():
            table.take_over_state()


class _Table:
    """One table: its moments, and the step up to which each of its rows is updated.

    Whatever is to be done is decided and done when it comes up.

    Attributes:
        step_count: how many steps were taken.
        lr: the learning rate of the steps that rows wait for.
        all_up_to_date: whether no row waits.
        is_in_step: whether the last step that Python ran has updated the table by the row.
    """

    step_count: Steps
    lr: Rate

    def __init__(self, optimizer: RowWiseAdam, embedding: RowWiseEmbedding, catch_up: bool) -> None:
        self.embedding = embedding
        self._optimizer = optimizer
        self._row_steps = optimizer.row_steps
        self.is_in_step = False
        weight = embedding.weight
        beta1, beta2 = self._settings["betas"]
        self.tails = ZeroGradientTails(beta1, beta2, weight.device) if catch_up else None
        self._state["step"] = torch.zeros((), device=weight.device)
        self._state["exp_avg"] = torch.zeros_like(weight)
        self._state["exp_avg_sq"] = torch.zeros_like(weight)
        self.table = AdamTable(
            weight,
            self._state["exp_avg"],
            self._state["exp_avg_sq"],
            last_step=torch.full_like(weight[:, 0], NEVER_TOUCHED, dtype=torch.int32),
        )
        self.take_over_state()
        embedding.attach(self.catch_up, self.catch_up_all, distinct_rows=not self._rows_repeat)

    @property
    def _settings(self) -> dict[str, Any]:
        return self._optimizer.param_groups[0]

    @property
    def _state(self) -> dict[str, Tensor]:
        return self._optimizer.state[self.embedding.weight]

    @property
    def _rows_repeat(self) -> bool:
        """Whether rows are not made distinct, for which the host would wait for the device."""
        return self.embedding.weight.is_cuda

    def take_over_state(self) -> None:
        """Begin from the optimizer's state, in which all rows are up to date."""
        self._set_clock()
        table = self.table
        touched = table.second_moment.any(dim=1) | table.first_moment.any(dim=1)
        table.last_step.copy_(torch.where(touched, self.step_count, NEVER_TOUCHED))
        self.all_up_to_date = True

    def _set_clock(self) -> None:
        self.step_count = int(self._state["step"])
        self.lr = self._settings["lr"]

    def settle(self) -> None:
        """Let the optimizer's state be that of torch's Adam."""
        self.catch_up_all()
        self._state["step"].fill_(self.step_count)

    def catch_up(self, rows: Tensor) -> None:
        """Let rows take the steps that they missed; equal rows may repeat."""
        if self.tails is None or self.all_up_to_date:
            return
        last = self.table.last_step.index_select(0, rows)
        if not self._rows_repeat:
            behind = (last < self.step_count).nonzero().squeeze(1)
            if not len(behind):
                return
            rows, last = rows.index_select(0, behind), last.index_select(0, behind)
        self._take_missed_steps(rows, last, self.step_count)

    def catch_up_all(self) -> None:
        """Let all rows take the steps that they missed."""
        if not self.all_up_to_date:
            self._catch_up_all_to(self.step_count)
            self.all_up_to_date = True

    def _catch_up_all_to(self, now: Steps) -> None:
        if self.tails is None:
            return
        for start in range(0, len(self.table.last_step), _ROWS_AT_ONCE):
            last = self.table.last_step[start : start + _ROWS_AT_ONCE]
            behind = (last < now).nonzero().squeeze(1)
            if len(behind):
                self._take_missed_steps(behind + start, last.index_select(0, behind), now)

    def _take_missed_steps(self, rows: Tensor, last: Tensor, now: Steps) -> None:
        eps = self._settings["eps"]
        self._row_steps.take_missed_steps(self.table, rows, last, now, self.lr, eps, self.tails)

    def update(self, gradient: Tensor) -> None:
        """Take a step of Adam.

        Args:
            gradient: a sparse tensor ``(V, D)``; it is zero for all rows that it does not name.
        """
        rows, values = self._row_gradients(gradient)
        if self._settings["lr"] != self.lr:
            # Missed steps were missed at the rate of their time.
            self.catch_up_all()
            self.lr = self._settings["lr"]
        self.catch_up(rows)
        self.step_count += 1
        betas, eps = self._settings["betas"], self._settings["eps"]
        self._row_steps.take_step(self.table, rows, values, self.step_count, self.lr, betas, eps)
        self.all_up_to_date = False
        if self.step_count in _EARLY_STEPS:
            self.catch_up_all()

    def _row_gradients(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of a sparse gradient ``(R,)``, and the whole gradient of each, ``(R, D)``."""
        rows, values = gradient._indices()[0], gradient._values()
        if self._rows_repeat:
            return rows, sum_equal_rows(rows, values)
        # Autograd forgets that a gradient is coalesced.
        if (rows[1:] > rows[:-1]).all():
            return rows, values
        gradient = gradient.coalesce()
        return gradient._indices()[0], gradient._values()

    def between_steps(self, steps: int) -> None:
        """Do what the host has to do after steps: nothing, as it was done in them."""


class _CapturableTable(_Table):
    """A table whose lookups and steps are work for the device alone.

    Attributes:
        step_count: on the device, ``()`` of int32.
        lr: on the device, ``()``.
    """

    step_count: Tensor
    lr: Tensor

    def __init__(self, optimizer: RowWiseAdam, embedding: RowWiseEmbedding, catch_up: bool) -> None:
        self.step_count = torch.zeros((), dtype=torch.int32, device=embedding.weight.device)
        self.lr = torch.zeros((), device=embedding.weight.device)
        super().__init__(optimizer, embedding, catch_up)

    @property
    def _rows_repeat(self) -> bool:
        return True

    def _set_clock(self) -> None:
        self.step_count.copy_(self._state["step"])
        self._set_rate()
        self._plan()

    def _set_rate(self) -> None:
        rate = self._settings["lr"]
        self.lr.copy_(rate)
        # torch counts in-place changes on the host: a new rate is noticed without reading it.
        self._version_of_rate = rate._version

    def _plan(self) -> None:
        """Decide after how many more steps all rows are brought up to date."""
        taken = int(self.step_count)
        self._steps_left = min((step for step in _EARLY_STEPS if step > taken), default=math.inf)
        self._steps_left -= taken

    def catch_up(self, rows: Tensor) -> None:
        """Let rows take the steps that they missed, whether or not there are such."""
        if self.tails is not None:
            last = self.table.last_step.index_select(0, rows)
            self._take_missed_steps(rows, last, self.step_count)

    def update(self, gradient: Tensor) -> None:
        """Take a step of Adam; all rows of the gradient have been looked up since the last.

        Args:
            gradient: see :meth:`_Table.update`.
        """
        rows, values = self._row_gradients(gradient)
        scale, skip = (getattr(self._optimizer, name, None) for name in ("grad_scale", "found_inf"))
        if scale is not None:
            values.div_(scale)
        if skip is not None:
            skip = skip.reshape(()).bool()
        self.step_count.add_(1 if skip is None else ~skip)
        settings = self._settings
        rate, betas, eps = settings["lr"], settings["betas"], settings["eps"]
        self._row_steps.take_step(self.table, rows, values, self.step_count, rate, betas, eps, skip)
        self.all_up_to_date = False

    def between_steps(self, steps: int) -> None:
        """Let all rows take the steps that they missed, where it is time to.

        Args:
            steps: how many steps were taken since the last call.
        """
        if not self.is_in_step:
            return
        if steps:  # a replayed step runs no Python that says so
            self.all_up_to_date = False
        if self._settings["lr"]._version != self._version_of_rate:
            # The steps since the last call are the first ones at the new rate.
            self._catch_up_all_to(self.step_count - steps)
            self._set_rate()
        self._steps_left -= steps
        if self._steps_left <= 0:
            self.catch_up_all()
            self._plan()
