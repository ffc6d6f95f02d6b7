"""What of a model's probabilities cannot be right, and what of its AUC says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.evaluation.binary_metrics import log_loss, predicted_over_observed

# A loss above this many times that of always predicting the mean label is implausible.
_LOSS_RATIO = 1.2
# The largest plausible ratio of mean probability and mean label, either way round.
_LARGEST_PCOC = 1.5
# An AUC within this many standard deviations of 1/2 may be that of scores that know nothing.
_DEVIATIONS_OF_CHANCE = 3


def doubts(labels: NDArray[np.floating], probabilities: NDArray[np.floating]) -> Iterator[str]:
    r"""Find what is implausible in the probabilities of rows.

    Args:
        labels: ``(B,)``, 0 or 1, ``B >= 1``.
        probabilities: ``(B,)``.

    Yields:
        A sentence without its full stop for each of: one probability in all rows; a LogLoss of
        more than 1.2 times :math:`-\bar y \ln \bar y - (1 - \bar y) \ln(1 - \bar y)`, which the
        mean label :math:`\bar y` alone gives; a PCOC above 1.5 or below 1 / 1.5. Where all labels
        are equal the last two are not looked for.
    """
    if len(probabilities) > 1 and np.ptp(probabilities) == 0:
        yield f"the model predicts {probabilities[0]:.4g} in all {len(probabilities):,} rows"
    mean = float(np.mean(labels == 1))
    if not 0 < mean < 1:
        return
    of_the_mean = -mean * np.log(mean) - (1 - mean) * np.log(1 - mean)
    loss = log_loss(labels, probabilities)
    if loss > _LOSS_RATIO * of_the_mean:
        yield (
            f"LogLoss is {loss:.4f}, and predicting the mean label {mean:.4g} in all rows gives "
            f"{of_the_mean:.4f}"
        )
    ratio = predicted_over_observed(labels, probabilities)
    if not 1 / _LARGEST_PCOC <= ratio <= _LARGEST_PCOC:
        yield f"the mean prediction is {ratio:.3g} times the mean label (PCOC)"


def chance_doubt(auc: float, positives: int, negatives: int) -> str | None:
    r"""Find whether scores that know nothing of the labels may have such an AUC.

    Args:
        auc: of the rows.
        positives: how many rows are positive, :math:`n_+`.
        negatives: how many are negative, :math:`n_-`.

    Returns:
        A sentence without its full stop; ``None`` where ``auc`` is more than three standard
        deviations above 1/2, :math:`\sqrt{(n_+ + n_- + 1) / (12 n_+ n_-)}` each. It is that of
        scores drawn at random without ties, :math:`U / (n_+ n_-)` with :math:`U` of Mann and
        Whitney (1947). ``None`` too where there is no AUC: of one class, or NaN.
    """
    if positives == 0 or negatives == 0:
        return None
    rows = positives + negatives
    deviation = math.sqrt((rows + 1) / (12 * positives * negatives))
    highest = min(0.5 + _DEVIATIONS_OF_CHANCE * deviation, 1.0)
    if math.isnan(auc) or auc > highest:
        return None
    return (
        f"AUC is {auc:.4f}, and scores drawn at random reach {highest:.4f} in so many rows "
        f"({positives:,} positive, {negatives:,} negative)"
    )
