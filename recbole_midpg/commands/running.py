"""What the options of several commands share, as actions that are imported when they run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from recbole_midpg import enter_recbole
from recbole_midpg.commands.numbers import SEED, whole_number
from recbole_midpg.common.choices import REPORT_ENDINGS


def run_by(place: str) -> Callable[..., None]:
    """The action of a command.

    Args:
        place: where its function is, ``package.module:function``.

    Returns:
        A function that enters RecBole, imports the action and runs it with its own arguments.
    """

    def run(**options: Any) -> None:
        module, _, name = place.partition(":")
        enter_recbole()
        getattr(import_module(module), name)(**options)

    return run


def add_force(parser: Any) -> None:
    """Add ``--force`` to a command that writes files under names that it is given."""
    parser.add_argument(
        "--force", action="store_true", help="write over what stands under the output's name"
    )


def add_report(parser: Any) -> None:
    """Add ``--output`` for a table that is printed too, and ``--force``."""
    parser.add_argument(
        "--output", help=f"a file to write besides, one of *{', *'.join(REPORT_ENDINGS)}"
    )
    add_force(parser)


def add_resampling(parser: Any, at_least: int) -> None:
    """Add the options of bootstrap intervals, of so many resamples at least."""
    parser.add_argument(
        "--cluster",
        metavar="FIELD",
        help="draw the values of a token field, as user_id, with all their rows, which depend on "
        "each other (default: draw single rows)",
    )
    parser.add_argument(
        "--resamples",
        type=whole_number(at_least),
        default=1000,
        help=f"at least {at_least} (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=SEED, default=2020, help="of the resamples (default: %(default)s)"
    )
