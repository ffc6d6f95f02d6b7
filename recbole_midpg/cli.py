"""The command line: ``run_recbole`` and ``recbole-midpg``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

from recbole.quick_start import run
from tabulate import tabulate

from recbole_midpg.analysis.command import add_analyze
from recbole_midpg.analysis.compare_command import add_compare
from recbole_midpg.atomic_data_scripts import CONVERTERS, prepare
from recbole_midpg.atomic_data_scripts.script import (
    INTERRUPT_STATUS,
    USAGE_STATUS,
)
from recbole_midpg.atomic_data_scripts.script import add_options as add_conversion_options
from recbole_midpg.command_parser import CommandParser
from recbole_midpg.common.arguments import parse_value, split_arguments
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.catalogue import list_datasets
from recbole_midpg.experiments.command import add_benchmark, add_models, add_tune
from recbole_midpg.generated import GENERATED, generate, read_bayes
from recbole_midpg.generated.generate import DEFAULT_SEED
from recbole_midpg.integration.config.config import build_config, read_config_files
from recbole_midpg.integration.dataset.datasets import fetch_raw_file
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.run.processes import ProcessDied
from recbole_midpg.integration.run.run_report import versions
from recbole_midpg.prediction.command import add_export, add_predict, add_recommend
from recbole_midpg.prediction.folded_file import fold_checkpoint

DEATH_STATUS = 1
_DEFAULT_MODEL = "MIDPG"
_DEFAULT_DATASET = "ml-100k"
_DATA_PATH = "dataset"
_DESCRIPTION = "Everything beside training and testing one model, which run_recbole does."
_HELP = """\
usage: run_recbole [--model=NAME] [--dataset=NAME] [--config_files="FILE ..."] [--KEY=VALUE ...]

Train a model on a dataset, keep the epoch that is best on the validation split, evaluate it on the
test split and print AUC and LogLoss.

  --model, -m NAME      a model of this package ({models})
                        or any of RecBole's own (default: {default_model})
  --dataset, -d NAME    a folder of RecBole atomic files below data_path
                        (default: {default_dataset}, which RecBole ships)
  --config_files FILE.. RecBole config files; later ones win, the command line wins over all
  --KEY VALUE           any config key, also as --KEY=VALUE; lists as [a,b]
  --resume              go on with this command's run after its last complete epoch, where it was
                        cut off; --resume=auto starts anew where there is none
  --nproc N             processes on this machine, with a GPU each or on the CPU (default: 1)
  --world_size N        processes on all machines (default: nproc)
  --ip, --port          the first machine's address (default: localhost, 5678)
  --group_offset N      the rank of this machine's first process (default: 0)
  --help, -h            this text
  --version             of this package, of RecBole and of what computes

examples:
  run_recbole --model=MIDPG --dataset=ml-100k
  run_recbole --model=DeepFM --dataset=ml-100k
  run_recbole --model=MIDPG --weighting=rc --n=4 --m=4 --k=2 --beta=0.05
"""


def run_recbole_command(arguments: Sequence[str] | None = None) -> int:
    """Run ``run_recbole``: train and evaluate one model.

    Args:
        arguments: the command line without the program's name; the process's own by default.

    Returns:
        The exit status: 0, 2 where the user can fix what is wrong, 1 where one of several
        processes died, 130 after an interrupt.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if any(argument in ("--help", "-h") for argument in arguments):
        print(_help_text())
        return 0
    if "--version" in arguments:
        print(_versions())
        return 0
    return _guarded("run_recbole", lambda: _train(split_arguments(arguments)))


def _guarded(program: str, action: Callable[[], None]) -> int:
    """Run an action; print what the user can fix as one sentence, without a traceback.

    Returns:
        The exit status: 0, 2 for a :class:`UsageError` or a file that the operating system refuses,
        1 where one of several processes died, 130 for an interrupt.
    """
    threading.excepthook = _report_in_main_thread
    try:
        action()
    except UsageError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return USAGE_STATUS
    except ProcessDied as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return DEATH_STATUS
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends the process at once
        details = f"; {interrupt}" if str(interrupt) else ""
        print(f"{program}: interrupted{details}.", file=sys.stderr)
        return INTERRUPT_STATUS
    except OSError as error:
        # What the operating system refuses: a full disk, a folder that cannot be written.
        place = f"{error.filename}: " if error.filename else ""
        print(f"{program}: error: {place}{error.strerror or error}.", file=sys.stderr)
        return USAGE_STATUS
    return 0


def _report_in_main_thread(failure: threading.ExceptHookArgs) -> None:
    """Leave it to the main thread to report that a file cannot be written.

    TensorBoard writes in a thread of its own and raises the same error again where it is called.
    """
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)


def _help_text() -> str:
    return _HELP.format(
        models=", ".join(own_models()),
        default_model=_DEFAULT_MODEL,
        default_dataset=_DEFAULT_DATASET,
    )


def _versions() -> str:
    return ", ".join(f"{package} {version}" for package, version in versions().items())


def _train(texts: dict[str, str]) -> None:
    # RecBole reads the rest of the configuration from the command line itself, in workers too.
    sys.argv[1:] = [f"--{key}={text}" for key, text in texts.items()]
    config_files = texts.get("config_files", "").split()
    in_files = read_config_files(config_files)
    model = texts.get("model", in_files.get("model", _DEFAULT_MODEL))
    dataset = texts.get("dataset", in_files.get("dataset", _DEFAULT_DATASET))
    n_processes = _whole_number(texts, "nproc", 1, minimum=1)
    # Built once here, so that a mistake in it is reported before a run begins.
    build_config(model, dataset, config_files)
    run(
        model,
        dataset,
        config_file_list=config_files,
        nproc=n_processes,
        world_size=_whole_number(texts, "world_size", -1, minimum=-1),
        ip=texts.get("ip", "localhost"),
        port=texts.get("port", "5678"),
        group_offset=_whole_number(texts, "group_offset", 0, minimum=0),
    )


def _whole_number(texts: dict[str, str], key: str, default: int, minimum: int) -> int:
    value = parse_value(texts[key]) if key in texts else default
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise UsageError(
            f"{key}: {value!r} is not allowed, expected a whole number of at least {minimum}."
        )
    return value


# --------------------------------------------------------------------------------------------------
# recbole-midpg


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``recbole-midpg``: everything beside training one model.

    Args:
        arguments: the command line without the program's name; the process's own by default.

    Returns:
        The exit status: 0, 2 where the user can fix what is wrong, 130 after an interrupt.
    """
    parser = CommandParser(prog="recbole-midpg", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_prepare(commands)
    _add_generate(commands)
    _add_datasets(commands)
    add_models(commands)
    add_tune(commands)
    add_benchmark(commands)
    add_analyze(commands)
    add_compare(commands)
    _add_fold(commands)
    add_predict(commands)
    add_recommend(commands)
    add_export(commands)
    known, others = parser.parse_known_args(arguments)
    options = vars(known)
    sys.argv[1:] = []  # what is left there RecBole would take for config values
    action = options.pop("action")
    if "settings" in options:
        options["settings"] = others
    elif others:
        parser.error(f"{others[0]!r} belongs to no option, expected --OPTION VALUE.")
    return _guarded("recbole-midpg", lambda: action(**options))


def _add_prepare(commands: Any) -> None:
    parser = commands.add_parser("prepare", help="convert a raw file into atomic files")
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(CONVERTERS)}")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", help="the raw file, plain, gzip or zip")
    source.add_argument("--download", action="store_true", help="fetch the public raw file first")
    add_conversion_options(parser)
    parser.set_defaults(action=_prepare)


def _prepare(name: str, raw: str | None, download: bool, output: str, **options: Any) -> None:
    if name in GENERATED:
        raise UsageError(f"{name!r} has no raw file; recbole-midpg generate {name} makes it.")
    if download:
        raw = str(fetch_raw_file(name, Path(output)))
    print(prepare(name, str(raw), output, **options).summary())


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser(
        "generate", help="generate a dataset whose best possible AUC and LogLoss are known"
    )
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(GENERATED)}")
    parser.add_argument("--rows", type=int, help="how many (default: as the real set has)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(default: %(default)s)")
    parser.add_argument(
        "--output", default="dataset", help="the folder of all datasets (default: dataset)"
    )
    parser.set_defaults(action=_generate)


def _generate(name: str, rows: int | None, seed: int, output: str) -> None:
    print(generate(name, output, rows, seed).summary())
    best = read_bayes(Path(output) / name) or {}
    for part, scores in best.get("splits", {}).items():
        print(f"best possible on {part}: AUC {scores['auc']:.4f}, LogLoss {scores['logloss']:.4f}")


def _add_datasets(commands: Any) -> None:
    parser = commands.add_parser("datasets", help="list the known datasets and what is on disk")
    parser.add_argument(
        "--data_path", default=_DATA_PATH, help="the folder of all datasets (default: dataset)"
    )
    parser.set_defaults(action=_list_datasets)


def _list_datasets(data_path: str) -> None:
    if data_path != _DATA_PATH and not Path(data_path).is_dir():
        raise UsageError(f"--data_path: there is no folder {data_path!r}.")
    entries = list_datasets(data_path, _DEFAULT_MODEL)
    rows = [
        [entry.name, entry.state, entry.rows, entry.scenarios, entry.about] for entry in entries
    ]
    print(tabulate(rows, headers=["dataset", "state", "rows", "scenarios", "about"], intfmt=","))
    notes = [f"{entry.name}: {entry.note}" for entry in entries if entry.note]
    if notes:
        print(f"\nWhat run_recbole --model={_DEFAULT_MODEL} --dataset=NAME would find:")
        print(*notes, sep="\n")


def _add_fold(commands: Any) -> None:
    parser = commands.add_parser(
        "fold", help="make a plain network of each scenario out of a trained DPG or MIDPG"
    )
    parser.add_argument(
        "--checkpoint", required=True, help="of a model trained with generator_input: scenario"
    )
    parser.add_argument("--output", required=True, help="the file to write")
    parser.set_defaults(action=_fold)


def _fold(checkpoint: str, output: str) -> None:
    folded = fold_checkpoint(checkpoint, output)
    fields = ", ".join(folded.scenario_fields)
    print(f"{output}: {prod(folded.scenario_sizes)} networks, one for each {fields}.")
