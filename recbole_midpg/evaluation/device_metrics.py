"""The metrics of predicted probabilities on the device where they are, of all groups at once.

Plain torch, for tensors on any device: the same numbers as
:mod:`~recbole_midpg.evaluation.binary_metrics` gives for each group by numpy, to 1e-12. A ranking
is a sort on the device; what is counted is counted in whole numbers, so that ties and the order of
rows play no part; what is summed is summed in float64, in the same order each time.

The host waits for the device a few times a metric, however many rows and groups there are. Memory
at the peak, in bytes a row beside labels and scores in float32, by torch's profiler on a CPU: AUC
36, of groups 40; LogLoss 32; average precision 56; calibration error 56; grouping 32, of which 8
stay. The sort of a GPU takes more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_midpg.evaluation.binary_metrics import LEAST_PROBABILITY, require_vectors

# Rows that are summed one after the other, so that rounding adds up over no more than these.
_PIECE = 1024


@dataclass(frozen=True)
class Runs:
    """Rows in runs: those of a group stand beside each other.

    Attributes:
        labels: ``(B,)``; 1 is positive.
        scores: ``(B,)``, or probabilities of label 1.
        groups: the groups' ids, ``(G,)``.
        lengths: how many rows each has, at least 1, int64, ``(G,)``; their sum is ``B``.

    Raises:
        UsageError: labels and scores differ in shape or are no vectors.
    """

    labels: Tensor
    scores: Tensor
    groups: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        require_vectors(tuple(self.labels.shape), tuple(self.scores.shape))

    @classmethod
    def whole(cls, labels: Tensor, scores: Tensor) -> Runs:
        """All rows as one group, 0; no group where there are no rows."""
        lengths = scores.new_full((min(scores.numel(), 1),), scores.numel(), dtype=torch.int64)
        return cls(labels.detach(), scores.detach(), torch.zeros_like(lengths), lengths)

    @classmethod
    def by_group(cls, labels: Tensor, scores: Tensor, groups: Tensor) -> Runs:
        """Sort rows by their group.

        Args:
            labels: ``(B,)``.
            scores: ``(B,)``.
            groups: the id of each row's group, ``(B,)``.

        Returns:
            The groups that have rows, their ids ascending.
        """
        require_vectors(tuple(labels.shape), tuple(scores.shape))
        order = groups.argsort(stable=True)
        ids, lengths = torch.unique_consecutive(groups[order], return_counts=True)
        return cls(labels.detach()[order], scores.detach()[order], ids, lengths)


def count_positives(runs: Runs) -> Tensor:
    """How many rows of each run are positive, int64, ``(G,)``."""
    return _counts(runs.labels == 1, runs.lengths)


def auc(runs: Runs) -> Tensor:
    """The area under the ROC curve of each run.

    See :func:`recbole_midpg.evaluation.binary_metrics.auc`.

    Returns:
        float64, ``(G,)``; NaN where a class has no rows or a score is NaN.
    """
    ties = _ties(runs)
    positives, negatives = (
        _counts(part, ties.lengths) for part in (ties.positives, ties.negatives)
    )
    # Twice the pairs won, so that a tie counts one: whole numbers throughout. Of the negative rows
    # below a tie, those of the runs before its own are taken off once for the whole run.
    below = ties.negatives.cumsum(0) - ties.negatives
    won = _counts(ties.positives * (2 * below + ties.negatives), ties.lengths)
    won -= 2 * positives * (negatives.cumsum(0) - negatives)
    areas = won.double() / (2 * positives * negatives).double()
    return areas.masked_fill(ties.with_nan, torch.nan)


def average_precision(runs: Runs) -> Tensor:
    """The area under the precision-recall curve of each run.

    See :func:`recbole_midpg.evaluation.binary_metrics.average_precision`.

    Returns:
        float64, ``(G,)``; NaN where no row is positive or a score is NaN.
    """
    ties = _ties(runs)
    positives = _counts(ties.positives, ties.lengths)
    found = _here_and_above(ties.positives, positives, ties.lengths)
    ranked = _here_and_above(ties.positives + ties.negatives, runs.lengths, ties.lengths)
    steps = ties.positives.double() * found.double() / ranked.double()
    areas = _sums(steps, ties.lengths) / positives.double()
    return areas.masked_fill(ties.with_nan, torch.nan)


def log_loss(runs: Runs) -> Tensor:
    """The mean negative log-likelihood of each run's labels.

    See :func:`recbole_midpg.evaluation.binary_metrics.log_loss`.

    Returns:
        In nats a row, float64, ``(G,)``; NaN where a probability is NaN.
    """
    y = runs.labels.double()
    p = runs.scores.to(torch.float64, copy=True).clamp_(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    likelihoods = p.log().mul_(y)
    likelihoods += p.neg_().add_(1).log_().mul_(1 - y)
    return -_sums(likelihoods, runs.lengths) / runs.lengths


def predicted_over_observed(runs: Runs) -> Tensor:
    """PCOC of each run: mean prediction over mean label.

    See :func:`recbole_midpg.evaluation.binary_metrics.predicted_over_observed`.

    Returns:
        float64, ``(G,)``; NaN where no label is positive.
    """
    observed, predicted = (
        _sums(part.double(), runs.lengths) for part in (runs.labels, runs.scores)
    )
    return (predicted / observed).masked_fill(~(observed > 0), torch.nan)


def expected_calibration_error(runs: Runs, bins: int) -> Tensor:
    """ECE of each run over bins of equal width.

    See :func:`recbole_midpg.evaluation.binary_metrics.expected_calibration_error`.

    Args:
        runs: with probabilities in [0, 1].
        bins: their number.

    Returns:
        From 0 to 1, float64, ``(G,)``; NaN where a probability is NaN.
    """
    p = runs.scores.double()
    places = (p * bins).ceil_().sub_(1).clamp_(0, bins - 1).nan_to_num_().long()
    places += bins * _numbers(runs.lengths)
    order = places.argsort(stable=True)
    occupied, rows = torch.unique_consecutive(places[order], return_counts=True)
    gaps = _sums((runs.labels.double() - p)[order], rows).abs()
    bins_of_runs = torch.bincount(occupied // bins, minlength=len(runs.lengths))
    return _sums(gaps, bins_of_runs) / runs.lengths


@dataclass(frozen=True)
class _Ties:
    """Runs of rows ranked by score, as the ties that they make; one row may be a tie.

    Attributes:
        positives: the positive rows of each tie, from a run's lowest score up, int64, ``(T,)``.
        negatives: its other rows.
        lengths: how many ties each run has, int64, ``(G,)``.
        with_nan: which runs have a score that is NaN, ``(G,)``.
    """

    positives: Tensor
    negatives: Tensor
    lengths: Tensor
    with_nan: Tensor


def _ties(runs: Runs) -> _Ties:
    order = _ranking(runs)
    scores = runs.scores[order]
    positive = (runs.labels == 1)[order]
    del order
    # A tie starts where the score changes, and where a run does.
    is_start = torch.ones_like(positive)
    torch.ne(scores[1:], scores[:-1], out=is_start[1:])
    is_start[runs.lengths.cumsum(0) - runs.lengths] = True
    # Not by its place in the ranking: by its bits, a NaN of negative sign is below all numbers.
    with_nan = _counts(runs.scores.isnan(), runs.lengths) > 0
    starts = is_start.nonzero().squeeze(1)
    sizes = torch.diff(starts, append=starts.new_full((1,), len(scores)))
    del starts
    positives = _counts(positive, sizes)
    return _Ties(positives, sizes.sub_(positives), _counts(is_start, runs.lengths), with_nan)


def _ranking(runs: Runs) -> Tensor:
    """The rows of each run from the lowest score, ``(B,)``; the runs stay where they are."""
    order = runs.scores.argsort()
    if len(runs.lengths) == 1:
        return order
    run_of_rank = _numbers(runs.lengths)[order]
    return order[run_of_rank.argsort(stable=True)]


def _here_and_above(rows: Tensor, totals: Tensor, lengths: Tensor) -> Tensor:
    """The rows of each tie and of those above it in its run, ``(T,)``.

    Args:
        rows: of each tie, ``(T,)``.
        totals: of each run, ``(G,)``.
        lengths: how many ties each run has, ``(G,)``.
    """
    return torch.repeat_interleave(totals.cumsum(0), lengths) - rows.cumsum(0) + rows


def _numbers(lengths: Tensor) -> Tensor:
    """The number of each row's run, from 0, int64, ``(B,)``."""
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)


def _counts(values: Tensor, lengths: Tensor) -> Tensor:
    """Sum whole numbers over runs of them, int64, ``(G,)``."""
    totals = values.cumsum(0, dtype=torch.int64)[lengths.cumsum(0) - 1]
    return torch.diff(totals, prepend=totals.new_zeros(1))


def _sums(values: Tensor, lengths: Tensor) -> Tensor:
    """Sum float64 over runs of them, ``(G,)``: over pieces of a run, then over the pieces' sums."""
    if len(lengths) == 0:
        return values.new_zeros(0)
    if int(lengths.max()) <= _PIECE:
        return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True)
    pieces = (lengths - 1) // _PIECE + 1
    ends = pieces.cumsum(0)
    sizes = lengths.new_full((int(ends[-1]),), _PIECE)
    sizes[ends - 1] = lengths - _PIECE * (pieces - 1)
    return _sums(torch.segment_reduce(values, "sum", lengths=sizes, unsafe=True), pieces)
