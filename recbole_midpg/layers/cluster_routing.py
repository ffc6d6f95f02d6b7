r"""AdaptDHM's routing: rows are clustered by their embeddings, without a gradient.

Source: Li et al., "Adaptive Distribution Hierarchical Model for Multi-Domain CTR Prediction",
arXiv 2211.12105: a routing that gives every row a distribution coefficient, end to end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_midpg.layers.across_processes import sum_over_processes

SIMILARITIES = ("dot", "cosine")
# Centres whose similarities to a row differ by less, for a row of length 1, count as equally near:
# where centres have met, rounding alone tells them apart, and that differs from batch to batch.
TIED = 1e-4


class ClusterRouting(nn.Module):
    r"""Give each row to the cluster whose centre it is most similar to, and let the centres follow.

    With :math:`y` the rows (``dot``) or the rows at length 1 (``cosine``), a training batch refines
    targets :math:`t`, which begin at the centres :math:`C`, ``steps`` times,

    .. math::
        r_{bq} = \text{softmax}_q\left(\frac{y_b \cdot t_q}{\tau}\right), \qquad
        m_q = \sum_b r_{bq} \, y_b, \qquad t_q = \frac{m_q}{\lVert m_q \rVert}

    and then moves each centre once, at length 1 again:

    .. math:: C_q \leftarrow \frac{\beta C_q + (1 - \beta) t_q}
        {\lVert \beta C_q + (1 - \beta) t_q \rVert}

    A cluster with :math:`m_q = 0`, as in an empty batch, stays where it is. In training as in
    evaluation a row's cluster is then

    .. math:: q(b) = \text{argmax}_q \; y_b \cdot C_q

    so that in evaluation, where nothing moves, it does not depend on the rows beside it. Of centres
    that are equally near up to :data:`TIED` it is the first: clusters whose centres have met are
    one. Of rows in several processes, all count for the centres, which are the same in each.

    There are no parameters. Centres and counts are buffers that a checkpoint holds. Centres start
    in random directions.

    Args:
        n_clusters: ``Q``.
        size: ``N``.
        steps: how often the targets are refined in a batch, at least 1.
        momentum: :math:`\beta`, how much of a centre a batch leaves, in ``[0, 1)``.
        similarity: one of :data:`SIMILARITIES`.
        temperature: :math:`\tau`, above 0. The softmax parts rows only where
            :math:`\lVert y \rVert / \tau` is well above 1.

    Attributes:
        centres: :math:`C`, ``(Q, N)``.
        rows_seen: rows of each cluster over all training batches, ``(Q,)``.
    """

    centres: Tensor
    rows_seen: Tensor

    def __init__(
        self,
        n_clusters: int,
        size: int,
        steps: int = 3,
        momentum: float = 0.9,
        similarity: str = "dot",
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.steps, self.momentum = steps, momentum
        self.similarity, self.temperature = similarity, temperature
        self.register_buffer("centres", functional.normalize(torch.randn(n_clusters, size), dim=1))
        self.register_buffer("rows_seen", torch.zeros(n_clusters, dtype=torch.long))

    def multiply_adds(self) -> int:
        """Multiplications of one sample in evaluation: ``Q N``."""
        return self.centres.numel()

    def shares(self) -> list[float]:
        """Each cluster's share of the rows seen in training; empty before any."""
        total = int(self.rows_seen.sum())
        return [count / total for count in self.rows_seen.tolist()] if total else []

    def closest_centres(self) -> tuple[float, int, int]:
        """The largest cosine between two centres, and their clusters; at least two are needed."""
        cosines = (self.centres @ self.centres.T).fill_diagonal_(-2.0)  # below any cosine
        value, place = cosines.flatten().max(0)
        first, second = sorted(divmod(int(place), len(cosines)))
        return float(value), first, second

    def forward(self, inputs: Tensor) -> Tensor:
        """Find the cluster of each row, ``(B, N)`` to ``(B,)``; in training centres move first."""
        # A coefficient in a smaller type, as autocast would have it, blurs which centre is nearest.
        with torch.autocast(inputs.device.type, enabled=False):
            rows = inputs.detach().to(self.centres.dtype)
            if self.training:
                self._move_centres(rows)
            clusters = self._nearest(rows)
        if self.training:
            own = torch.zeros_like(self.rows_seen)
            own.scatter_add_(0, clusters, torch.ones_like(clusters))
            self.rows_seen += sum_over_processes(own)
        return clusters

    def _nearest(self, rows: Tensor) -> Tensor:
        """The first of the nearest centres of each row, ``(B, N)`` to ``(B,)``."""
        # The length of a row does not change which centre is nearest.
        similarities = rows @ self.centres.T
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        least = similarities.amax(1, keepdim=True) - TIED * lengths
        return (similarities >= least).int().argmax(1)

    def _move_centres(self, rows: Tensor) -> None:
        """Move the centres towards what a batch's rows, ``(B, N)``, say of them."""
        if self.similarity == "cosine":
            rows = functional.normalize(rows, dim=1)
        targets = self.centres
        for _ in range(self.steps):
            coefficients = torch.softmax(rows @ targets.T / self.temperature, dim=1)
            sums = sum_over_processes(coefficients.T @ rows)
            lengths = torch.linalg.vector_norm(sums, dim=1, keepdim=True)
            targets = torch.where(lengths > 0, sums / lengths, targets)
        moved = self.momentum * self.centres + (1 - self.momentum) * targets
        moved = functional.normalize(moved, dim=1)
        self.centres.copy_(torch.where(lengths > 0, moved, self.centres))
