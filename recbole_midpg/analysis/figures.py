"""The figures, drawn from plain data. What the data means is said by its class.

The panels of Figure 2 of Cheng et al., MI-DPG, CIKM 2023: :func:`draw_size_sweep` (a, c, e),
:func:`draw_scatter` (b, d) and :func:`draw_heat_map` (f).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.analysis.drawing import (
    COLOURS,
    MOST_MARKS,
    PAGE_WIDTH,
    drawn_names,
    line_marks,
    needs_numbers,
    new_figure,
    point_marks,
    print_style,
)
from recbole_midpg.common.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_WRITTEN_CELLS = 12
_DARK_FROM = 0.05
_PANELS_A_ROW = 2
_LEGEND_COLUMNS = 3


def mean_of(values: Sequence[float]) -> float | None:
    """The mean, ``None`` of no values."""
    return fmean(values) if values else None


def deviation_of(values: Sequence[float]) -> float | None:
    """The sample's standard deviation, ``None`` of fewer than two values."""
    return stdev(values) if len(values) > 1 else None


# --------------------------------------------------------------------------------------------------
# AUC over sizes


@dataclass(frozen=True)
class SweepPoint:
    """A model at a size.

    Attributes:
        size: the place of the size (n, k) among :attr:`SizeSweep.sizes`; ``None`` for a model that
            has no size, as DPG-non.
        settings: the config keys that make it.
        parameters: parameters without embeddings.
        valid: the AUC of each trial on the validation split.
        test: the AUC of each trial on the test split.
        mean: of ``test``.
        deviation: its standard deviation.
        problems: why trials failed.
    """

    size: int | None
    settings: dict[str, Any]
    parameters: int
    valid: list[float]
    test: list[float]
    mean: float | None
    deviation: float | None
    problems: list[str]


@dataclass(frozen=True)
class SizeSweep:
    """The AUC of models over the sizes of their low-rank matrices.

    Attributes:
        dataset: the dataset's name.
        sizes: the sizes (n, k), with n = m.
        lines: the points of each model, by its name.
    """

    dataset: str
    sizes: list[tuple[int, int]]
    lines: dict[str, list[SweepPoint]]


@print_style()
def draw_size_sweep(data: SizeSweep) -> Figure:
    """Draw mean test AUC and its standard deviation, a line a model."""
    figure, axes = new_figure(1, 1, PAGE_WIDTH * 0.75, 3.2)
    axis = axes[0, 0]
    places = np.arange(len(data.sizes))
    for place, (name, points) in enumerate(data.lines.items()):
        drawn = [point for point in points if point.mean is not None]
        where: list[Any] = [point.size for point in drawn]
        means: list[Any] = [point.mean for point in drawn]
        errors = [point.deviation or 0.0 for point in drawn]
        if where == [None]:  # one model, whatever the size
            where, means, errors = list(places), means * len(places), errors * len(places)
        # Beside each other, so that error bars do not cover each other.
        shift = 0.06 * (place - (len(data.lines) - 1) / 2)
        shifted = [some + shift for some in where]
        marks = line_marks(place, len(data.lines))
        axis.errorbar(shifted, means, errors, label=name, capsize=2, **marks)
    axis.set_xticks(places, [f"({n}, {k})" for n, k in data.sizes])
    axis.set_xlabel("size of the low-rank matrices (n, k)")
    axis.set_ylabel("test AUC (mean ± sd of trials)")
    axis.set_title(data.dataset)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


# --------------------------------------------------------------------------------------------------
# t-SNE


@dataclass(frozen=True)
class ScatterPanel:
    """Points of rows on a plane.

    Attributes:
        title: the panel's.
        x: ``(R,)``.
        y: ``(R,)``.
        scenarios: the name of each row's scenario, ``(R,)``.
    """

    title: str
    x: list[float]
    y: list[float]
    scenarios: list[str]


@dataclass(frozen=True)
class Scatter:
    """Panels beside each other, in which a scenario has the same colour and marker.

    Attributes:
        scenarios: the names, in the order of the legend.
        panels: the panels.
    """

    scenarios: list[str]
    panels: list[ScatterPanel]


@print_style()
def draw_scatter(data: Scatter) -> Figure:
    """Draw panels of points by scenario; of many scenarios each has a number among its points.

    Raises:
        UsageError: there are more scenarios than marks.
    """
    check_scenario_count(len(data.scenarios))
    columns = min(len(data.panels), _PANELS_A_ROW)
    rows = ceil(len(data.panels) / columns)
    legend_rows = ceil(len(data.scenarios) / _LEGEND_COLUMNS)
    figure, axes = new_figure(
        rows, columns, PAGE_WIDTH * columns / _PANELS_A_ROW, 3.4 * rows + 0.18 * legend_rows
    )
    for axis in axes.flat[len(data.panels) :]:
        axis.set_visible(False)
    numbered = needs_numbers(len(data.scenarios))
    shown = drawn_names(data.scenarios)
    if numbered:
        shown = [f"{number}  {name}" for number, name in enumerate(shown, start=1)]
    for axis, panel in zip(axes.flat, data.panels, strict=False):
        x, y, names = np.array(panel.x), np.array(panel.y), np.array(panel.scenarios)
        for place, name in enumerate(data.scenarios):
            here = names == name
            marks = point_marks(place, len(data.scenarios))
            axis.scatter(
                x[here], y[here], s=9, linewidths=0, alpha=0.8, label=shown[place], **marks
            )
        if numbered:
            _write_numbers(axis, np.stack([x, y], axis=1), names, data.scenarios)
        axis.set_title(panel.title)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel("t-SNE 1 (no unit)")
        axis.set_ylabel("t-SNE 2 (no unit)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=_LEGEND_COLUMNS,
        frameon=False,
        markerscale=2,
    )
    return figure


def _write_numbers(
    axis: Any, points: NDArray[Any], names: NDArray[Any], scenarios: Sequence[str]
) -> None:
    """Write each scenario's number at one of its points, far from the others' numbers.

    The point is one of that half which is nearest to the scenario's median.

    Args:
        axis: where the points are drawn.
        points: ``(R, 2)``.
        names: the name of each point's scenario, ``(R,)``.
        scenarios: the names, in the order of their numbers from 1.
    """
    ground = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
    taken: list[NDArray[Any]] = []
    for number, name in enumerate(scenarios, start=1):
        own = points[names == name]
        if not len(own):
            continue
        from_median = np.linalg.norm(own - np.median(own, axis=0), axis=1)
        nearest = own[np.argsort(from_median, kind="stable")[: ceil(len(own) / 2)]]
        distances = [np.linalg.norm(nearest - spot, axis=1) for spot in taken]
        place = np.argmax(np.min(distances, axis=0)) if taken else 0
        taken.append(nearest[place])
        x, y = taken[-1].tolist()
        axis.text(x, y, str(number), ha="center", va="center", weight="bold", bbox=ground)


def check_scenario_count(count: int) -> None:
    """Check that a figure can distinguish so many scenarios.

    Raises:
        UsageError: it cannot.
    """
    if count > MOST_MARKS:
        raise UsageError(
            f"figure: {count} scenarios cannot be distinguished, expected at most {MOST_MARKS}; "
            "choose some by --scenarios."
        )


# --------------------------------------------------------------------------------------------------
# Heat map


@dataclass(frozen=True)
class HeatMap:
    """The similarity of scenarios.

    Attributes:
        title: the figure's.
        scenarios: the names in the order of rows and columns, in which similar ones are neighbours.
        similarity: ``(S, S)``, from -1 to 1.
        planted: the similarity that the data was generated with, in the same order; ``None`` for
            real data.
        rank_correlation: Spearman's, of the two; ``None`` where it is not defined.
    """

    title: str
    scenarios: list[str]
    similarity: NDArray[Any]
    planted: NDArray[Any] | None
    rank_correlation: float | None


@print_style()
def draw_heat_map(data: HeatMap) -> Figure:
    """Draw the similarity, darker for more similar, and the planted one beside it."""
    panels = [(data.title, data.similarity)]
    if data.planted is not None:
        rho = data.rank_correlation
        remark = "" if rho is None else f"\nrank correlation {rho:.2f}"
        panels.append((f"planted{remark}", data.planted))
    side = max(3.0, 0.36 * min(len(data.scenarios), 60))
    figure, axes = new_figure(len(panels), 1, side + 2.6, (side + 0.4) * len(panels) + 1.2)
    figure.set_layout_engine("compressed")  # made for panels that are square
    places = np.arange(len(data.scenarios))
    names = drawn_names(data.scenarios)
    scale: dict[str, Any] = {"cmap": "cividis_r", "vmin": -1, "vmax": 1}
    for axis, (title, values) in zip(axes[:, 0], panels, strict=True):
        image = axis.imshow(values, **scale)
        axis.set_title(title)
        axis.set_yticks(places, names)
        axis.set_xticks([])
        if len(data.scenarios) <= _MOST_WRITTEN_CELLS:
            for row, column in np.ndindex(values.shape):
                value = values[row, column]
                colour = "white" if value > _DARK_FROM else "black"
                text = f"{value:.1f}".replace("-0.0", "0.0")
                axis.text(column, row, text, ha="center", va="center", color=colour)
    axes[-1, 0].set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor")
    figure.colorbar(
        image, ax=list(axes[:, 0]), label="similarity (no unit), darker for more", shrink=0.6
    )
    return figure


# --------------------------------------------------------------------------------------------------
# Training curves


@dataclass(frozen=True)
class Curve:
    """A quantity of a run, epoch by epoch.

    Attributes:
        run: the run's label.
        epochs: epochs' numbers, from 0.
        values: one an epoch.
        largest: the most that it can be, ``None`` for no limit.
    """

    run: str
    epochs: list[int]
    values: list[float]
    largest: float | None = None


@dataclass(frozen=True)
class CurvePanel:
    """A quantity, for the runs that have it.

    Attributes:
        quantity: what it is.
        unit: of its values.
        curves: a curve a run.
    """

    quantity: str
    unit: str
    curves: list[Curve]


@dataclass(frozen=True)
class TrainingCurves:
    """The course of trainings.

    Attributes:
        runs: the runs' labels.
        panels: the quantities.
    """

    runs: list[str]
    panels: list[CurvePanel]


@print_style()
def draw_training_curves(data: TrainingCurves) -> Figure:
    """Draw a panel a quantity, a line a run; a dotted line is the most a quantity can be."""
    columns = min(len(data.panels), _PANELS_A_ROW)
    rows = ceil(len(data.panels) / columns)
    figure, axes = new_figure(rows, columns, PAGE_WIDTH, 2.3 * rows + 0.2 * len(data.runs))
    for axis in axes.flat[len(data.panels) :]:
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    names = drawn_names(data.runs)
    for axis, panel in zip(axes.flat, data.panels, strict=False):
        for curve in panel.curves:
            place = data.runs.index(curve.run)
            marks = line_marks(place, len(data.runs))
            (line,) = axis.plot(curve.epochs, curve.values, label=names[place], **marks)
            handles.setdefault(names[place], line)
        for largest in {curve.largest for curve in panel.curves} - {None}:
            axis.axhline(largest, color="grey", linestyle=":")
        axis.set_title(panel.quantity, loc="left")
        axis.set_xlabel("epoch")
        axis.set_ylabel(panel.unit)
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", frameon=False)
    return figure


# --------------------------------------------------------------------------------------------------
# Gains by scenario


@dataclass(frozen=True)
class Gain:
    """What a model gains over the baseline in a scenario.

    Attributes:
        differences: the difference of AUC in each pair of trials with the same seed.
        mean: of the differences, ``None`` where there is no pair.
        deviation: their standard deviation, ``None`` of fewer than two.
        half_width: of the mean's 95 % interval, ``None`` of fewer than two; see
            :func:`~recbole_midpg.experiments.statistics.half_width`.
    """

    differences: list[float]
    mean: float | None
    deviation: float | None
    half_width: float | None


@dataclass(frozen=True)
class ScenarioGains:
    """What models gain over a baseline, scenario by scenario.

    Attributes:
        dataset: the dataset's name.
        baseline: the baseline's name.
        scenarios: the names, those of most rows first.
        rows: how many test rows each has, in the mean over trials.
        gains: by model, a gain a scenario.
    """

    dataset: str
    baseline: str
    scenarios: list[str]
    rows: list[int]
    gains: dict[str, list[Gain]]


@print_style()
def draw_scenario_gains(data: ScenarioGains) -> Figure:
    """Draw a row of bars a model, on one scale, with 95 % intervals as error bars."""
    width = max(PAGE_WIDTH * 0.6, 0.32 * len(data.scenarios) + 1)
    figure, axes = new_figure(len(data.gains), 1, width, 1.3 * len(data.gains) + 1.2)
    places = np.arange(len(data.scenarios))
    for axis in axes[1:, 0]:
        axis.sharey(axes[0, 0])
    for axis, (name, gains) in zip(axes[:, 0], data.gains.items(), strict=True):
        known = [spot for spot, gain in enumerate(gains) if gain.mean is not None]
        axis.bar(
            places[known],
            [gains[spot].mean for spot in known],
            yerr=[gains[spot].half_width or 0.0 for spot in known],
            capsize=2,
            color=COLOURS[4],
            edgecolor="black",
            linewidth=0.5,
        )
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_title(name, loc="left")
        axis.set_xticks(places, [""] * len(places))
        axis.set_xlim(-0.6, len(places) - 0.4)
    names = [
        f"{name} ({rows:,})"
        for name, rows in zip(drawn_names(data.scenarios), data.rows, strict=True)
    ]
    axes[-1, 0].set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor")
    axes[-1, 0].set_xlabel("scenario (its test rows)")
    figure.supylabel(f"test AUC gained over {data.baseline}\nmean and 95 % interval over seeds")
    return figure
