"""Batch normalisation by the mean and variance of a batch whose rows lie in several processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_midpg.layers.across_processes import is_shared, sum_over_processes


class SharedBatchNorm(nn.BatchNorm1d):
    r"""``nn.BatchNorm1d`` with the statistics of all processes' rows.

    ``torch.nn.SyncBatchNorm`` is the same on GPUs, and refuses tensors on the CPU. By itself, in
    evaluation and outside of :func:`~recbole_midpg.layers.across_processes.shared`, it is an
    ``nn.BatchNorm1d``, whose parameters and buffers it has.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise ``(B_r, N)``, the rows of this process."""
        if not (self.training and is_shared()):
            return super().forward(inputs)
        if inputs.dim() != 2:  # noqa: PLR2004 - rows and columns
            raise ValueError(f"expected rows (B, N), not a tensor of {inputs.dim()} dimensions")
        # The number of rows travels as one column more. It is filled in on the device: a copy from
        # the host would be waited for.
        own_count = inputs.new_full((1,), len(inputs))
        sums = sum_over_processes(torch.cat([inputs.sum(0), own_count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = inputs - mean
        variance = sum_over_processes(centred.square().sum(0)) / count
        if self.track_running_stats:
            with torch.no_grad():
                self._move_statistics(mean, variance * count / (count - 1).clamp(min=1))
        normalised = centred * (variance + self.eps).rsqrt()
        return normalised if self.weight is None else normalised * self.weight + self.bias

    def _move_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards a batch's, as ``nn.BatchNorm1d`` does."""
        self.num_batches_tracked += 1
        # Without a momentum they are the mean over all batches, whose number stays on the device.
        weight = self.momentum
        if weight is None:
            weight = self.num_batches_tracked.to(mean.dtype).reciprocal()
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def share_batch_norms(model: nn.Module) -> bool:
    """Let a model's batch normalisations take all processes' rows, in place.

    Args:
        model: any model; its parameters and buffers stay the same objects.

    Returns:
        Whether it has any.
    """
    norms = [
        (parent, name, norm)
        for parent in model.modules()
        for name, norm in parent.named_children()
        if isinstance(norm, nn.BatchNorm1d)
    ]
    for parent, name, norm in norms:
        replaced = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum)
        replaced.__dict__.update(norm.__dict__)
        setattr(parent, name, replaced)
    return bool(norms)
