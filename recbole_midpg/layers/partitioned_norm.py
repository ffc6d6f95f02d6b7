r"""STAR's partitioned normalisation: batch normalisation with statistics per scenario.

Source: Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain
CTR Prediction", CIKM 2021, section 4.2 (PN).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_midpg.layers.across_processes import is_shared, sum_over_processes
from recbole_midpg.layers.scenario_grouping import (
    Bucket,
    ScenarioLayout,
    ScenarioTiles,
    read_slots,
)


class _NormaliseRows(torch.autograd.Function):
    """Normalise blocks of rows by their own statistics, with batch normalisation's closed gradient.

    Autograd's own keeps and passes over twice as many tensors of the size of the input.
    """

    @staticmethod
    def forward(
        ctx: Any,
        block: Tensor,
        scale: Tensor,
        shift: Tensor,
        counts: Tensor,
        running: tuple[Tensor, Tensor, Tensor],
        epsilon: float,
        bucket: Bucket | ScenarioTiles,
    ) -> tuple[Tensor, Tensor, Tensor]:
        running_mean, running_variance, enough = running
        rows = counts.clamp(min=1)
        batch_mean = bucket.total(block) / rows
        mean = torch.where(enough, batch_mean, running_mean)
        centred = block - bucket.spread(mean)
        centred *= bucket.holds_row(block)  # places without a row count for nothing
        batch_variance = bucket.total(centred.square()) / rows
        variance = torch.where(enough, batch_variance, running_variance)
        inverse = (variance + epsilon).rsqrt()
        ctx.save_for_backward(centred, scale, inverse, enough / rows)
        ctx.bucket = bucket
        ctx.mark_non_differentiable(batch_mean, batch_variance)
        outputs = torch.addcmul(bucket.spread(shift), centred, bucket.spread(scale * inverse))
        return outputs, batch_mean, batch_variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, scale, inverse, share = ctx.saved_tensors
        bucket: Bucket | ScenarioTiles = ctx.bucket
        to_shift = bucket.total(gradient)
        along = bucket.total(gradient * centred)
        # Where the statistics are the rows' own, they take back what shifts and scales all rows.
        to_block = torch.addcmul(
            bucket.spread(share * to_shift),
            centred,
            bucket.spread(share * inverse.square() * along),
        )
        to_block = torch.sub(gradient, to_block, out=to_block)
        to_block *= bucket.spread(scale * inverse)
        return to_block, along * inverse, to_shift, None, None, None, None


class PartitionedNorm(nn.Module):
    r"""Normalise each scenario's rows by that scenario's mean and variance.

    .. math:: y = (\gamma \odot \gamma_s) \odot \frac{x - \mu_s}{\sqrt{v_s + \epsilon}}
        + (\beta + \beta_s)

    In training :math:`\mu_s, v_s` (biased) are those of the scenario's rows in the batch, and the
    running ones move towards them by ``momentum`` (the running variance by the unbiased one, as in
    PyTorch). In evaluation they are the scenario's running ones, so that a row's result does not
    depend on the rows beside it. A scenario with fewer than ``min_rows`` rows in a training batch
    is normalised by its running statistics, and does not change them: those of one row would make
    all its rows zero. The paper's batches hold one scenario each and leave this case open.

    A scenario that was never normalised in training has mean 0 and variance 1, which leaves its
    rows as they are up to the learned scale and shift; :meth:`unseen` returns which.

    :math:`\gamma` is ``initial_scale``, :math:`\gamma_s = 1` and :math:`\beta = \beta_s = 0` at the
    start. The parameter ``specific_scale`` holds :math:`\gamma_s - 1`, so that weight decay pulls a
    scenario towards the shared scale and not to zero. Parameters: ``2 (S + 1) N``.

    Args:
        n_scenarios: ``S``.
        size: ``N``.
        min_rows: fewest rows of a scenario in a batch whose own statistics are used, at least 2.
        momentum: weight of a batch in the running statistics.
        epsilon: added to the variance.
        initial_scale: size of the outputs at the start, where that of the inputs is well above the
            root of ``epsilon``.
    """

    running_mean: Tensor
    running_variance: Tensor
    batches_seen: Tensor

    def __init__(
        self,
        n_scenarios: int,
        size: int,
        min_rows: int = 8,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.min_rows, self.momentum, self.epsilon = min_rows, momentum, epsilon
        self.shared_scale = nn.Parameter(initial_scale * torch.ones(size))
        self.shared_shift = nn.Parameter(torch.zeros(size))
        self.specific_scale = nn.Parameter(torch.zeros(n_scenarios, size))
        self.specific_shift = nn.Parameter(torch.zeros(n_scenarios, size))
        self.register_buffer("running_mean", torch.zeros(n_scenarios, size))
        self.register_buffer("running_variance", torch.ones(n_scenarios, size))
        self.register_buffer("batches_seen", torch.zeros(n_scenarios, dtype=torch.long))

    def multiply_adds(self) -> int:
        """Multiplications of one sample in evaluation: one for each value."""
        return len(self.shared_scale)

    def unseen(self) -> Tensor:
        """The scenario slots whose statistics no batch has changed, ascending."""
        return (self.batches_seen == 0).nonzero().squeeze(1)

    def forward(self, inputs: Tensor, groups: ScenarioLayout) -> Tensor:
        """Normalise ``(R, N)`` in the layout of ``groups``.

        Places without a row must hold zeros, as ``lay_out`` leaves them: they are in the sums. What
        they hold afterwards means nothing.
        """
        if self.training and is_shared():
            return self._normalise_shared(inputs, groups)
        blocks = [self._normalise(inputs, bucket).flatten(0, 1) for bucket in groups.blocks()]
        return torch.cat(blocks) if blocks else inputs

    def _normalise(self, inputs: Tensor, bucket: Bucket | ScenarioTiles) -> Tensor:
        """Normalise a bucket's block, ``(scenarios, rows, N)``."""
        slots, block = bucket.slots, bucket.block(inputs)
        mean = read_slots(self.running_mean, slots)
        variance = read_slots(self.running_variance, slots)
        scale = (1 + read_slots(self.specific_scale, slots)) * self.shared_scale
        shift = read_slots(self.specific_shift, slots) + self.shared_shift
        if not self.training or bucket.most_rows() < self.min_rows:
            factor = scale * (variance + self.epsilon).rsqrt()
            centred = block - bucket.spread(mean)
            return torch.addcmul(bucket.spread(shift), centred, bucket.spread(factor))
        counts = bucket.row_counts(block)
        enough = counts >= self.min_rows
        outputs, batch_mean, batch_variance = _NormaliseRows.apply(
            block, scale, shift, counts, (mean, variance, enough), self.epsilon, bucket
        )
        self._update(slots, batch_mean, batch_variance, counts, enough)
        return outputs

    def _normalise_shared(self, inputs: Tensor, groups: ScenarioLayout) -> Tensor:
        """Normalise rows whose scenarios have other rows in other processes, ``(R, N)``.

        All scenarios' sums travel at once, those of scenarios without a row here as zeros.
        """
        slots, is_row = groups.slots_of_places()
        is_row = is_row.to(inputs.dtype).unsqueeze(1)
        by_scenario = inputs.new_zeros(len(self.running_mean), inputs.shape[1] + 1)
        # The number of rows travels as one column more.
        sums = sum_over_processes(
            by_scenario.index_add(0, slots, torch.cat([inputs * is_row, is_row], dim=1))
        )
        counts = sums[:, -1:].detach()
        enough = counts >= self.min_rows
        batch_mean = sums[:, :-1] / counts.clamp(min=1)
        mean = torch.where(enough, batch_mean, self.running_mean)
        centred = (inputs - mean.index_select(0, slots)) * is_row
        squares = by_scenario[:, :-1].index_add(0, slots, centred.square())
        batch_variance = sum_over_processes(squares) / counts.clamp(min=1)
        variance = torch.where(enough, batch_variance, self.running_variance)
        with torch.no_grad():
            self._update(slice(None), batch_mean, batch_variance, counts, enough)
        factor = (1 + self.specific_scale) * self.shared_scale * (variance + self.epsilon).rsqrt()
        shift = self.specific_shift + self.shared_shift
        return torch.addcmul(shift.index_select(0, slots), centred, factor.index_select(0, slots))

    def _update(
        self,
        slots: slice | Tensor,
        mean: Tensor,
        variance: Tensor,
        counts: Tensor,
        enough: Tensor,
    ) -> None:
        """Move the running statistics of the scenarios with enough rows, in place.

        A scenario with too few rows has a weight of zero, whatever its batch statistics are.
        """
        weight = self.momentum * enough.to(mean.dtype)
        unbiased = variance * (counts / (counts - 1).clamp(min=1))
        for running, of_batch in ((self.running_mean, mean), (self.running_variance, unbiased)):
            before = read_slots(running, slots)
            running[slots] = before + weight * (of_batch - before)
        self.batches_seen[slots] += enough.squeeze(1)
