"""The commands ``recbole-midpg predict``, ``recommend`` and ``export``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_midpg.atomic_data_scripts import CONVERTERS, find_converter
from recbole_midpg.atomic_data_scripts.conversion import ON_ERROR
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.outside_models import import_model
from recbole_midpg.loading.items_by_user import SeenItems
from recbole_midpg.prediction.encoding import encode_columns
from recbole_midpg.prediction.export import export_program
from recbole_midpg.prediction.files import score_file, score_rows
from recbole_midpg.prediction.ranking import ItemRanking, pairs_to_exclude
from recbole_midpg.prediction.raw_rows import RawRowFile
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.recommendations import (
    ListedUsers,
    Requests,
    rank_for_requests,
    read_whole_columns,
)
from recbole_midpg.prediction.rows import open_rows
from recbole_midpg.prediction.scorer import Scorer

_CHECKPOINT = "of a context-aware model, its dataset where it was; or a .scorer file"


def _add_checkpoint(parser: Any) -> None:
    parser.add_argument("--checkpoint", required=True, help=_CHECKPOINT)
    parser.add_argument(
        "--model",
        metavar="PACKAGE.MODULE:CLASS",
        help="the checkpoint's model, where it is written outside of recbole_midpg and RecBole",
    )


def _read_scorer(checkpoint: str, model: str | None, *, keep_seen: bool = False) -> Scorer:
    """Read a checkpoint; its model is imported from outside where the command names it."""
    if model is not None:
        import_model(model)
    return Scorer.read(checkpoint, keep_seen=keep_seen)


def add_predict(commands: Any) -> None:
    """Add ``predict`` to a parser's commands."""
    parser = commands.add_parser("predict", help="score the rows of a file")
    _add_checkpoint(parser)
    parser.add_argument(
        "--input",
        required=True,
        help="rows: .csv with a line of names, or .inter; with --raw the dataset's raw file",
    )
    parser.add_argument(
        "--raw",
        metavar="NAME",
        help="the input is a raw file, with a label or without, of a dataset that prepare "
        f"converts ({', '.join(CONVERTERS)}); its fields are made as there",
    )
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        help="with --raw, at a bad line: stop (default), or skip it, so that it has no score",
    )
    parser.add_argument("--output", required=True, help="the .csv file to write, a line a row")
    parser.add_argument(
        "--keep", nargs="*", default=[], metavar="COLUMN", help="columns to copy beside the score"
    )
    _add_show_progress(parser)
    parser.set_defaults(action=_predict)


def _add_show_progress(parser: Any) -> None:
    parser.add_argument(
        "--show_progress",
        action="store_true",
        default=None,
        help="show progress even where stderr is not a terminal",
    )


def _predict(
    checkpoint: str,
    model: str | None,
    input: str,
    raw: str | None,
    on_error: str | None,
    output: str,
    keep: list[str],
    show_progress: bool | None,
) -> None:
    _check_folder(output)
    if raw is not None:
        converter = find_converter(raw)
    elif on_error is not None:
        raise UsageError(f"--on-error: {on_error!r} is for raw files, expected --raw beside it.")
    scorer = _read_scorer(checkpoint, model)
    if raw is None:
        scored = score_file(scorer, input, output, keep, show_progress)
    else:
        file = RawRowFile(converter, input, scorer.fields, skip_bad_lines=on_error == "skip")
        scored = score_rows(scorer, file, output, keep, show_progress)
        if file.rejected:
            print(
                f"warning: {file.rejected:,} of {file.rejected + scored.rows:,} lines are bad and "
                f"have no score, the first one: {file.first_rejected}",
                file=sys.stderr,
            )
    _print_counts(scorer, scored.counts)
    print(f"{output}: {scored.rows:,} scores.")


def _print_counts(scorer: Scorer, counts: Mapping[str, ValueCounts], part: str = "") -> None:
    """Say on stderr what training has seen of the columns of a part of the input."""
    for name, of_column in counts.items():
        print(f"{part}{name}: {of_column}", file=sys.stderr)
    for sentence in scorer.warnings(counts).values():
        print(f"warning: {part}{sentence}", file=sys.stderr)


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
    parser.add_argument("--k", type=int, default=10, help="items a request (default: %(default)s)")
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
    parser.set_defaults(action=_recommend)


def _recommend(
    checkpoint: str,
    model: str | None,
    users: list[str] | None,
    input: str | None,
    output: str,
    k: int,
    context: list[str],
    items: str | None,
    exclude_seen: bool,
    exclude: str | None,
    show_progress: bool | None,
) -> None:
    _check_folder(output)
    for option, path in (("--input", input), ("--items", items), ("--exclude", exclude)):
        if path is not None and Path(path).resolve() == Path(output).resolve():
            raise UsageError(f"output {output!r}: it is {option}, expected another file.")
    values = _values_by_field(context)
    scorer = _read_scorer(checkpoint, model, keep_seen=exclude_seen)
    ranking = ItemRanking(
        scorer.scoring,
        k,
        values,
        None if items is None else read_whole_columns(items),
        scorer.seen if exclude_seen else _pairs(scorer, exclude),
    )
    with _requests(scorer, users, input) as requests:
        ranked = rank_for_requests(ranking, requests, output, show_progress)
    _print_counts(scorer, ranked.counts)
    _print_counts(scorer, ranking.counts)
    print(f"{output}: {ranked.rows:,} items for {ranked.requests:,} requests.")


def _values_by_field(words: Sequence[str]) -> dict[str, str]:
    """Read words of the form ``FIELD=VALUE``.

    Raises:
        UsageError: a word is not of that form, or a field is there twice.
    """
    values: dict[str, str] = {}
    for word in words:
        field, equals, value = word.partition("=")
        if not field or not equals:
            raise UsageError(f"--context: {word!r} is not allowed, expected FIELD=VALUE.")
        if field in values:
            raise UsageError(f"--context: {field!r} is there twice, expected one value.")
        values[field] = value
    return values


def _pairs(scorer: Scorer, path: str | None) -> SeenItems | None:
    """The pairs of a file that are to be left out; says what training has seen of them."""
    if path is None:
        return None
    columns = read_whole_columns(path)
    pairs = pairs_to_exclude(scorer.scoring, columns)
    encoded = encode_columns(scorer.scoring, columns)
    _print_counts(scorer, scorer.counts(columns, encoded), "exclude, ")
    return pairs


@contextmanager
def _requests(scorer: Scorer, users: list[str] | None, path: str | None) -> Iterator[Requests]:
    """The requests of a list of users, or of a file."""
    config = scorer.scoring.config
    if path is not None:
        with open_rows(path, scorer.fields, config["field_separator"]) as file:
            yield file
        return
    listed = users or []
    if len(listed) == 1 and Path(listed[0]).is_file():
        raise UsageError(f"--users: {listed[0]!r} is a file, which --input reads.")
    yield ListedUsers(config["USER_ID_FIELD"], listed)


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
        "from token ids to probabilities",
    )
    parser.set_defaults(action=_export)


_EXPORTS = {".scorer": Scorer.save, ".pt2": export_program}


def _export(checkpoint: str, model: str | None, output: str) -> None:
    suffix = Path(output).suffix
    if suffix not in _EXPORTS:
        raise UsageError(
            f"output {output!r}: its ending is {suffix!r}, expected one of {', '.join(_EXPORTS)}."
        )
    _check_folder(output)
    _EXPORTS[suffix](_read_scorer(checkpoint, model), output)
    print(f"{output}: {Path(output).stat().st_size:,} bytes.")


def _check_folder(output: str) -> None:
    if not Path(output).parent.is_dir():
        raise UsageError(f"output {output!r}: there is no folder to write it to.")
