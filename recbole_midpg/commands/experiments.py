"""The options of ``models``, ``tune`` and ``benchmark``."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_midpg.commands.numbers import COUNT, SEED
from recbole_midpg.commands.running import add_force, run_by
from recbole_midpg.common.choices import DEFAULT_MODEL, PROPOSED
from recbole_midpg.integration.models.model_names import own_model_names

_DEFAULT_SEED = 2020


def add_models(commands: Any) -> None:
    """Add ``models`` to the parser's commands."""
    parser = commands.add_parser("models", help="list the models and count their parameters")
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.set_defaults(action=run_by("recbole_midpg.experiments.command:list_models"))


def add_tune(commands: Any) -> None:
    """Add ``tune`` to the parser's commands."""
    parser = commands.add_parser(
        "tune",
        help="search for the settings of models that are best on the validation split",
        epilog="Further arguments --KEY=VALUE are config values, the same in every trial: they are "
        "not searched, and stand in the printed command rather than in a model's file.",
        allow_abbrev=False,  # --m=4 is a config value
    )
    parser.add_argument(
        "--models",
        "--model",
        nargs="+",
        default=[DEFAULT_MODEL],
        help=f"one or several (default: {DEFAULT_MODEL})",
    )
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument(
        "--space",
        help="a .hyper file of all that is searched (default: the package's common one, and the "
        "keys of each model's own)",
    )
    parser.add_argument(
        "--trials",
        type=COUNT,
        default=20,
        help="of each model; the first is of the defaults (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds",
        type=COUNT,
        default=1,
        help="a trial is trained with as many, the config's and the next ones, and has the mean of "
        "their scores (default: %(default)s)",
    )
    parser.add_argument("--seed", type=SEED, default=2023, help="of the search (default: 2023)")
    parser.add_argument("--jobs", type=COUNT, default=1, help="models at a time (default: 1)")
    parser.add_argument(
        "--output",
        default="tuning",
        help="folder of a config file and a record of finished trials for each model, from which "
        "the same command goes on after an interrupt (default: %(default)s)",
    )
    parser.add_argument(
        "--settings_file",
        help="a file to write besides: the settings of all models, for benchmark",
    )
    add_force(parser)
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.set_defaults(action=run_by("recbole_midpg.experiments.command:tune_models"), settings=[])


def add_benchmark(commands: Any) -> None:
    """Add ``benchmark`` to the parser's commands."""
    parser = commands.add_parser(
        "benchmark",
        help="compare models over several seeds: the paper's Table 1",
        epilog="Further arguments --KEY=VALUE are config values, the same for every model; they "
        "win over the settings file.",
        allow_abbrev=False,  # --m=4 is a config value
    )
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument(
        "--models",
        nargs="+",
        default=default_models(),
        help=f"of this package or of RecBole (default: {' '.join(default_models())})",
    )
    parser.add_argument("--trials", type=COUNT, default=10, help="of each model (default: 10)")
    parser.add_argument(
        "--seed", type=SEED, default=_DEFAULT_SEED, help="of the first trial (default: 2020)"
    )
    add_settings_file(parser)
    parser.add_argument("--jobs", type=COUNT, default=1, help="trials at a time (default: 1)")
    parser.add_argument(
        "--proposed",
        nargs="*",
        help="some of the models, which are no baselines (default: DPG MIDPG)",
    )
    parser.add_argument(
        "--scenarios", action="store_true", help="a table of the scenarios' AUC besides"
    )
    parser.add_argument(
        "--output",
        help="folder of the tables and of the record of finished trials, from which the same "
        "command goes on after an interrupt (default: benchmark/DATASET)",
    )
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.set_defaults(
        action=run_by("recbole_midpg.experiments.command:compare_models"), settings=[]
    )


def add_settings_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--settings_file`` to a command that trains several models."""
    parser.add_argument(
        "--settings_file",
        help="tuned settings by model (default: ./benchmarks/settings/DATASET.yaml, else the "
        "package's, if there is one)",
    )


def default_models() -> list[str]:
    """This package's models: DNN first, the paper's own last."""
    proposed = [name for name in own_model_names() if name in PROPOSED]
    return ["DNN", *(m for m in own_model_names() if m not in ("DNN", *proposed)), *proposed]
