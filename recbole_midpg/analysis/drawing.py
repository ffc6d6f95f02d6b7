"""What all figures share: marks that can be distinguished in print, and files written whole.

Colours are those of Okabe and Ito, 2008, which the colour-blind can distinguish, without their
yellow, which is faint on paper. Nothing is shown by colour alone: points differ in their marker,
lines in their dashes besides, and bars stand in a panel of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import write_text, written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
DASHES = ("-", "--", "-.", ":")
PAGE_WIDTH = 7.0
"""Inches; figures are drawn in the size that they are printed in."""
MOST_MARKS = len(COLOURS) * len(MARKERS)
"""Pairs of colour and marker: as many scenarios as one figure can distinguish."""

_DOTS_PER_INCH = 300
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 9,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "svg.hashsalt": "recbole-midpg",  # else every file's ids are random
}


def import_matplotlib() -> Any:
    """Import matplotlib, which is an extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(
            f"analyze: matplotlib cannot be imported ({error}); "
            "pip install 'recbole-midpg[analyze]'."
        ) from error
    return matplotlib


@contextmanager
def print_style() -> Iterator[None]:
    """Draw and save in this package's style, whatever the user's is; also a decorator.

    Raises:
        UsageError: matplotlib is not installed.
    """
    matplotlib = import_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure of ``width x height`` inches and its axes, an array ``(rows, columns)``."""
    figure = import_matplotlib().figure.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def line_marks(place: int) -> dict[str, Any]:
    """Colour, dashes and marker of the line at a place in the legend."""
    return {**point_marks(place), "linestyle": DASHES[place % len(DASHES)]}


def point_marks(place: int) -> dict[str, Any]:
    """Colour and marker of the points at a place in the legend, below :data:`MOST_MARKS`.

    The counts of colours and of markers have no common divisor, so that no pair comes twice.
    """
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def save_figure(figure: Figure, data: Any, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as ``NAME.png`` and ``NAME.svg``, and what it shows as ``NAME.json``.

    The same figure gives the same bytes on the same versions. All three files are written before
    the first takes its name.

    Args:
        figure: the figure.
        data: the data class behind it.
        folder: where the files go; made where it does not exist.
        name: their common name.

    Returns:
        The files.

    Raises:
        UsageError: they cannot be written.
    """
    paths = [Path(folder) / f"{name}.{ending}" for ending in ("png", "svg", "json")]
    with written_whole(paths) as (png, svg, text), print_style():
        figure.savefig(png, format="png", dpi=_DOTS_PER_INCH)
        figure.savefig(svg, format="svg", metadata={"Date": None})
        text.write_text(json_text(asdict(data)), encoding="utf-8")
    return paths


def write_json(content: Any, path: Path) -> None:
    """Write plain values as JSON text, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Plain values and numpy arrays as JSON text."""
    return json.dumps(content, indent=1, default=_plain_array, allow_nan=False) + "\n"


def _plain_array(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
