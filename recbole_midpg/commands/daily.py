"""The options of ``daily``."""

from __future__ import annotations

from typing import Any

from recbole_midpg.atomic_data_scripts.conversion import ON_ERROR
from recbole_midpg.commands.running import run_by


def add_daily(commands: Any) -> None:
    """Add ``daily`` to a parser's commands."""
    parser = commands.add_parser(
        "daily",
        help="score each day's rows, then learn from them",
        description="Score each day's rows by what was learned before, then train once on them. "
        "The same command goes on after an interrupt, and with days that have come since.",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="of a training, its dataset where it was; or a file of run_recbole --continue_from",
    )
    parser.add_argument(
        "--model",
        metavar="PACKAGE.MODULE:CLASS",
        help="the checkpoint's model, where it is written outside of recbole_midpg and RecBole",
    )
    parser.add_argument(
        "--days",
        nargs="+",
        required=True,
        metavar="FILE",
        help="a labelled file a day, or patterns as 'days/*.csv'; in the order of their names",
    )
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        help="at a bad line of a log that prepare knows: stop (default), or skip it, so that it is "
        "neither scored nor learned",
    )
    parser.add_argument(
        "--output",
        required=True,
        help="the folder of latest.pth, daily.csv and the picture (with the extra analyze)",
    )
    parser.add_argument(
        "--show_progress",
        action="store_true",
        default=None,
        help="show progress even where stderr is not a terminal",
    )
    parser.set_defaults(action=run_by("recbole_midpg.daily.command:daily"))
