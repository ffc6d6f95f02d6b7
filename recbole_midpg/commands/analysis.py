"""The options of ``analyze`` and ``compare``."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_midpg.commands.experiments import add_settings_file, default_models
from recbole_midpg.commands.numbers import COUNT, SEED, whole_number
from recbole_midpg.commands.running import add_force, add_report, add_resampling, run_by
from recbole_midpg.common.choices import SPLITS, VARIANTS

_SEED = 2020
_SIZES = ("4,2", "8,4", "16,8")


def add_analyze(commands: Any) -> None:
    """Add ``analyze`` and its parts to the commands of ``recbole-midpg``.

    Args:
        commands: what ``ArgumentParser.add_subparsers`` gave.
    """
    parser = commands.add_parser("analyze", help="draw figures of trained models and benchmarks")
    parts = parser.add_subparsers(required=True, metavar="FIGURE")
    _add_matrices(parts)
    _add_curves(parts)
    _add_gains(parts)
    _add_sweep(parts)
    _add_sizes(parts)


def _add_part(parts: Any, name: str, about: str, **options: Any) -> argparse.ArgumentParser:
    # Without abbreviations: --m=4 is a config value.
    parser = parts.add_parser(name, help=about, description=about, allow_abbrev=False, **options)
    parser.add_argument("--output", required=True, help="the folder of the files to write")
    return parser


def _add_matrices(parts: Any) -> None:
    parser = _add_part(
        parts,
        "matrices",
        "t-SNE and similarity of the weighting matrices of scenarios",
        epilog="With --dataset, further arguments --KEY=VALUE are config values of both models.",
    )
    add_force(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--checkpoint",
        action="append",
        dest="checkpoints",
        metavar="FILE",
        help="of a trained DPG or MIDPG; can be given several times",
    )
    source.add_argument("--dataset", help="train DPG and MIDPG on it first, alike")
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.add_argument("--split", choices=SPLITS, default="test", help="(default: %(default)s)")
    parser.add_argument(
        "--scenarios", nargs="+", default=[], help="names of those to show (default: all)"
    )
    parser.add_argument(
        "--rows_per_scenario",
        type=whole_number(2),  # a silhouette compares rows of one scenario
        default=200,
        help="the most (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=SEED,
        default=_SEED,
        help="of the sample of rows, of t-SNE and of training (default: %(default)s)",
    )
    parser.set_defaults(
        action=run_by("recbole_midpg.analysis.command:analyze_matrices"), settings=[]
    )


def _add_curves(parts: Any) -> None:
    parser = _add_part(
        parts, "curves", "loss terms, validation AUC and estimated information by epoch"
    )
    add_force(parser)
    parser.add_argument(
        "--runs", nargs="+", required=True, help="the JSON files beside checkpoints"
    )
    parser.set_defaults(action=run_by("recbole_midpg.analysis.command:analyze_curves"))


def _add_gains(parts: Any) -> None:
    parser = _add_part(parts, "gains", "test AUC that models gain over a baseline by scenario")
    add_force(parser)
    parser.add_argument("--table", required=True, help="the table.json of a benchmark")
    parser.add_argument("--baseline", default="DNN", help="(default: %(default)s)")
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="MODEL", help="(default: all of the table)"
    )
    parser.add_argument(
        "--min_rows",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="scenarios of fewer test rows are left out (default: %(default)s)",
    )
    parser.set_defaults(action=run_by("recbole_midpg.analysis.command:analyze_gains"))


def _add_sweep(parts: Any) -> None:
    parser = _add_part(
        parts,
        "sweep",
        "AUC of DPG's variants and of APG over the size of their low-rank matrices",
        epilog="Further arguments --KEY=VALUE are config values, the same in every trial. "
        "The same command goes on after an interrupt.",
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=list(_SIZES),
        metavar="N,K",
        help=f"with n = m (default: {' '.join(_SIZES)})",
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        default=list(VARIANTS),
        help=f"some of {' '.join(VARIANTS)} (default: all)",
    )
    _add_trials(parser)
    parser.set_defaults(action=run_by("recbole_midpg.analysis.command:analyze_sweep"), settings=[])


def _add_sizes(parts: Any) -> None:
    parser = _add_part(
        parts,
        "sizes",
        "learning curves: test AUC of models over the rows of a generated set",
        epilog="Further arguments --KEY=VALUE are config values, the same in every trial; they win "
        "over the settings file. The same command goes on after an interrupt.",
    )
    parser.add_argument("--dataset", required=True, help="one that can be generated")
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.add_argument(
        "--rows", nargs="+", type=COUNT, required=True, help="how many are generated, some numbers"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=default_models(),
        help=f"of this package or of RecBole (default: {' '.join(default_models())})",
    )
    add_settings_file(parser)
    _add_trials(parser)
    parser.set_defaults(action=run_by("recbole_midpg.analysis.command:analyze_sizes"), settings=[])


def _add_trials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trials", type=COUNT, default=3, help="of each model at each size (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=SEED, default=_SEED, help="of the first trial (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=COUNT, default=1, help="trials at a time (default: %(default)s)"
    )


def add_compare(commands: Any) -> None:
    """Add ``compare`` to a parser's commands."""
    parser = commands.add_parser(
        "compare",
        help="compare two finished runs by scenario, with paired bootstrap intervals",
        description="Score the test rows of two finished runs anew, and compare AUC and LogLoss.",
    )
    parser.add_argument("first", metavar="A.json", help="a run's report, beside its checkpoint")
    parser.add_argument("second", metavar="B.json", help="that of a run on the same test rows")
    add_resampling(parser, at_least=1)
    add_report(parser)
    parser.set_defaults(action=run_by("recbole_midpg.analysis.compare_command:compare"))
