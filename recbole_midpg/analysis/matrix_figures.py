"""From weighting matrices to what figures and tables show of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recbole_midpg.analysis.diversity import (
    Floats,
    centred_similarity,
    cluster_order,
    compare_similarities,
    mean_matrices,
    silhouette,
    variance_parts,
)
from recbole_midpg.analysis.figures import HeatMap, Scatter, ScatterPanel
from recbole_midpg.analysis.matrices import MatrixSample
from recbole_midpg.common.errors import UsageError

_FEWEST_ROWS = 5
_USUAL_PERPLEXITY = 30.0


@dataclass(frozen=True)
class MatrixNumbers:
    """What a sample of weighting matrices comes to; see :mod:`recbole_midpg.analysis.diversity`.

    Attributes:
        label: the checkpoint's.
        model: the model's name.
        dataset: the dataset's name.
        split: where the rows are from.
        rows: how many rows of each scenario, by its name.
        silhouette: mean silhouette of the rows by scenario, from -1 to 1.
        between_variance: variance of the scenarios' means, summed over the matrices' values.
        within_variance: variance around them.
        variance_ratio: the former by the latter; ``None`` where the latter is 0.
        order: the scenarios' names, similar ones beside each other.
        similarity: centred similarity of the mean matrices, ``(S, S)``, in that order.
        planted: the similarity that the data was generated with, in that order; ``None`` for real
            data.
        rank_correlation: Spearman's, of the two similarities off the diagonal.
        p_value: of it, by Mantel's test.
        renamings: of how many renamings of the scenarios.
    """

    label: str
    model: str
    dataset: str
    split: str
    rows: dict[str, int]
    silhouette: float
    between_variance: float
    within_variance: float
    variance_ratio: float | None
    order: list[str]
    similarity: Floats
    planted: Floats | None
    rank_correlation: float | None
    p_value: float | None
    renamings: int | None


def describe(label: str, sample: MatrixSample) -> MatrixNumbers:
    """Compute the numbers of a sample.

    Raises:
        UsageError: it has rows of one scenario only, or no more rows than scenarios.
    """
    parts = variance_parts(sample.values, sample.scenarios)
    mean_silhouette = silhouette(sample.values, sample.scenarios)
    similarity = centred_similarity(mean_matrices(sample.values, sample.scenarios))
    order = cluster_order(similarity)
    correlation, planted = None, None
    if sample.planted is not None:
        correlation = compare_similarities(similarity, sample.planted)
        planted = sample.planted[order][:, order]
    return MatrixNumbers(
        label=label,
        model=sample.model,
        dataset=sample.dataset,
        split=sample.split,
        rows=dict(zip(sample.names, sample.rows_of_scenarios(), strict=True)),
        silhouette=mean_silhouette,
        between_variance=parts.between,
        within_variance=parts.within,
        variance_ratio=parts.ratio,
        order=[sample.names[place] for place in order],
        similarity=similarity[order][:, order],
        planted=planted,
        rank_correlation=correlation.rho if correlation else None,
        p_value=correlation.p_value if correlation else None,
        renamings=correlation.renamings if correlation else None,
    )


def heat_map_of(numbers: MatrixNumbers) -> HeatMap:
    """The heat map of a sample's numbers."""
    return HeatMap(
        title=numbers.label,
        scenarios=numbers.order,
        similarity=numbers.similarity,
        planted=numbers.planted,
        rank_correlation=numbers.rank_correlation,
    )


def scatter_of(
    samples: Mapping[str, MatrixSample], numbers: Mapping[str, MatrixNumbers], seed: int
) -> Scatter:
    """Lay the rows of samples out on planes, a panel a sample.

    Args:
        samples: by label.
        numbers: of the samples, by label.
        seed: of t-SNE.

    Raises:
        UsageError: a sample is too small to be laid out.
    """
    panels = []
    for label, sample in samples.items():
        points = project(sample.values, seed)
        panels.append(
            ScatterPanel(
                title=f"{label}\nsilhouette {numbers[label].silhouette:.2f}",
                x=points[:, 0].tolist(),
                y=points[:, 1].tolist(),
                scenarios=[sample.names[place] for place in sample.scenarios],
            )
        )
    names = dict.fromkeys(name for sample in samples.values() for name in sample.names)
    return Scatter(list(names), panels)


def project(values: Floats, seed: int) -> Floats:
    """Lay rows out on a plane by t-SNE, starting from their first two principal components.

    The perplexity is 30, or a third of the other rows where that is less. Distances between far
    groups and the sizes of groups mean nothing in such a plane: the printed numbers give them.

    Source: van der Maaten and Hinton, "Visualizing data using t-SNE", 2008.

    Args:
        values: ``(R, F)``.
        seed: of what is random in it.

    Returns:
        ``(R, 2)``.

    Raises:
        UsageError: there are too few rows or values, or all rows are equal.
    """
    n_rows, n_values = values.shape
    if n_rows < _FEWEST_ROWS or n_values < 2 or (values == values[0]).all():  # noqa: PLR2004
        raise UsageError(
            f"t-SNE: {n_rows} rows of {n_values} values cannot be laid out on a plane, "
            f"expected at least {_FEWEST_ROWS} rows of 2 values that are not all equal."
        )
    from sklearn.manifold import TSNE  # noqa: PLC0415 - takes long, and every command imports this

    perplexity = min(_USUAL_PERPLEXITY, (n_rows - 1) / 3)
    plane = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=seed)
    points: Floats = plane.fit_transform(values)
    return points
