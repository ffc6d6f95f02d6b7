"""The columns of a file that a command does not read: a misspelt name is one of them."""

from __future__ import annotations

from collections.abc import Iterable

from recbole_midpg.common.errors import nearest
from recbole_midpg.prediction.rows import RowSource
from recbole_midpg.prediction.scorer import Scorer
from recbole_midpg.prediction.sources import fields_of_clicks


def on_unused(path: str, unused: Iterable[str], missing: Iterable[str]) -> str | None:
    """Say which columns of a file are not used.

    Args:
        path: the file.
        unused: the columns.
        missing: names that would be read, of which one may be meant by a column.

    Returns:
        A sentence, ``None`` where there is no such column.
    """
    wanted = list(missing)
    words = []
    for name in unused:
        meant = nearest(name, wanted)
        words.append(f"{name} (did you mean {meant}?)" if meant else name)
    return f"{path}: columns not used: {', '.join(words)}." if words else None


def on_unused_of_rows(
    scorer: Scorer, source: RowSource, used: Iterable[str | None] = ()
) -> str | None:
    """Say which columns of a file of rows are not used; see :func:`on_unused`.

    Of labels, times and ids nothing is said, whether they are read or not; nor of what the log's
    schema knows, be it that ``prepare`` has left it out.

    Args:
        scorer: reads the rows.
        source: the file.
        used: columns that the command reads besides.
    """
    names = [*source.fields_in_file, *source.strange_columns]
    known = {*scorer.fields, *used, *_expected_in_logs(scorer)}
    missing = [name for name in scorer.fields if name not in source.names]
    return on_unused(source.path, [name for name in names if name not in known], missing)


def _expected_in_logs(scorer: Scorer) -> set[str]:
    """The columns of ids, times and outcomes, and the fields of a log."""
    config, schema = scorer.scoring.config, scorer.log_schema
    keys = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "LABEL_FIELD")
    expected = {config[key] for key in keys} | {*(config["threshold"] or {})}
    return expected.union(
        fields_of_clicks(scorer),
        () if schema is None else schema.types,
        () if schema is None or schema.given is None else (schema.given.field,),
    )
