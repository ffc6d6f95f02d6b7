"""RecBole's keys that choose, filter and scale what is loaded, checked before it is.

RecBole passes over a column that no file has, warns of an interval that it cannot read and goes on
without it, and takes the letters of a text for names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbole_midpg.errors import UsageError, did_you_mean, expected_some_of
from recbole_midpg.integration.atomic_header import AtomicField
from recbole_midpg.settings import Choice, Flag, Names, Rules, check_settings

_COLUMN_KEYS = ("load_col", "unload_col")
_FILES = ("inter", "user", "item", "kg", "link", "net")
_INTERVAL = re.compile(r"[(\[]([^,;]+),([^,;]+)[)\]]")


@dataclass(frozen=True)
class Intervals:
    """Intervals of numbers, in brackets: ``"[3,5)"``, or several, as ``"[0,1];(4,inf)"``."""

    allowed: str = 'an interval, as "[3,5)" or "[3,inf)", or several, as "[0,1];[4,5]"'

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.settings.Rule`."""
        text = interval_text(value)
        return isinstance(text, str) and all(map(_is_interval, text.split(";")))


def interval_text(value: Any) -> Any:
    """Write an interval as RecBole reads it, where YAML or Python read a list or a pair.

    Returns:
        ``"[1,inf]"`` for ``[1, "inf"]`` and ``"(1,5)"`` for ``(1, 5)``; else ``value`` itself.
    """
    if not isinstance(value, (list, tuple)):
        return value
    ends = ",".join(map(str, value))
    return f"[{ends}]" if isinstance(value, list) else f"({ends})"


def _is_interval(text: str) -> bool:
    ends = _INTERVAL.fullmatch(text.strip())
    if ends is None:
        return False
    try:
        low, high = (float(end) for end in ends.groups())
    except ValueError:
        return False
    return low <= high


_RULES: Rules = {
    "normalize_field": Names(),
    "normalize_all": Flag(),
    "filter_inter_by_user_or_item": Flag(),
    "rm_dup_inter": Choice(("first", "last")),
    "user_inter_num_interval": Intervals(),
    "item_inter_num_interval": Intervals(),
}


def check_selection(values: dict[str, Any]) -> None:
    """Check the form of the keys that choose, filter and scale; each may be ``None``.

    Args:
        values: the config's values; intervals are written as RecBole reads them.

    Raises:
        UsageError: a value is not of its key's form, or two keys exclude each other.
    """
    for key in _COLUMN_KEYS:
        _check_columns(key, values[key], values["additional_feat_suffix"] or ())
    check_settings(values, {key: r for key, r in _RULES.items() if values.get(key) is not None})
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        values[key] = interval_text(values.get(key))
    kept = values["val_interval"]
    if kept is not None and not isinstance(kept, dict):
        raise UsageError(
            f"val_interval: {kept!r} is not allowed, expected what is kept by field, as "
            '{price: "[10,50)", channel: [app, web]}.'
        )
    if values["normalize_field"] is not None and values["normalize_all"]:
        raise UsageError(
            f"normalize_field: {values['normalize_field']!r} does not go with normalize_all: True, "
            "expected normalize_all: False, or ~ for one of the two."
        )


def check_selected_fields(config: Any, fields: Mapping[str, AtomicField]) -> None:
    """Check the fields that the keys of :func:`check_selection` name.

    Args:
        config: RecBole's ``Config``, checked by :func:`check_selection`; intervals are written as
            RecBole reads them.
        fields: the fields of the atomic files.

    Raises:
        UsageError: a field is in no file, is not loaded, or is of a type that its key cannot take.
    """
    label = config["LABEL_FIELD"]  # which threshold may make
    for key in _COLUMN_KEYS:
        for columns in (config[key] or {}).values():
            for name in () if columns == "*" else columns:
                if name not in fields and name != label:
                    raise UsageError(
                        f"{key}: {name!r} is not a field of {config['dataset']}"
                        f"{expected_some_of(fields, name)}"
                    )
    numbers = _loaded(fields, "float", "float_seq")
    for name in config["normalize_field"] or ():
        if name not in numbers:
            raise UsageError(
                f"normalize_field: {name!r} is not a loaded field of numbers"
                f"{expected_some_of(numbers, name)}"
            )
    for name, kept in (config["val_interval"] or {}).items():
        _check_kept(name, kept, fields)
        if fields[name].type == "float":
            config["val_interval"] = {**config["val_interval"], name: interval_text(kept)}


def _check_columns(key: str, columns: Any, further_files: tuple[str, ...] | list[str]) -> None:
    """Check ``load_col`` or ``unload_col``, which name columns by file."""
    fine = columns is None or (
        isinstance(columns, dict)
        and all(names == "*" or Names().accepts(names) for names in columns.values())
    )
    if not fine:
        raise UsageError(
            f"{key}: {columns!r} is not allowed, expected columns by file, as "
            "{inter: [user_id, item_id], item: '*'}."
        )
    known = [*_FILES, *further_files]
    for file in columns or ():
        if file not in known:
            hint = did_you_mean(str(file), known) or "."
            raise UsageError(
                f"{key}: {file!r} is no file of a dataset, expected columns of "
                f"{', '.join(known)}{hint}"
            )


def _check_kept(name: Any, kept: Any, fields: Mapping[str, AtomicField]) -> None:
    """Check what ``val_interval`` keeps by a field."""
    usable = _loaded(fields, "token", "float")
    if name not in usable:
        raise UsageError(
            f"val_interval: {name!r} is not a loaded field of tokens or of numbers"
            f"{expected_some_of(usable, str(name))}"
        )
    if fields[name].type == "float":
        if not Intervals().accepts(kept):
            raise UsageError(
                f"val_interval: {name}: {kept!r} is not allowed, expected {Intervals.allowed}."
            )
    elif not isinstance(kept, (list, tuple)):
        raise UsageError(
            f"val_interval: {name}: {kept!r} is not allowed, expected a list of its values, "
            "as [app, web]."
        )


def _loaded(fields: Mapping[str, AtomicField], *types: str) -> list[str]:
    return [name for name, field in fields.items() if field.loaded and field.type in types]
