"""``run_recbole --continue_from`` and ``recbole-midpg daily``."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from recbole_midpg.analysis.drawing import import_matplotlib
from recbole_midpg.atomic_data_scripts.conversion import ON_ERROR
from recbole_midpg.common.arguments import parse_value
from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.common.rules import Integer, Number, Rules
from recbole_midpg.common.whole_files import require_folder_name, require_free_name
from recbole_midpg.daily.figure import save_days
from recbole_midpg.daily.learning import learn_file, require_unseen
from recbole_midpg.daily.learning_state import (
    LearningState,
    SeenFile,
    digest_of,
    read_learning_state,
    write_learning_state,
)
from recbole_midpg.daily.measuring import scores_of, table_of_days, write_days
from recbole_midpg.daily.new_rows import predict_rows
from recbole_midpg.integration.models.outside_models import class_name_of, import_model
from recbole_midpg.training.freed_memory import keep_freed_memory
from recbole_midpg.training.kernels import set_arithmetic
from recbole_midpg.training.threads import use_threads

_RULES: Rules = {
    "learning_rate": Number(minimum_excluded=True),
    "train_batch_size": Integer(minimum=1),
}
_WORDS = (
    *("continue_from", "new_rows", "on_error", "checkpoint_out", "force", "show_progress"),
    *("model", "dataset", *_RULES),
)


# --------------------------------------------------------------------------------------------------
# run_recbole --continue_from


def continue_training(texts: Mapping[str, str]) -> None:
    """Train a checkpoint's model once on new rows, and write it to another file.

    Args:
        texts: the words of the command by their names.

    Raises:
        UsageError: a word is missing or not allowed, or see
            :func:`~recbole_midpg.daily.learning.learn_file`.
    """
    for key in texts:
        if key not in _WORDS:
            raise UsageError(
                f"{key}: it does not go with continue_from, which takes all else from its "
                f"checkpoint, expected some of {', '.join(_WORDS)}"
                f"{did_you_mean(key, _WORDS) or '.'}"
            )
    if "new_rows" not in texts:
        raise UsageError("new_rows: it is missing, expected a file to learn from.")
    checkpoint, files = texts["continue_from"], _files(texts["new_rows"])
    on_error = texts.get("on_error")
    if on_error not in (None, *ON_ERROR):
        raise UsageError(
            f"on_error: {on_error!r} is not allowed, expected {' or '.join(ON_ERROR)}."
        )
    output = Path(texts.get("checkpoint_out", _beside(checkpoint, files[-1])))
    reads = [("continue_from", checkpoint), *(("one of new_rows", path) for path in files)]
    require_free_name(output, parse_value(texts.get("force", "False")), reads, "checkpoint_out")
    state = _read(checkpoint, texts.get("model"))
    _require_same(state, texts, checkpoint)
    state = _with_values(state, texts, output)
    show_progress = parse_value(texts["show_progress"]) if "show_progress" in texts else None
    for path in files:
        learned = learn_file(state, path, None, show_progress, on_error)
        state = learned.state
        print(learned.text(), file=sys.stderr)
    write_learning_state(state, output)
    print(_table_of_seen(state.seen))
    print(f"{output}: {output.stat().st_size:,} bytes.")


def _files(text: str) -> list[str]:
    value = parse_value(text)
    files = [str(name) for name in value] if isinstance(value, list) else [text]
    if not files:
        raise UsageError("new_rows: it is empty, expected a file to learn from.")
    return files


def _beside(checkpoint: str, rows: str) -> str:
    path = Path(checkpoint)
    return str(path.with_name(f"{path.stem}-{Path(rows).stem}.pth"))


def _read(checkpoint: str, model: str | None) -> LearningState:
    if model is not None and ":" in model:
        import_model(model)
    state = read_learning_state(checkpoint)
    keep_freed_memory()
    use_threads(state.scoring.config)
    set_arithmetic(state.scoring.config)
    return state


def _require_same(state: LearningState, texts: Mapping[str, str], checkpoint: str) -> None:
    config = state.scoring.config
    for key in ("model", "dataset"):
        given = class_name_of(texts[key]) if key in texts else config[key]
        if given != config[key]:
            raise UsageError(
                f"{key}: {given!r} is not that of checkpoint {checkpoint!r}, "
                f"expected {config[key]!r}."
            )


def _with_values(state: LearningState, texts: Mapping[str, str], output: Path) -> LearningState:
    """Set the values that the command gives; they are the file's from then on."""
    config = state.scoring.config
    for key, rule in _RULES.items():
        if key in texts:
            value = parse_value(texts[key])
            if not rule.accepts(value):
                raise UsageError(f"{key}: {value!r} is not allowed, expected {rule.allowed}.")
            config[key] = value
    config["checkpoint_dir"] = str(output.parent)  # never a folder that the file names
    return state


def _table_of_seen(seen: Sequence[SeenFile]) -> str:
    lines = [[file.name, file.rows, file.first, file.last, file.sha256[:12]] for file in seen]
    headers = ["learned since the training", "rows", "first time", "last time", "SHA-256"]
    return tabulate(lines, headers=headers, intfmt=",", floatfmt=".0f", missingval="-",
                    disable_numparse=[0, 4])  # fmt: skip


# --------------------------------------------------------------------------------------------------
# recbole-midpg daily


def daily(
    checkpoint: str,
    model: str | None,
    days: list[str],
    on_error: str | None,
    output: str,
    show_progress: bool | None,
) -> None:
    """Score each day by what was learned before it, then learn from it; go on where it was."""
    folder = Path(output)
    latest, table = folder / "latest.pth", folder / "daily.csv"
    require_folder_name(folder)
    files = days_in_order(days)
    reads = [("--checkpoint", checkpoint), *(("one of --days", path) for path in files)]
    for written in (latest, table):
        require_free_name(written, True, reads)  # both grow from day to day
    digests = {path: digest_of(path) for path in files}
    draws = _draws()
    state = _read(checkpoint, model)
    begun = len(state.seen)
    if latest.exists():
        state = _going_on(latest, model, state, checkpoint)
    for path in _days_to_learn(digests, state.seen):
        state.scoring.config["checkpoint_dir"] = str(folder)
        require_unseen(state, path, digests[path])
        predictions = predict_rows(state.scoring, path, show_progress, on_error)
        scores = scores_of(predictions)
        if len(predictions.labels):
            learned = learn_file(state, path, scores, show_progress, on_error)
            state = learned.state
            print(learned.text(), file=sys.stderr)
        else:
            empty = SeenFile(Path(path).name, digests[path], 0, None, None, scores)
            state = replace(state, seen=(*state.seen, empty))
            print(f"{path}: it has no row, nothing is learned.", file=sys.stderr)
        write_learning_state(state, latest)
        write_days(state.seen[begun:], table)
        # From the file, so that a command that was cut off goes on with the very same values.
        state = read_learning_state(latest)
    scored = state.seen[begun:]
    write_days(scored, table)
    print(table_of_days(scored))
    pictures = save_days(scored, folder) if draws and scored else []
    for written in (latest, table, *pictures):
        if written.exists():
            print(written)


def days_in_order(patterns: Sequence[str]) -> list[str]:
    """The files of some patterns, by their names, numbers in them by value.

    Args:
        patterns: names of files, or patterns as ``days/*.csv``.

    Raises:
        UsageError: a pattern stands for no file, or two files have one name.
    """
    files: dict[str, None] = {}
    for pattern in patterns:
        found = [pattern] if Path(pattern).is_file() else glob.glob(pattern)  # noqa: PTH207
        if not found:
            raise UsageError(f"--days: {pattern!r} stands for no file.")
        files.update(dict.fromkeys(found))
    by_name: dict[str, str] = {}
    for path in files:
        other = by_name.setdefault(Path(path).name, path)
        if other != path:
            raise UsageError(
                f"--days: {other!r} and {path!r} have one name, expected a name for each day."
            )
    return sorted(files, key=lambda path: _natural(Path(path).name))


def _natural(name: str) -> list[tuple[int, str]]:
    """A name as what it is sorted by: ``day10`` comes behind ``day9``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _days_to_learn(digests: Mapping[str, str], seen: Sequence[SeenFile]) -> list[str]:
    """The days that were not learned yet.

    Raises:
        UsageError: a day has changed since it was learned, or a new one stands before one that was
            learned.
    """
    known = {file.name: file.sha256 for file in seen}
    to_learn: list[str] = []
    for path, digest in digests.items():
        name = Path(path).name
        if name not in known:
            to_learn.append(path)
            continue
        if known[name] != digest:
            raise UsageError(f"--days: {path!r} has changed since it was learned.")
        if to_learn:
            raise UsageError(
                f"--days: {to_learn[0]!r} comes before {path!r}, which was learned already, "
                "expected new days behind it."
            )
    return to_learn


def _going_on(
    latest: Path, model: str | None, begin: LearningState, checkpoint: str
) -> LearningState:
    """Read where a command was cut off.

    Raises:
        UsageError: it began with another checkpoint.
    """
    state = _read(str(latest), model)
    if state.origin != begin.origin or state.seen[: len(begin.seen)] != begin.seen:
        raise UsageError(
            f"--output: {str(latest)!r} goes on from another checkpoint than {checkpoint!r}, "
            "expected that one or another folder."
        )
    return state


def _draws() -> bool:
    """Whether a picture can be drawn; says so where it cannot."""
    try:
        import_matplotlib()
    except UsageError as error:
        print(f"warning: no picture is drawn, all else is written: {error}", file=sys.stderr)
        return False
    return True
