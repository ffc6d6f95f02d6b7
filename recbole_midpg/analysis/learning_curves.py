"""Learning curves: the test AUC of models over the rows of a generated set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_midpg.analysis.drawing import (
    PAGE_WIDTH,
    drawn_names,
    line_marks,
    new_figure,
    print_style,
)
from recbole_midpg.analysis.figures import Gain
from recbole_midpg.experiments.statistics import Spread
from recbole_midpg.experiments.table_files import Block, spread_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINE = "DNN"
"""The model without a structure for scenarios: what others gain over it, their structure gains."""

_BEST = "best possible"
_PANEL_HEIGHT = 3.2
_NAME_HEIGHT = 0.18  # of a line of the legend
# Of a step between two numbers of rows: from one line's bars to the next, and all of them.
_BETWEEN_BARS, _ALL_BARS = 0.03, 0.3


@dataclass(frozen=True)
class LearningPoint:
    """A model at a number of rows.

    Attributes:
        rows: how many were generated, of which a part is for training.
        seeds: of the finished trials.
        test: the AUC of each on the test split.
        mean: of ``test``, ``None`` where no trial finished.
        deviation: its standard deviation, ``None`` of fewer than two.
        gain: over :data:`BASELINE`, seed by seed; ``None`` of this itself, and where it is not
            among the models.
        problems: why trials failed.
    """

    rows: int
    seeds: list[int]
    test: list[float]
    mean: float | None
    deviation: float | None
    gain: Gain | None
    problems: list[str]


@dataclass(frozen=True)
class LearningCurves:
    """The test AUC of models over the rows of a generated set.

    Attributes:
        dataset: the dataset's name.
        rows: the numbers of rows, ascending.
        best_possible: at each, the AUC of the true probabilities on the labels as drawn, the mean
            over the seeds' test splits; ``None`` where the split does not allow to tell it.
        lines: the points of each model, by its name; one for each number of rows.
    """

    dataset: str
    rows: list[int]
    best_possible: list[float | None]
    lines: dict[str, list[LearningPoint]]

    @property
    def has_gains(self) -> bool:
        """Whether a model compares with :data:`BASELINE`."""
        return any(point.gain is not None for line in self.lines.values() for point in line)


@print_style()
def draw_learning_curves(data: LearningCurves) -> Figure:
    """Draw a line a model, named in the order of the AUC at the most rows.

    Below it stands the difference from :data:`BASELINE`, where this is among the models. A dotted
    line is the best possible AUC.
    """
    count = 1 + data.has_gains
    height = max(_PANEL_HEIGHT * count, _NAME_HEIGHT * (2 + len(data.lines)))
    figure, axes = new_figure(count, 1, PAGE_WIDTH, height)
    panels = list(axes[:, 0])
    for panel in panels[1:]:
        panel.sharex(panels[0])
    names = sorted(data.lines, key=lambda name: _last_mean(data.lines[name]), reverse=True)
    known = [place for place, best in enumerate(data.best_possible) if best is not None]
    if known:
        panels[0].plot(
            [data.rows[place] for place in known],
            [data.best_possible[place] for place in known],
            color="grey",
            linestyle=":",
            label=_BEST,
        )
    for place, (name, shown) in enumerate(zip(names, drawn_names(names), strict=True)):
        marks = line_marks(place, len(names))
        points = data.lines[name]
        areas = [(point.rows, point.mean, point.deviation) for point in points]
        _draw_line(panels[0], areas, label=shown, **marks)
        shift = _shift(data.rows, place, len(names))
        gains = [(point.rows * shift, point.gain) for point in points if point.gain is not None]
        if gains:
            _draw_line(panels[1], [(at, g.mean, g.half_width) for at, g in gains], **marks)
    panels[0].set_title(data.dataset)
    panels[0].set_ylabel("test AUC\nmean ± sd over seeds")
    if data.has_gains:
        panels[1].axhline(0, color="black", linewidth=0.8)
        panels[1].set_ylabel(f"test AUC gained over {BASELINE}\nmean and 95 % interval over seeds")
    for panel in panels:
        panel.set_xscale("log")
        panel.set_xticks(data.rows, [f"{rows:,}" for rows in data.rows])
        panel.minorticks_off()
    panels[-1].set_xlabel("generated rows")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def _last_mean(points: Sequence[LearningPoint]) -> float:
    """The mean at the most rows that have one."""
    means = [point.mean for point in points if point.mean is not None]
    return means[-1] if means else float("-inf")


def _shift(rows: Sequence[int], place: int, count: int) -> float:
    """By what to multiply rows, so that the wide bars of gains stand beside each other.

    Lines that rise are not shifted: beside an equal one, one to the left would seem to be above.
    """
    steps = np.diff(np.log(rows))
    apart = min(_BETWEEN_BARS, _ALL_BARS / count) * (steps.min() if len(steps) else 1.0)
    return float(np.exp(apart * (place - (count - 1) / 2)))


def _draw_line(
    panel: Axes, points: Sequence[tuple[float, float | None, float | None]], **marks: Any
) -> None:
    """Draw points (place, mean, half the width of its bar), those without a mean left out."""
    drawn = [(at, mean, half or 0.0) for at, mean, half in points if mean is not None]
    if drawn:
        at, means, halves = zip(*drawn, strict=True)
        panel.errorbar(at, means, halves, capsize=1.5, elinewidth=0.7, **marks)


# --------------------------------------------------------------------------------------------------
# Tables


def area_table(data: LearningCurves) -> Block:
    """A line a model and a column a number of rows: mean ± sd, the best possible in the last."""
    rows = [
        [name, *(spread_text(Spread.of(point.test), 4) for point in points)]
        for name, points in data.lines.items()
    ]
    if any(best is not None for best in data.best_possible):
        cells = ["" if best is None else f"{best:.4f}" for best in data.best_possible]
        rows.append([_BEST, *cells])
    return ["test AUC", *(f"{count:,} rows" for count in data.rows)], rows


def gain_table(data: LearningCurves) -> Block:
    """The same of the gains over :data:`BASELINE`, with half the width of their 95 % intervals."""
    rows = [
        [name, *(_gain_text(point.gain) for point in points)]
        for name, points in data.lines.items()
        if any(point.gain is not None for point in points)
    ]
    return [f"AUC over {BASELINE}", *(f"{count:,} rows" for count in data.rows)], rows


def _gain_text(gain: Gain | None) -> str:
    if gain is None or gain.mean is None:
        return ""
    half = "" if gain.half_width is None else f" ± {gain.half_width:.4f}"
    return f"{gain.mean:+.4f}{half}"


def notes(data: LearningCurves) -> list[str]:
    """What is to be known to read the tables, and what failed: a paragraph each."""
    about = f"{data.dataset}: test AUC, mean ± sd over seeds"
    if data.has_gains:
        about += f"; over {BASELINE}, seed by seed, mean and half its 95 % interval"
    failed = [
        f"{name}, {point.rows:,} rows: {len(point.problems)} of "
        f"{len(point.problems) + len(point.seeds)} trials failed, the last one: "
        f"{point.problems[-1]}"
        for name, points in data.lines.items()
        for point in points
        if point.problems
    ]
    return [f"{about}.", *failed]
