"""What all figures share: marks that can be distinguished in print, and files written whole.

Few colours are those of Okabe and Ito, 2008, which the colour-blind can distinguish, without their
yellow, which is faint on paper; many are taken from one scale, so that none comes twice. Nothing is
shown by colour alone: points differ in their marker, lines in their dashes besides, and bars stand
in a panel of their own.

Names come from users' data: long ones are shortened, and characters that no installed font has are
written as escapes, with a line in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.report_files import json_text
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
LONGEST_NAME = 28
"""Characters of a name that a figure has room for."""

_DOTS_PER_INCH = 300
# The first has most alphabets; the others, where they are installed, what it lacks.
_FONTS = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC"),
    *("Hiragino Sans", "Yu Gothic", "Malgun Gothic", "NanumGothic", "Arial Unicode MS"),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji"),
)
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
        matplotlib.rcParams["font.family"] = list(_installed_fonts())
        yield


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure of ``width x height`` inches and its axes, an array ``(rows, columns)``."""
    figure = import_matplotlib().figure.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def line_marks(place: int, count: int) -> dict[str, Any]:
    """Colour, dashes and marker of the line at a place in a legend of so many."""
    return {**point_marks(place, count), "linestyle": DASHES[place % len(DASHES)]}


def point_marks(place: int, count: int) -> dict[str, Any]:
    """Colour and marker of the points at a place in a legend of so many.

    Neighbours differ in their marker; of one marker are those whose colours are far apart.
    """
    return {"color": _colour(place, count), "marker": MARKERS[place % len(MARKERS)]}


def needs_numbers(count: int) -> bool:
    """Whether so many colours are too similar to be found in a legend without a number."""
    return count > len(COLOURS)


def _colour(place: int, count: int) -> Any:
    if not needs_numbers(count):
        return COLOURS[place]
    return import_matplotlib().colormaps["turbo"](place / (count - 1))


# --------------------------------------------------------------------------------------------------
# Names


def drawn_names(names: Sequence[str]) -> list[str]:
    """Names as a figure shows them: short, of characters that there are glyphs for, and distinct.

    Args:
        names: distinct ones, as they stand in the data.
    """
    without: set[str] = set()
    shown = []
    for name in names:
        without.update(char for char in name if not _has_glyph(char))
        text = "".join(char if _has_glyph(char) else _escape(char) for char in name)
        shown.append(text.replace("$", r"\$"))  # else a formula begins
    if without:
        getLogger().warning(
            f"Figure: no installed font has {len(without):,} characters of names, as "
            f"{min(without)!r}; they are written as {_escape(min(without))} "
            "(a font as Noto Sans CJK has them)."
        )
    return _distinct([_shortened(text) for text in shown])


def _shortened(text: str) -> str:
    """Keep a text's beginning and end, where names mostly differ."""
    if len(text) <= LONGEST_NAME:
        return text
    end = LONGEST_NAME // 3
    return f"{text[: LONGEST_NAME - end - 1]}…{text[-end:]}"


def _distinct(texts: list[str]) -> list[str]:
    """Number texts that became equal."""
    return [
        text if texts.count(text) == 1 else f"{text} ({texts[: place + 1].count(text)})"
        for place, text in enumerate(texts)
    ]


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


@cache
def _installed_fonts() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager  # noqa: PLC0415 - an extra

    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in _FONTS if name in installed)


@cache
def _has_glyph(char: str) -> bool:
    from matplotlib.font_manager import findfont, get_font  # noqa: PLC0415 - an extra

    fonts = (get_font(findfont(name)) for name in _installed_fonts())
    return any(font.get_char_index(ord(char)) for font in fonts)


# --------------------------------------------------------------------------------------------------
# Files


def figure_paths(folder: str | Path, name: str) -> list[Path]:
    """The files of :func:`save_figure`."""
    return [Path(folder) / f"{name}.{ending}" for ending in ("png", "svg", "json")]


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
    paths = figure_paths(folder, name)
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
