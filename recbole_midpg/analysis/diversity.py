r"""How far apart the weighting matrices of scenarios lie, in numbers.

The paper shows this by eye (Cheng et al., MI-DPG, CIKM 2023, Figure 2 b, d and f). ``R`` rows have
weighting matrices of ``F`` values each, flattened over the layers, and belong to ``S`` scenarios.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

_ROUNDING = 1e-12


def silhouette(values: Floats, scenarios: Integers) -> float:
    r"""The mean silhouette of rows, from -1 to 1: high where scenarios lie apart from each other.

    .. math:: \frac1R \sum_i \frac{b_i - a_i}{\max(a_i, b_i)}

    with :math:`a_i` the mean Euclidean distance of row ``i`` to the other rows of its scenario, and
    :math:`b_i` that to the rows of the nearest other scenario; a scenario's only row counts 0.

    Source: Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis", 1987.

    Args:
        values: ``(R, F)``.
        scenarios: the number of each row's scenario, ``(R,)``.

    Raises:
        UsageError: there are fewer than two scenarios, or no more rows than scenarios.
    """
    n_scenarios = len(np.unique(scenarios))
    if not 2 <= n_scenarios < len(scenarios):  # noqa: PLR2004 - apart from each other takes two
        raise UsageError(
            f"silhouette: {len(scenarios)} rows of {n_scenarios} scenarios have none, "
            "expected at least two scenarios and more rows than scenarios."
        )
    from sklearn.metrics import silhouette_score  # noqa: PLC0415 - takes long, and every command imports this

    return float(silhouette_score(values, scenarios))


@dataclass(frozen=True)
class VarianceParts:
    r"""The two parts of the rows' variance, summed over the ``F`` values (traces of covariances).

    .. math::
        \text{between} = \frac1R \sum_s R_s \lVert \mu_s - \mu \rVert^2, \qquad
        \text{within} = \frac1R \sum_s \sum_{i \in s} \lVert x_i - \mu_s \rVert^2

    Their sum is the variance of all rows; their ratio is the trace form of Fisher's criterion.

    Attributes:
        between: of the scenarios' means.
        within: of the rows around their scenario's mean.
    """

    between: float
    within: float

    @property
    def ratio(self) -> float | None:
        """Between by within; ``None`` where rows of one scenario do not differ at all."""
        return self.between / self.within if self.within > 0 else None


def variance_parts(values: Floats, scenarios: Integers) -> VarianceParts:
    """Split the variance of rows, ``(R, F)``, into that between and that within scenarios."""
    means, places, counts = _group_means(values, scenarios)
    shares = counts / len(values)
    grand_mean = shares @ means
    between = shares @ ((means - grand_mean) ** 2).sum(axis=1)
    within = ((values - means[places]) ** 2).sum() / len(values)
    return VarianceParts(float(between), float(within))


def mean_matrices(values: Floats, scenarios: Integers) -> Floats:
    """The mean row of each scenario, ``(S, F)``, in the order of the scenarios' numbers."""
    return _group_means(values, scenarios)[0]


def _group_means(values: Floats, scenarios: Integers) -> tuple[Floats, Integers, Integers]:
    """Mean rows ``(S, F)``, each row's place among them ``(R,)``, and counts ``(S,)``."""
    numbers, places, counts = np.unique(scenarios, return_inverse=True, return_counts=True)
    places = places.reshape(-1)
    means = np.stack(
        [values[places == place].mean(axis=0, dtype=np.float64) for place in range(len(numbers))]
    )
    return means, places, counts


def centred_similarity(means: Floats) -> Floats:
    r"""The cosine of the scenarios' mean matrices, their common mean taken off.

    .. math::
        d_s = \mu_s - \frac1S \sum_t \mu_t, \qquad
        \text{similarity}_{st} = \frac{d_s \cdot d_t}{\lVert d_s \rVert\, \lVert d_t \rVert}

    Every entry of a weighting matrix is a sigmoid around 0.5, so that without the common mean taken
    off all scenarios have a cosine of about 1. (Pearson's correlation of two matrices takes off
    each matrix's own mean over its entries instead, and leaves what the scenarios share.) The
    :math:`d_s` add up to zero: scenarios without any structure have about ``-1 / (S - 1)``, not 0.

    Args:
        means: ``(S, F)``.

    Returns:
        ``(S, S)``, from -1 to 1, 1 on the diagonal; 0 where a scenario equals the common
        mean.

    Raises:
        UsageError: there are fewer than two scenarios.
    """
    if len(means) < 2:  # noqa: PLR2004 - similar to each other takes two
        raise UsageError("similarity: one scenario is not similar to any, expected at least two.")
    different = means - means.mean(axis=0)
    lengths = np.linalg.norm(different, axis=1, keepdims=True)
    negligible = lengths <= _ROUNDING * np.linalg.norm(means, axis=1, keepdims=True)
    directions = np.divide(
        different, lengths, out=np.zeros_like(different), where=np.logical_not(negligible)
    )
    similarity = np.clip(directions @ directions.T, -1.0, 1.0)
    np.fill_diagonal(similarity, 1.0)
    return similarity


def cluster_order(similarity: Floats) -> list[int]:
    """Order scenarios so that similar ones stand beside each other.

    Hierarchical clustering of the distances ``1 - similarity`` by average linkage, with the leaves
    in the optimal order of Bar-Joseph et al., 2001.

    Args:
        similarity: ``(S, S)``, symmetric.

    Returns:
        The scenarios' places, ``S`` of them.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # noqa: PLC0415 - takes long, and every command imports this
    from scipy.spatial.distance import squareform  # noqa: PLC0415 - takes long, and every command imports this

    distances = squareform(1.0 - (similarity + similarity.T) / 2, checks=False)
    tree = linkage(distances, method="average", optimal_ordering=True)
    return [int(place) for place in leaves_list(tree)]


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two similarity matrices.

    Attributes:
        rho: of the entries off the diagonal, from -1 to 1.
        p_value: how often a random renaming of the scenarios correlates as much or more.
        renamings: of how many renamings, all ``S!`` of them or as many as were drawn.
    """

    rho: float
    p_value: float
    renamings: int


def compare_similarities(
    similarity: Floats, planted: Floats, *, drawn: int = 9999, seed: int = 0
) -> RankCorrelation | None:
    r"""Correlate the similarity of scenarios with the planted one, by ranks.

    The entries of a similarity matrix depend on each other, so that the p-value is that of Mantel's
    test: one matrix's rows and columns are renamed together, at random. One-sided:

    .. math:: p = \frac{1 + \#\{\rho_\pi \ge \rho\}}{1 + \text{drawn}}

    or, where that is no more work, the exact share among all :math:`S!` renamings.

    Source: Mantel, "The detection of disease clustering and a generalized regression approach",
    1967.

    Args:
        similarity: ``(S, S)``, symmetric.
        planted: ``(S, S)``, symmetric.
        drawn: how many renamings are drawn where there are more than that.
        seed: of the draws.

    Returns:
        The correlation; ``None`` for fewer than three scenarios, or where all entries of a matrix
        are equal.
    """
    n_scenarios = len(similarity)
    upper = np.triu_indices(n_scenarios, 1)
    ranks, planted_ranks = (_standard_ranks(matrix[upper]) for matrix in (similarity, planted))
    if ranks is None or planted_ranks is None:
        return None
    rank_matrix = np.zeros_like(similarity, dtype=np.float64)
    rank_matrix[upper] = ranks
    rank_matrix += rank_matrix.T
    rho = float(ranks @ planted_ranks)

    every = factorial(n_scenarios) <= drawn
    orders: Iterable[Any]
    if every:
        orders = itertools.permutations(range(n_scenarios))
    else:
        generator = np.random.default_rng(seed)
        orders = (generator.permutation(n_scenarios) for _ in range(drawn))
    renamed = np.array(
        [rank_matrix[np.ix_(order, order)][upper] @ planted_ranks for order in map(list, orders)]
    )
    as_much = int((renamed >= rho - _ROUNDING).sum())
    unchanged = 0 if every else 1  # all renamings hold the unchanged one; the drawn ones need it
    p_value = (unchanged + as_much) / (unchanged + len(renamed))
    return RankCorrelation(rho, p_value, len(renamed))


def _standard_ranks(entries: Floats) -> Floats | None:
    """Ranks of mean 0 and length 1, whose products are correlations; ``None`` for equal entries."""
    from scipy.stats import rankdata  # noqa: PLC0415 - takes long, and every command imports this

    ranks = rankdata(entries)
    centred: Floats = ranks - ranks.mean() if len(ranks) else ranks
    length = np.linalg.norm(centred)
    return centred / length if length > 0 else None
