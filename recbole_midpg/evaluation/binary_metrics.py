"""AUC and LogLoss of predicted probabilities, exact and in float64."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recbole_midpg.errors import UsageError

Vector: TypeAlias = "NDArray[np.generic] | Tensor"

# RecBole's bound, and scikit-learn's before its release 1.3.
_LEAST_PROBABILITY = 1e-15


def auc(labels: Vector, scores: Vector) -> float:
    r"""Area under the ROC curve: how often a positive row outranks a negative one.

    $$\mathrm{AUC} = \frac{1}{PN} \sum_{p} \Big(\big|\{n : s_n < s_p\}\big|
        + \tfrac12 \big|\{n : s_n = s_p\}\big|\Big)$$

    over P positive rows p and N negative rows n (Mann and Whitney, 1947). The pairs are counted in
    whole numbers, so that ties and order of the rows play no part.

    Args:
        labels: ``(B,)``; 1 is positive, every other value negative.
        scores: ``(B,)``, the higher the likelier.

    Returns:
        The area; NaN where a class has no rows or a score is NaN, as there is no ranking then.

    Raises:
        UsageError: the vectors differ in shape or are no vectors.
    """
    label_values, score_values = _vectors(labels, scores)
    positive = label_values == 1
    positives, negatives = np.sort(score_values[positive]), np.sort(score_values[~positive])
    pairs = len(positives) * len(negatives)
    # NaN are sorted to the end.
    if pairs == 0 or np.isnan(positives[-1]) or np.isnan(negatives[-1]):
        return float("nan")
    below = np.searchsorted(negatives, positives, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(negatives, positives, side="right").sum(dtype=np.int64)
    return float((int(below) + int(not_above)) / (2 * pairs))


def log_loss(labels: Vector, probabilities: Vector) -> float:
    r"""Mean negative log-likelihood of the labels.

    $$-\frac1B \sum_b y_b \ln p_b + (1 - y_b) \ln(1 - p_b)$$

    with p kept within 1e-15 of 0 and 1.

    Args:
        labels: ``(B,)``, from 0 to 1.
        probabilities: ``(B,)``, of label 1.

    Returns:
        The loss in nats a row; NaN where there are no rows or a probability is NaN.

    Raises:
        UsageError: the vectors differ in shape or are no vectors.
    """
    label_values, probability_values = _vectors(labels, probabilities)
    if len(label_values) == 0:
        return float("nan")
    y = label_values.astype(np.float64)
    p = np.clip(probability_values.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def _vectors(labels: Vector, scores: Vector) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    label_values, score_values = (
        vector.detach().cpu().numpy() if isinstance(vector, Tensor) else np.asarray(vector)
        for vector in (labels, scores)
    )
    if label_values.ndim != 1 or label_values.shape != score_values.shape:
        raise UsageError(
            f"metric: labels of shape {label_values.shape} and scores of shape "
            f"{score_values.shape} are not allowed, expected two vectors of one length."
        )
    return label_values, score_values
