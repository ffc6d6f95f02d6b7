"""Whether a run could train on a dataset's files, by their names, sizes and first lines.

A config is checked when it is made, and that also for who only loads or scores rows; what is here
is asked of runs besides, before any data is loaded.
"""

from __future__ import annotations

from typing import Any

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.loading.atomic_header import AtomicField, read_atomic_fields
from recbole_midpg.loading.atomic_problem import find_header_problem


def require_ready(config: Any) -> None:
    """Check the first lines of the files of a dataset of labelled rows.

    Args:
        config: RecBole's ``Config``. Files that are not there yet are passed over.

    Raises:
        UsageError: a file has no rows, a column twice, or no ids; or rows that are to be learned
            from have no label.
    """
    problem = find_header_problem(config)
    if problem is not None:
        raise UsageError(problem)
    fields = read_atomic_fields(config)
    if fields is not None and config["train_neg_sample_args"]["distribution"] == "none":
        _require_label(config, fields)


def _require_label(config: Any, fields: dict[str, AtomicField]) -> None:
    """Check that there is the label, or the number that ``threshold`` makes it of."""
    key, names = "LABEL_FIELD", [config["LABEL_FIELD"]]
    if config["threshold"]:
        key, names = "threshold", list(config["threshold"])
    loaded = [name for name, field in fields.items() if field.loaded]
    for name in names:
        field = fields.get(name)
        if field is None:
            raise UsageError(
                f"{key}: {name!r} is not a field of {config['dataset']}"
                f"{expected_some_of(loaded, str(name))}"
            )
        if not field.loaded:
            raise UsageError(
                f"{key}: {name!r} of {field.file} is not loaded, expected it in load_col: {{inter: "
                "[…]}, or load_col: ~, which loads all fields."
            )
        if field.type != "float":
            raise UsageError(
                f"{key}: {name!r} is of type {field.type} in {field.file}, expected {name}:float "
                "in its first line."
            )
