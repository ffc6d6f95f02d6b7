"""Mean, spread and significance of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The mean of some values and their standard deviation.

    Attributes:
        mean: the mean.
        sd: the standard deviation with ``count - 1`` below; NaN of a single value.
        count: how many values there are.
    """

    mean: float
    sd: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Describe values; ``None`` where there are none."""
        if not len(values):
            return None
        array = np.asarray(values, dtype=np.float64)
        sd = float(array.std(ddof=1)) if len(array) > 1 else float("nan")
        return cls(float(array.mean()), sd, len(array))


def half_width(values: Sequence[float]) -> float | None:
    r"""Half the width of the 95 % interval of a mean, :math:`t_{0.975, n-1}\,s / \sqrt n`.

    Args:
        values: ``n`` of them, of which :math:`s` is the standard deviation.

    Returns:
        Student's interval around the mean; ``None`` of fewer than two values.
    """
    from scipy import stats  # noqa: PLC0415 - takes long, and every command imports this

    spread = Spread.of(values)
    if spread is None or spread.count < 2:  # noqa: PLR2004 - one has no spread
        return None
    return float(stats.t.ppf(0.975, spread.count - 1) * spread.sd / spread.count**0.5)


@dataclass(frozen=True)
class PairedTests:
    """Two-sided p-values of paired differences; ``None`` where a test does not apply.

    Attributes:
        t: of Student's t-test.
        wilcoxon: of Wilcoxon's signed-rank test. With fewer than 6 pairs it cannot fall below 0.05.
    """

    t: float | None
    wilcoxon: float | None


def paired_tests(differences: Sequence[float]) -> PairedTests:
    """Test whether paired values differ.

    Trials of one seed share split and seed, and so make a pair. Their splits overlap from seed to
    seed, for which the p-values are too small (Nadeau and Bengio, 2003); they say how far seeds and
    splits explain a difference, not how it would be on other data.

    Args:
        differences: of the two values of each seed.

    Returns:
        The p-values.
    """
    from scipy import stats  # noqa: PLC0415 - takes long, and every command imports this

    array = np.asarray(differences, dtype=np.float64)
    if len(array) < 2 or not array.any():  # noqa: PLR2004 - one has no spread
        return PairedTests(None, None)
    wilcoxon = float(stats.wilcoxon(array).pvalue)
    if np.ptp(array) == 0:
        return PairedTests(None, wilcoxon)
    return PairedTests(float(stats.ttest_1samp(array, 0.0).pvalue), wilcoxon)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number (Holm, 1979); ``None`` stays and does not count.

    The i-th smallest of m becomes the largest ``(m - j + 1) p_j`` for j up to i, at most 1.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected
