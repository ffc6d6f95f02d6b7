"""The options of ``prepare``, ``generate``, ``datasets`` and ``fold``."""

from __future__ import annotations

from typing import Any

from recbole_midpg.atomic_data_scripts import CONVERTERS
from recbole_midpg.atomic_data_scripts.script import add_options as add_conversion_options
from recbole_midpg.commands.log_options import add_log_options
from recbole_midpg.commands.numbers import COUNT, SEED
from recbole_midpg.commands.running import add_force, run_by
from recbole_midpg.common.choices import DATA_PATH
from recbole_midpg.generated import GENERATED
from recbole_midpg.generated.generate import DEFAULT_SEED


def add_prepare(commands: Any) -> None:
    """Add ``prepare`` to a parser's commands."""
    parser = commands.add_parser(
        "prepare", help="make atomic files of your own log, or of a known dataset's raw file"
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help=f"with --csv or --parquet what you call it, else one of {', '.join(CONVERTERS)}",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--csv",
        nargs="+",
        metavar="FILE",
        help="your log, plain, gzip or zip; also as 'days/*.csv'",
    )
    source.add_argument("--parquet", nargs="+", metavar="FILE", help="your log, as days/*.parquet")
    source.add_argument("--raw", help="the raw file, plain, gzip or zip, or the folder of several")
    source.add_argument("--download", action="store_true", help="fetch the public raw file first")
    add_conversion_options(parser)
    add_log_options(parser)
    parser.set_defaults(action=run_by("recbole_midpg.actions:prepare_dataset"))


def add_generate(commands: Any) -> None:
    """Add ``generate`` to a parser's commands."""
    parser = commands.add_parser(
        "generate", help="generate a dataset whose best possible AUC and LogLoss are known"
    )
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(GENERATED)}")
    parser.add_argument("--rows", type=COUNT, help="how many (default: as the real set has)")
    parser.add_argument("--seed", type=SEED, default=DEFAULT_SEED, help="(default: %(default)s)")
    parser.add_argument(
        "--output", default="dataset", help="the folder of all datasets (default: dataset)"
    )
    parser.set_defaults(action=run_by("recbole_midpg.actions:generate_dataset"))


def add_datasets(commands: Any) -> None:
    """Add ``datasets`` to a parser's commands."""
    parser = commands.add_parser("datasets", help="list the known datasets and what is on disk")
    parser.add_argument(
        "--data_path", default=DATA_PATH, help="the folder of all datasets (default: dataset)"
    )
    parser.set_defaults(action=run_by("recbole_midpg.actions:show_datasets"))


def add_fold(commands: Any) -> None:
    """Add ``fold`` to a parser's commands."""
    parser = commands.add_parser(
        "fold", help="make a plain network of each scenario out of a trained DPG or MIDPG"
    )
    parser.add_argument(
        "--checkpoint", required=True, help="of a model trained with generator_input: scenario"
    )
    parser.add_argument("--output", required=True, help="the file to write")
    add_force(parser)
    parser.set_defaults(action=run_by("recbole_midpg.actions:fold"))
