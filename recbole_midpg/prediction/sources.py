"""The reader of a file that a command is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_midpg.atomic_data_scripts import find_converter
from recbole_midpg.common.errors import UsageError
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
    skip, schema = on_error == "skip", scorer.log_schema
    if raw is not None:
        converter, types = find_converter(raw), scorer.fields
        yield RawRowFile(converter, path, types, skip_bad_lines=skip, labelled=labelled)
    elif schema is not None and Path(path).suffix != ".inter":
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
