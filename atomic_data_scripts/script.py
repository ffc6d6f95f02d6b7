"""The command line of a dataset script."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recbole_midpg.common.errors import INTERRUPT_STATUS, USAGE_STATUS, UsageError

from .conversion import ON_ERROR, convert
from .conversion_pass import DUPLICATES
from .converter import Converter


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a conversion; their names are the arguments of ``convert``."""
    parser.add_argument(
        "--output", default="dataset", help="the folder of all datasets (default: dataset)"
    )
    parser.add_argument(
        "--force", action="store_true", help="convert again, and over files made by something else"
    )
    parser.add_argument(
        "--on_error",
        "--on-error",
        choices=ON_ERROR,
        default="stop",
        help="at a bad line stop (default), or skip it and list it in NAME.rejected.tsv",
    )
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in DUPLICATES.items())
    parser.add_argument(
        "--duplicates",
        choices=tuple(DUPLICATES),
        default="keep",
        help=f"what becomes of rows that repeat a key (default: keep). {meanings}",
    )
    parser.add_argument(
        "--sample",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="keep the rows of this share of the users, as 0.01, the same ones in each call "
        "(default: all)",
    )
    parser.add_argument(
        "--show_progress",
        "--show-progress",
        action="store_true",
        default=None,
        help="show progress even where stderr is not a terminal",
    )


def run(converters: Sequence[Converter], arguments: Sequence[str] | None = None) -> int:
    """Convert a dataset as the command line says, and print the summary.

    Args:
        converters: the datasets that the raw file can become, the default first.
        arguments: the command line's words, those of the process by default.

    Returns:
        The exit status: 0, 2 for an error whose message says how to fix it, 130 for an
        interrupt.
    """
    by_name = {converter.name: converter for converter in converters}
    title = converters[0].title
    parser = argparse.ArgumentParser(description=f"{title}: raw file to atomic files.")
    if len(by_name) > 1:
        parser.add_argument(
            "--dataset",
            choices=tuple(by_name),
            default=converters[0].name,
            help=f"the dataset to make (default: {converters[0].name})",
        )
    parser.add_argument(
        "--raw", required=True, help="the raw file, plain, gzip or zip, or the folder of several"
    )
    add_options(parser)
    options = vars(parser.parse_args(arguments))
    converter = by_name[options.pop("dataset", converters[0].name)]
    try:
        report = convert(converter, **options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return USAGE_STATUS
    except KeyboardInterrupt:
        print("Interrupted: the unfinished files were removed.", file=sys.stderr)
        return INTERRUPT_STATUS
    print(report.summary())
    return 0
