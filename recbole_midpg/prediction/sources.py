"""The reader of a file that a command is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_midpg.atomic_data_scripts import find_converter
from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs.schema import LogSchema
from recbole_midpg.models.entire_space import EntireSpaceModel
from recbole_midpg.prediction.labels import LabelColumn, RowsWhere
from recbole_midpg.prediction.log_rows import LogRowFile
from recbole_midpg.prediction.raw_rows import RawRowFile
from recbole_midpg.prediction.rows import RowSource, open_rows
from recbole_midpg.prediction.scorer import Scorer


@contextmanager
def open_source(
    scorer: Scorer,
    path: str,
    raw: str | None = None,
    on_error: str | None = None,
    *,
    labelled: bool = False,
    besides: Collection[str] = (),
) -> Iterator[RowSource]:
    """Open a file of rows.

    Where the model's dataset was made of a log (``recbole-midpg prepare NAME --csv``), a file is
    the log's next one, but for ``.inter`` files.

    Args:
        scorer: knows the fields, and the log.
        path: the file.
        raw: the known dataset whose raw file it is, if it is one.
        on_error: what is done at a bad line, ``stop`` or ``skip``; ``None`` for ``stop``.
        labelled: whether each row has a label that is to be read.
        besides: further fields to read, where the file has them.

    Raises:
        UsageError: the file cannot be opened, its columns are not those that are expected, or no
            bad line of it could be skipped.
    """
    skip, schema = on_error == "skip", _schema_of(scorer, path, raw)
    if raw is not None:
        converter, types = find_converter(raw), scorer.fields
        yield RawRowFile(converter, path, types, skip_bad_lines=skip, labelled=labelled)
    elif schema is not None:
        yield LogRowFile(
            schema,
            path,
            scorer.fields,
            skip_bad_lines=skip,
            labelled=labelled,
            besides=besides,
        )
    elif on_error is not None:
        raise UsageError(
            f"--on-error: {on_error!r} is for raw files, expected --raw beside it, or a model of a "
            "dataset that prepare has made of a log."
        )
    else:
        with open_rows(path, scorer.fields, scorer.scoring.config["field_separator"]) as file:
            yield file


def _schema_of(scorer: Scorer, path: str, raw: str | None) -> LogSchema | None:
    """The schema of a file that is the next one of a log; ``None`` of another file."""
    return None if raw is not None or Path(path).suffix == ".inter" else scorer.log_schema


def field_named(scorer: Scorer, path: str, raw: str | None, name: str | None) -> str | None:
    """The field of a column that a user names, in the next file of a log as it is called there.

    Args:
        scorer: see :func:`open_source`.
        path: the file.
        raw: see :func:`open_source`.
        name: the column, or its field.
    """
    schema = _schema_of(scorer, path, raw)
    if schema is None or name is None:
        return name
    fields = {column: field for field, column in schema.columns_by_field.items()}
    return fields.get(name, name)


def condition_of_training(scorer: Scorer, source: RowSource) -> str | None:
    """The column that was 1 in all rows of the training, where the file has it."""
    schema = scorer.log_schema
    condition = None if schema is None or schema.given is None else schema.given.field
    return condition if condition in source.names else None


def fields_of_clicks(scorer: Scorer) -> list[str]:
    """The field of clicks of a model that learns them; none of any other."""
    model = scorer.scoring.model
    return [model.click_field] if isinstance(model, EntireSpaceModel) else []


def rows_of_training(scorer: Scorer, source: RowSource) -> RowSource:
    """Those rows of a file that training would have had: all, or those of its condition."""
    condition = condition_of_training(scorer, source)
    return source if condition is None else RowsWhere(source, LabelColumn(condition))
