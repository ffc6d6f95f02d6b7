"""The options of ``predict``, ``evaluate``, ``recommend`` and ``export``."""

from __future__ import annotations

from typing import Any

from recbole_midpg.atomic_data_scripts import CONVERTERS
from recbole_midpg.atomic_data_scripts.conversion import ON_ERROR
from recbole_midpg.commands.numbers import COUNT
from recbole_midpg.commands.running import add_force, add_report, add_resampling, run_by
from recbole_midpg.common.choices import TASKS

_CHECKPOINT = "of a context-aware model, its dataset where it was; or a .scorer file"


def _add_checkpoint(parser: Any) -> None:
    parser.add_argument("--checkpoint", required=True, help=_CHECKPOINT)
    parser.add_argument(
        "--model",
        metavar="PACKAGE.MODULE:CLASS",
        help="the checkpoint's model, where it is written outside of recbole_midpg and RecBole",
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="of an ESMM model: the probability that is the score (default: CTCVR, that of the "
        "label)",
    )


def add_predict(commands: Any) -> None:
    """Add ``predict`` to a parser's commands."""
    parser = commands.add_parser("predict", help="score the rows of a file")
    _add_checkpoint(parser)
    _add_rows(parser)
    parser.add_argument("--output", required=True, help="the .csv file to write, a line a row")
    add_force(parser)
    parser.add_argument(
        "--keep", nargs="*", default=[], metavar="COLUMN", help="columns to copy beside the score"
    )
    _add_show_progress(parser)
    parser.set_defaults(action=run_by("recbole_midpg.prediction.command:predict"))


def _add_rows(parser: Any) -> None:
    parser.add_argument(
        "--input",
        required=True,
        help="rows: .csv with a line of names, .parquet or .inter; with --raw the dataset's raw "
        "file; of a dataset that prepare made of a log, the log's next file",
    )
    parser.add_argument(
        "--raw",
        metavar="NAME",
        help="the input is a raw file of a dataset that prepare converts "
        f"({', '.join(CONVERTERS)}); its fields are made as there",
    )
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        help="at a bad line of a raw file or a log: stop (default), or skip it, so that it has no "
        "score",
    )


def add_evaluate(commands: Any) -> None:
    """Add ``evaluate`` to a parser's commands."""
    parser = commands.add_parser(
        "evaluate",
        help="AUC, LogLoss and PCOC on a labelled file, by scenario, with intervals",
        description="Score the rows of a labelled file, and print AUC, LogLoss and PCOC of all "
        "rows and of each scenario, with bootstrap intervals.",
    )
    _add_checkpoint(parser)
    _add_rows(parser)
    parser.add_argument(
        "--label", metavar="FIELD", help="the column of labels (default: that of training)"
    )
    parser.add_argument(
        "--given",
        metavar="FIELD",
        help="a column of 0 and 1: only rows with 1 are evaluated, as purchases given clicks",
    )
    add_resampling(parser, at_least=0)
    add_report(parser)
    _add_show_progress(parser)
    parser.set_defaults(action=run_by("recbole_midpg.prediction.evaluate_command:evaluate"))


def _add_show_progress(parser: Any) -> None:
    parser.add_argument(
        "--show_progress",
        action="store_true",
        default=None,
        help="show progress even where stderr is not a terminal",
    )


def add_recommend(commands: Any) -> None:
    """Add ``recommend`` to a parser's commands."""
    parser = commands.add_parser("recommend", help="rank all items for users, in a scenario")
    _add_checkpoint(parser)
    users = parser.add_mutually_exclusive_group(required=True)
    users.add_argument("--users", nargs="+", metavar="USER", help="users' ids, as in the data")
    users.add_argument(
        "--input",
        help="users in a file, .csv with a line of names or .inter: a line is a request, its other "
        "columns are what the model reads of it, as the scenario",
    )
    parser.add_argument("--output", required=True, help="the .csv file to write")
    add_force(parser)
    parser.add_argument(
        "--k", type=COUNT, default=10, help="items a request (default: %(default)s)"
    )
    parser.add_argument(
        "--context",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="what the model reads of a row beside its user's and its item's features, for all "
        "requests, as channel=app",
    )
    parser.add_argument(
        "--items",
        help="the items to rank, in a .csv; it may have features and context of each "
        "(default: all items of the dataset)",
    )
    excluded = parser.add_mutually_exclusive_group()
    excluded.add_argument(
        "--exclude_seen",
        "--exclude-seen",
        action="store_true",
        help="leave out the items of each user's rows in the dataset",
    )
    excluded.add_argument("--exclude", help="pairs of users and items to leave out, in a .csv")
    _add_show_progress(parser)
    parser.set_defaults(action=run_by("recbole_midpg.prediction.command:recommend"))


def add_export(commands: Any) -> None:
    """Add ``export`` to a parser's commands."""
    parser = commands.add_parser(
        "export", help="make a trained model a file that needs no dataset, or a program"
    )
    _add_checkpoint(parser)
    parser.add_argument(
        "--output",
        required=True,
        help="NAME.scorer: all that predict needs; NAME.pt2: a program of torch.export, "
        "from token ids to probabilities; NAME.onnx: the same for ONNX, with its tokens in "
        "NAME.vocabulary.json",
    )
    add_force(parser)
    parser.set_defaults(action=run_by("recbole_midpg.prediction.command:export"))
