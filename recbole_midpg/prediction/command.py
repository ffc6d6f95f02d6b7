"""The commands ``recbole-midpg predict``, ``recommend`` and ``export``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from recbole_midpg.atomic_data_scripts import find_converter
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import Reads, require_ending, require_free_name
from recbole_midpg.integration.models.outside_models import import_model
from recbole_midpg.loading.items_by_user import SeenItems
from recbole_midpg.prediction.encoding import encode_columns
from recbole_midpg.prediction.export import export_program
from recbole_midpg.prediction.files import score_rows
from recbole_midpg.prediction.onnx_file import export_onnx, vocabulary_path
from recbole_midpg.prediction.ranking import ItemRanking, pairs_to_exclude
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.recommendations import (
    ListedUsers,
    Requests,
    rank_for_requests,
    read_whole_file,
)
from recbole_midpg.prediction.rows import RowSource, open_rows
from recbole_midpg.prediction.scorer import Scorer
from recbole_midpg.prediction.sources import open_source
from recbole_midpg.prediction.unused import on_unused, on_unused_of_rows


def read_scorer(
    checkpoint: str, model: str | None, task: str | None, *, keep_seen: bool = False
) -> Scorer:
    """Read a checkpoint; its model is imported from outside where the command names it."""
    if model is not None:
        import_model(model)
    return Scorer.read(checkpoint, keep_seen, task)


def predict(
    checkpoint: str,
    model: str | None,
    task: str | None,
    input: str,
    raw: str | None,
    on_error: str | None,
    output: str,
    force: bool,
    keep: list[str],
    show_progress: bool | None,
) -> None:
    """Score the rows of a file."""
    _require_csv_name(output, force, [("--checkpoint", checkpoint), ("--input", input)])
    if raw is not None:
        find_converter(raw)  # before a checkpoint is read
    scorer = read_scorer(checkpoint, model, task)
    with open_source(scorer, input, raw, on_error) as source:
        print_unused(on_unused_of_rows(scorer, source, keep))
        scored = score_rows(scorer, source, output, keep, show_progress)
        print_rejected(source, scored.rows)
    print_counts(scorer, scored.counts)
    print(f"{output}: {scored.rows:,} scores.")


def print_unused(sentence: str | None) -> None:
    """Say on stderr which columns of a file are not used, where there are some."""
    if sentence is not None:
        print(sentence, file=sys.stderr)


def print_rejected(source: RowSource, rows: int) -> None:
    """Say on stderr how many lines of a file were left out beside its rows."""
    if source.rejected:
        print(
            f"warning: {source.rejected:,} of {source.rejected + rows:,} lines are bad and "
            f"have no score, the first one: {source.first_rejected}",
            file=sys.stderr,
        )


def print_counts(scorer: Scorer, counts: Mapping[str, ValueCounts], part: str = "") -> None:
    """Say on stderr what training has seen of the columns of a part of the input."""
    for name, of_column in counts.items():
        print(f"{part}{name}: {of_column}", file=sys.stderr)
    for sentence in scorer.warnings(counts).values():
        print(f"warning: {part}{sentence}", file=sys.stderr)


def recommend(
    checkpoint: str,
    model: str | None,
    task: str | None,
    users: list[str] | None,
    input: str | None,
    output: str,
    force: bool,
    k: int,
    context: list[str],
    items: str | None,
    exclude_seen: bool,
    exclude: str | None,
    show_progress: bool | None,
) -> None:
    """Rank all items for users."""
    reads = [
        ("--checkpoint", checkpoint),
        ("--input", input),
        ("--items", items),
        ("--exclude", exclude),
    ]
    _require_csv_name(output, force, reads)
    values = _values_by_field(context)
    scorer = read_scorer(checkpoint, model, task, keep_seen=exclude_seen)
    excluded = scorer.seen if exclude_seen else _pairs(scorer, exclude)
    ranking = _ranking(scorer, k, values, items, excluded)
    with _requests(scorer, users, input) as requests:
        ranked = rank_for_requests(ranking, requests, output, show_progress)
    print_counts(scorer, ranked.counts)
    print_counts(scorer, ranking.counts)
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


def _ranking(
    scorer: Scorer,
    k: int,
    values: Mapping[str, str],
    path: str | None,
    excluded: SeenItems | None,
) -> ItemRanking:
    """The ranking of all items, or of those of a file."""
    if path is None:
        return ItemRanking(scorer.scoring, k, values, exclude=excluded)
    file = read_whole_file(path)
    read = [*scorer.fields, scorer.scoring.config["ITEM_ID_FIELD"]]
    unused = [name for name in file.columns if name not in read]
    missing = [name for name in read if name not in file.columns]
    print_unused(on_unused(file.path, unused, missing))
    with file.naming_the_line():
        return ItemRanking(scorer.scoring, k, values, file.columns, excluded, file.path)


def _pairs(scorer: Scorer, path: str | None) -> SeenItems | None:
    """The pairs of a file that are to be left out; says what training has seen of them."""
    if path is None:
        return None
    file = read_whole_file(path)
    pairs = pairs_to_exclude(scorer.scoring, file.columns, file.path)
    ids = [scorer.scoring.config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD")]
    columns = {name: file.columns[name] for name in ids}
    print_unused(on_unused(file.path, [name for name in file.columns if name not in ids], []))
    with file.naming_the_line():
        encoded = encode_columns(scorer.scoring, columns)
    print_counts(scorer, scorer.counts(columns, encoded), "exclude, ")
    return pairs


@contextmanager
def _requests(scorer: Scorer, users: list[str] | None, path: str | None) -> Iterator[Requests]:
    """The requests of a list of users, or of a file."""
    config = scorer.scoring.config
    if path is not None:
        with open_rows(path, scorer.fields, config["field_separator"]) as file:
            print_unused(on_unused_of_rows(scorer, file))
            yield file
        return
    listed = users or []
    if len(listed) == 1 and Path(listed[0]).is_file():
        raise UsageError(f"--users: {listed[0]!r} is a file, which --input reads.")
    yield ListedUsers(config["USER_ID_FIELD"], listed)


_EXPORTS = {".scorer": Scorer.save, ".pt2": export_program, ".onnx": export_onnx}


def export(checkpoint: str, model: str | None, task: str | None, output: str, force: bool) -> None:
    """Write a trained model as a file that needs no dataset, or as a program."""
    require_ending(output, _EXPORTS)
    suffix = Path(output).suffix
    if task is not None and suffix == ".scorer":
        raise UsageError(
            f"task: {output!r} will give every task, expected --task where it is read."
        )
    reads = [("--checkpoint", checkpoint)]
    _require_free_name(output, force, reads)
    if suffix == ".onnx":
        require_free_name(vocabulary_path(output), force, reads)
    _EXPORTS[suffix](read_scorer(checkpoint, model, task), output)
    print(f"{output}: {Path(output).stat().st_size:,} bytes.")


def _require_csv_name(output: str, force: bool, reads: Reads) -> None:
    require_ending(output, [".csv"])
    _require_free_name(output, force, reads)


def _require_free_name(output: str, force: bool, reads: Reads) -> None:
    if not Path(output).parent.is_dir():
        raise UsageError(f"output {output!r}: there is no folder to write it to.")
    require_free_name(output, force, reads)
