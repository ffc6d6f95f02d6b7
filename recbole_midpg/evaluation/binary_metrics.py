"""Metrics of predicted probabilities and binary labels, exact and in float64."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recbole_midpg.common.errors import UsageError

Vector: TypeAlias = "NDArray[np.generic] | Tensor"
Floats: TypeAlias = NDArray[np.float64]

# RecBole's bound, and scikit-learn's before its release 1.3.
LEAST_PROBABILITY = 1e-15


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
    return float(row_losses(label_values, probability_values).mean())


def row_losses(labels: NDArray[np.generic], probabilities: NDArray[np.generic]) -> Floats:
    """The negative log-likelihood of each row's label; arguments as :func:`log_loss`.

    Returns:
        In nats, ``(B,)``, float64.
    """
    y = labels.astype(np.float64)
    p = np.clip(probabilities.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def average_precision(labels: Vector, scores: Vector) -> float:
    r"""Area under the precision-recall curve, as the step function that the rows make of it.

    $$\mathrm{AP} = \sum_n (R_n - R_{n-1})\, P_n$$

    over the distinct scores from the highest down, with precision P_n and recall R_n of the rows
    scored at least as high (scikit-learn's ``average_precision_score``). At a low base rate it
    shows what AUC hides: a random ranking has the base rate, not a half.

    Args:
        labels: ``(B,)``; 1 is positive, every other value negative.
        scores: ``(B,)``, the higher the likelier.

    Returns:
        The area; NaN where no row is positive or a score is NaN.

    Raises:
        UsageError: the vectors differ in shape or are no vectors.
    """
    label_values, score_values = _vectors(labels, scores)
    order = np.argsort(score_values)[::-1]
    ranked = score_values[order]
    found = np.cumsum(label_values[order] == 1)
    # NaN are sorted to the end, and so come first here.
    if len(found) == 0 or found[-1] == 0 or np.isnan(ranked[0]):
        return float("nan")
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    true_positives = found[last_of_ties]
    precision = true_positives / (np.flatnonzero(last_of_ties) + 1)
    recall_steps = np.diff(true_positives, prepend=0) / found[-1]
    return float((recall_steps * precision).sum())


def predicted_over_observed(labels: Vector, probabilities: Vector) -> float:
    r"""PCOC: mean prediction over mean label; 1 is calibrated, above 1 promises too much.

    Args:
        labels: ``(B,)``, from 0 to 1.
        probabilities: ``(B,)``, of label 1.

    Returns:
        The ratio; NaN where no label is positive.

    Raises:
        UsageError: the vectors differ in shape or are no vectors.
    """
    label_values, probability_values = _vectors(labels, probabilities)
    observed = label_values.sum(dtype=np.float64)
    predicted = probability_values.sum(dtype=np.float64)
    return float(predicted / observed) if observed > 0 else float("nan")


def expected_calibration_error(labels: Vector, probabilities: Vector, bins: int) -> float:
    r"""ECE over bins of equal width (Naeini et al., AAAI 2015; Guo et al., ICML 2017).

    $$\mathrm{ECE} = \sum_k \frac{B_k}{B} \,\big|\bar y_k - \bar p_k\big|$$

    with the mean label and the mean prediction of the ``B_k`` rows of bin ``k``,
    ``(k-1)/bins < p <= k/bins``; the first bin holds 0 too.

    Args:
        labels: ``(B,)``, from 0 to 1.
        probabilities: ``(B,)``, of label 1, in [0, 1].
        bins: their number.

    Returns:
        The error, from 0 to 1; NaN where there are no rows or a probability is NaN.

    Raises:
        UsageError: the vectors differ in shape or are no vectors.
    """
    label_values, probability_values = _vectors(labels, probabilities)
    p = probability_values.astype(np.float64)
    if len(p) == 0 or np.isnan(p).any():
        return float("nan")
    places = np.clip(np.ceil(p * bins).astype(np.int64) - 1, 0, bins - 1)
    differences = np.bincount(places, weights=label_values.astype(np.float64) - p, minlength=bins)
    return float(np.abs(differences).sum() / len(p))


def require_vectors(labels: tuple[int, ...], scores: tuple[int, ...]) -> None:
    """Check the shapes of labels and scores.

    Raises:
        UsageError: they differ, or are not of vectors.
    """
    if len(labels) != 1 or labels != scores:
        raise UsageError(
            f"metric: labels of shape {labels} and scores of shape {scores} are not allowed, "
            "expected two vectors of one length."
        )


def _vectors(labels: Vector, scores: Vector) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    label_values, score_values = (
        vector.detach().cpu().numpy() if isinstance(vector, Tensor) else np.asarray(vector)
        for vector in (labels, scores)
    )
    require_vectors(label_values.shape, score_values.shape)
    return label_values, score_values
