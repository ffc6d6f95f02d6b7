"""The command line: ``run_recbole``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from recbole.config import Config
from recbole.quick_start import run

from recbole_midpg.command_line import parse_value, split_arguments
from recbole_midpg.errors import UsageError
from recbole_midpg.integration.config import read_config_file
from recbole_midpg.integration.registry import own_models

_DEFAULT_MODEL = "MIDPG"
_DEFAULT_DATASET = "ml-100k"
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
  --nproc N             processes on this machine, one GPU each (default: 1)
  --world_size N        processes on all machines (default: nproc)
  --ip, --port          the first machine's address (default: localhost, 5678)
  --group_offset N      the rank of this machine's first process (default: 0)
  --help, -h            this text

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
        The exit status: 0, 2 where the user can mend what is wrong, 130 after an interrupt.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if any(argument in ("--help", "-h") for argument in arguments):
        print(_help_text())
        return 0
    try:
        _train(split_arguments(arguments))
    except UsageError as error:
        print(f"run_recbole: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("run_recbole: interrupted.", file=sys.stderr)
        return 130
    return 0


def _help_text() -> str:
    return _HELP.format(
        models=", ".join(own_models()),
        default_model=_DEFAULT_MODEL,
        default_dataset=_DEFAULT_DATASET,
    )


def _train(texts: dict[str, str]) -> None:
    # RecBole reads the rest of the configuration from the command line itself, in workers too.
    sys.argv[1:] = [f"--{key}={text}" for key, text in texts.items()]
    config_files = texts.get("config_files", "").split()
    in_files: dict[str, Any] = {}
    for file in config_files:
        in_files.update(read_config_file(file))
    model = texts.get("model", in_files.get("model", _DEFAULT_MODEL))
    dataset = texts.get("dataset", in_files.get("dataset", _DEFAULT_DATASET))
    n_processes = _whole_number(texts, "nproc", 1, minimum=1)
    _check_configuration(model, dataset, config_files)
    _check_devices(n_processes)
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


def _check_configuration(model: str, dataset: str, config_files: list[str]) -> None:
    """Build the configuration once, so that what is wrong with it is told before a run begins.

    Raises:
        UsageError: what is wrong.
    """
    try:
        Config(model, dataset, config_files)
    except UsageError:
        raise
    except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"configuration: {error}") from error


def _check_devices(n_processes: int) -> None:
    """Check that every process has a GPU: RecBole's processes talk by NCCL, which needs one each.

    Raises:
        UsageError: there are fewer GPUs than processes.
    """
    n_devices = torch.cuda.device_count()
    if n_processes > max(n_devices, 1):
        raise UsageError(
            f"nproc: {n_processes} processes need a GPU each and {n_devices} are visible, "
            f"expected at most {max(n_devices, 1)} (see gpu_id)."
        )


def _whole_number(texts: dict[str, str], key: str, default: int, minimum: int) -> int:
    value = parse_value(texts[key]) if key in texts else default
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise UsageError(
            f"{key}: {value!r} is not allowed, expected a whole number of at least {minimum}."
        )
    return value
