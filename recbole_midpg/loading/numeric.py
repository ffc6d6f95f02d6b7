"""``numeric``: how the numbers of single fields are scaled, checked before any data is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.loading.atomic_header import AtomicField
from recbole_midpg.loading.number_scalers import UNSCALED


def check_numeric(values: dict[str, Any], fields: Mapping[str, AtomicField] | None) -> None:
    """Check the fields that ``numeric`` names, and make features of them.

    Args:
        values: the config's values, of the right forms; the fields are added to
            ``numerical_features``.
        fields: the fields of the atomic files; ``None`` where there are none yet.

    Raises:
        UsageError: a field is not a loaded one of numbers, is the label or a time, or is scaled by
            another key too.
    """
    chosen = values["numeric"] or {}
    if fields is not None:
        for name, method in chosen.items():
            _check_field(name, values, fields)
            if method != UNSCALED:
                _check_other_keys(f"{name}: {method}", name, values)
    features = values["numerical_features"]
    values["numerical_features"] = [*features, *(name for name in chosen if name not in features)]


def _check_field(name: str, values: Mapping[str, Any], fields: Mapping[str, AtomicField]) -> None:
    taken = {values["LABEL_FIELD"], *(values["threshold"] or ())}
    usable = [
        field
        for field, of_file in fields.items()
        if of_file.loaded
        and of_file.type in ("float", "float_seq")
        and field not in {*taken, values["TIME_FIELD"]}
    ]
    if name in usable:
        return
    if name in taken:
        reason = "is what the label is made of"
    elif name not in fields:
        reason = "is not a field of the data"
    elif not fields[name].loaded:
        reason = f"of {fields[name].file} is not loaded (load_col: ~ loads all columns)"
    elif name == values["TIME_FIELD"]:
        reason = "is the TIME_FIELD, whose values in later rows no training row has"
    else:
        reason = f"is of type {fields[name].type}, not of numbers"
    raise UsageError(f"numeric: {name!r} {reason}{expected_some_of(usable, name)}")


def _check_other_keys(said: str, name: str, values: Mapping[str, Any]) -> None:
    for key in ("normalize_field", "discretization"):
        if name in (values[key] or ()):
            raise UsageError(
                f"numeric: {said} does not go with {key}, which names {name!r} too, expected it in "
                "one of the two."
            )
    if values["normalize_all"]:
        raise UsageError(
            f"numeric: {said} does not go with normalize_all: True, which scales every number by "
            "all rows, expected normalize_field with the other fields."
        )
