"""The picture of days: AUC and calibration, of all rows and of each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_midpg.analysis.drawing import (
    PAGE_WIDTH,
    drawn_names,
    line_marks,
    new_figure,
    print_style,
    save_figure,
)
from recbole_midpg.daily.learning_state import SeenFile
from recbole_midpg.daily.measuring import EVERYTHING, by_scenario

# Scenarios with a line and a name of their own; more could not be distinguished.
_NAMED = 6
_MOST_TICKS = 12
_PANELS = (("auc", "AUC"), ("pcoc", "predicted over observed"))
_HEIGHT = 4.4


@dataclass(frozen=True)
class DayCurves:
    """What the picture shows.

    Attributes:
        days: the days' names.
        auc: by scenario a value a day, ``None`` where there is none; all rows first, then the
            scenarios of most rows.
        pcoc: the same of mean prediction over mean label.
    """

    days: list[str]
    auc: dict[str, list[float | None]]
    pcoc: dict[str, list[float | None]]


def curves_of_days(days: Sequence[SeenFile]) -> DayCurves:
    """Collect the values of each scenario."""
    lines = by_scenario(days)
    auc, pcoc = (
        {name: [None if x is None else x[key] for x in of] for name, of in lines.items()}
        for key, _ in _PANELS
    )
    return DayCurves([Path(day.name).stem for day in days], auc, pcoc)


@print_style()
def draw_days(curves: DayCurves) -> Any:
    """Draw a panel of AUC above one of calibration, days from left to right.

    All rows are a thick black line; the scenarios of most rows have a line and a name each, and all
    others are thin grey lines.
    """
    figure, axes = new_figure(len(_PANELS), 1, PAGE_WIDTH, _HEIGHT)
    places, days = range(len(curves.days)), drawn_names(curves.days)
    for (key, label), panel in zip(_PANELS, axes[:, 0], strict=True):
        values: dict[str, list[float | None]] = getattr(curves, key)
        scenarios = [name for name in values if name != EVERYTHING]
        for number, name in reversed(list(enumerate(scenarios))):
            marks = (
                line_marks(number, _NAMED)
                if number < _NAMED
                else {"color": "0.8", "linewidth": 0.6}
            )
            panel.plot(places, _numbers(values[name]), label=name, **marks)
        everything = _numbers(values.get(EVERYTHING, []))
        panel.plot(places, everything, color="black", linewidth=2.2, label="all rows")
        panel.set_ylabel(label)
        step = -(-len(curves.days) // _MOST_TICKS)
        panel.set_xticks(list(places)[::step], days[::step], rotation=30, ha="right")
        if key == "pcoc":
            panel.axhline(1, color="0.5", linewidth=0.8, linestyle=":")
    _name_lines(figure, axes[0, 0], len(curves.auc) - 1)
    return figure


def _name_lines(figure: Any, panel: Any, scenarios: int) -> None:
    """Name all rows, the scenarios of most rows, and how many there are besides."""
    lines = list(reversed(panel.get_lines()))[: 1 + _NAMED]
    names = drawn_names([line.get_label() for line in lines])
    if scenarios > _NAMED:
        lines.append(panel.get_lines()[0])
        names.append(f"{scenarios - _NAMED:,} others")
    figure.legend(lines, names, loc="outside right upper", frameon=False)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def save_days(days: Sequence[SeenFile], folder: Path) -> list[Path]:
    """Write ``daily.png``, ``daily.svg`` and ``daily.json``.

    Raises:
        UsageError: they cannot be written, or matplotlib is not installed.
    """
    curves = curves_of_days(days)
    return save_figure(draw_days(curves), curves, folder, "daily")
