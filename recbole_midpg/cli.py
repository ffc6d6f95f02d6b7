"""The command line: ``run_recbole`` and ``recbole-midpg``."""

from __future__ import annotations

import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence

from recbole_midpg.command_parser import CommandParser
from recbole_midpg.commands import analysis, daily, datasets, experiments, prediction
from recbole_midpg.commands.given_words import require_known_words
from recbole_midpg.commands.running import run_by
from recbole_midpg.common.arguments import parse_value, split_arguments
from recbole_midpg.common.choices import DEFAULT_DATASET, DEFAULT_MODEL
from recbole_midpg.common.config_files import read_config_files
from recbole_midpg.common.errors import (
    DEATH_STATUS,
    INTERRUPT_STATUS,
    USAGE_STATUS,
    ProcessDied,
    UsageError,
)
from recbole_midpg.common.version import versions
from recbole_midpg.integration.models.model_names import own_model_names

_DESCRIPTION = "Everything beside training and testing one model, which run_recbole does."
_HELP = """\
usage: run_recbole [--model=NAME] [--dataset=NAME] [--config_files="FILE ..."] [--KEY=VALUE ...]

Train a model on a dataset, keep the epoch that is best on the validation split, evaluate it on the
test split and print AUC and LogLoss, to standard output; what happens meanwhile, to standard error.

  --model, -m NAME      a model of this package, ESMM_ and such a name for clicks and purchases,
                        or any of RecBole's own (default: {default_model}); of this package:
{models}
  --dataset, -d NAME    a folder of RecBole atomic files below data_path
                        (default: {default_dataset}, which RecBole ships)
  --config_files FILE.. RecBole config files; later ones win, the command line wins over all
  --KEY VALUE           any config key, also as --KEY=VALUE; lists as [a,b]
  --resume              go on with this command's run after its last complete epoch, where it was
                        cut off; --resume=auto starts anew where there is none
  --continue_from FILE  train a checkpoint once more, on new rows alone: --new_rows FILE or [a,b], a
                        .csv or .inter with the label, --checkpoint_out FILE, --force
  --verbose             show the whole log on the terminal, as the log file has it
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
        models=textwrap.indent(textwrap.fill(", ".join(own_model_names()), 72), 24 * " "),
        default_model=DEFAULT_MODEL,
        default_dataset=DEFAULT_DATASET,
    )


def _versions() -> str:
    return ", ".join(f"{package} {version}" for package, version in versions().items())


def _train(texts: dict[str, str]) -> None:
    if "continue_from" in texts:
        run_by("recbole_midpg.daily.command:continue_training")(texts=texts)
        return
    for key in ("new_rows", "checkpoint_out", "force"):
        if key in texts:
            raise UsageError(f"{key}: it is for --continue_from, expected that beside it.")
    config_files = texts.get("config_files", "").split()
    in_files = read_config_files(config_files)
    model = texts.get("model", in_files.get("model", DEFAULT_MODEL))
    dataset = texts.get("dataset", in_files.get("dataset", DEFAULT_DATASET))
    machine = {
        "nproc": _whole_number(texts, "nproc", 1, minimum=1),
        "world_size": _whole_number(texts, "world_size", -1, minimum=-1),
        "ip": texts.get("ip", "localhost"),
        "port": texts.get("port", "5678"),
        "group_offset": _whole_number(texts, "group_offset", 0, minimum=0),
    }
    given = {**in_files, **{key: parse_value(text) for key, text in texts.items()}}
    if "recbole" not in sys.modules:
        require_known_words(model, dataset, given)  # at once, without the seconds of the import
    run_by("recbole_midpg.actions:train")(
        model=model, dataset=dataset, config_files=config_files, typed=texts, **machine
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
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = CommandParser(prog="recbole-midpg", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    datasets.add_prepare(commands)
    datasets.add_generate(commands)
    datasets.add_datasets(commands)
    experiments.add_models(commands)
    experiments.add_tune(commands)
    experiments.add_benchmark(commands)
    analysis.add_analyze(commands)
    analysis.add_compare(commands)
    datasets.add_fold(commands)
    prediction.add_predict(commands)
    prediction.add_evaluate(commands)
    prediction.add_recommend(commands)
    prediction.add_export(commands)
    daily.add_daily(commands)
    known, others = parser.parse_known_args(arguments)
    options = vars(known)
    action = options.pop("action")
    if "settings" in options:
        options["settings"] = others
    elif others:
        parser.error(f"{others[0]!r} belongs to no option, expected --OPTION VALUE.")
    return _guarded("recbole-midpg", lambda: action(**options))
