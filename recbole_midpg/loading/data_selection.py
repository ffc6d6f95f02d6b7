"""RecBole's keys that choose, filter and scale what is loaded, checked before it is.

RecBole passes over a column that no file has, warns of an interval that it cannot read and goes on
without it, and takes the letters of a text for names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_midpg.common.errors import UsageError, did_you_mean, expected_some_of
from recbole_midpg.common.rules import Choice, Flag, Names, Rules, check_settings
from recbole_midpg.loading.atomic_header import AtomicField, columns_of_files, columns_of_rows

_COLUMN_KEYS = ("load_col", "unload_col", "unused_col")
_NUMBERS, _TOKENS = ("float", "float_seq"), ("token", "token_seq")
# Keys that name fields, the types that they can take, and their name for an error.
_KEYS_OF_FIELDS = (
    ("normalize_field", _NUMBERS, "of numbers"),
    ("threshold", ("float",), "of numbers"),
    ("seq_len", ("token_seq", "float_seq"), "of lists"),
)
_FILES = ("inter", "user", "item", "kg", "link", "net")
_INTERVAL = re.compile(r"[(\[]([^,;]+),([^,;]+)[)\]]")


@dataclass(frozen=True)
class Intervals:
    """Intervals of numbers, in brackets: ``"[3,5)"``, or several, as ``"[0,1];(4,inf)"``."""

    allowed: str = 'an interval, as "[3,5)" or "[3,inf)", or several, as "[0,1];[4,5]"'

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
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
_INTERVALS = ("user_inter_num_interval", "item_inter_num_interval")
_OF_USERS_AND_ITEMS = ("rm_dup_inter", *_INTERVALS)


def check_selection(values: dict[str, Any]) -> None:
    """Check the form of the keys that choose, filter and scale; each may be ``None``.

    Args:
        values: the config's values; intervals are written as RecBole reads them.

    Raises:
        UsageError: a value is not of its key's form, or two keys exclude each other.
    """
    for key in _COLUMN_KEYS:
        _check_columns(key, values[key], values["additional_feat_suffix"] or ())
    if values["unused_col"] is not None and "*" in values["unused_col"].values():
        raise UsageError(
            f"unused_col: {values['unused_col']!r} is not allowed, expected the names of columns "
            "by file, as {inter: [timestamp]}."
        )
    check_settings(values, {key: r for key, r in _RULES.items() if values.get(key) is not None})
    for key in _INTERVALS:
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

    _check_filters_of_files(values)


def _check_filters_of_files(values: Mapping[str, Any]) -> None:
    """Refuse filters of rows beside ``benchmark_filename``, with which RecBole passes over them."""
    if values["benchmark_filename"] is None:
        return
    for key, value in set_filters(values, "val_interval", *_OF_USERS_AND_ITEMS).items():
        raise UsageError(
            f"{key}: {value!r} does not go with benchmark_filename, whose files are taken as they "
            "are, expected ~."
        )


def set_filters(values: Any, *keys: str) -> dict[str, Any]:
    """Find the filters that may leave rows out.

    Args:
        values: the config, or its values.
        keys: of filters.

    Returns:
        The values of those of ``keys`` that are set to more than RecBole's default.
    """
    return {key: values[key] for key in keys if values[key] not in (None, "[0,inf)")}


def check_selected_fields(config: Any, fields: Mapping[str, AtomicField]) -> None:
    """Check the fields that the keys of :func:`check_selection` name.

    Args:
        config: RecBole's ``Config``, checked by :func:`check_selection`; intervals are written as
            RecBole reads them.
        fields: the fields of the atomic files.

    Raises:
        UsageError: a field is in no file, is not loaded, or is of a type that its key cannot take.
    """
    files = list(columns_of_files(config))
    for source, path, columns in files:
        for key in ("load_col", "unload_col"):
            _check_named_columns(key, source, path.name, columns, config, fields)
    check_ids(config, columns_of_rows(config), needed=False)
    for source, path, columns in files:
        _check_loaded_id(source, path.name, columns, config)
        _check_type_of_ids(path.name, columns, config)
    for key, types, kind in _KEYS_OF_FIELDS:
        _require(key, config[key] or (), _loaded(fields, *types), f"a loaded field {kind}")
    if not config["additional_feat_suffix"]:  # whose fields are not among these
        for key in ("alias_of_user_id", "alias_of_item_id"):
            _require(key, config[key] or (), _loaded(fields, *_TOKENS), "a loaded field of tokens")
        weights = config["preload_weight"] or {}
        _require("preload_weight", weights, _loaded(fields, "token"), "a loaded field of tokens")
        vectors = _loaded(fields, *_NUMBERS)
        _require("preload_weight", weights.values(), vectors, "a loaded field of numbers")
    embedded = config["numerical_features"]
    _require("discretization", config["discretization"] or (), embedded, "of numerical_features")
    _check_unused(config, fields)
    for name, kept in (config["val_interval"] or {}).items():
        _check_kept(name, kept, fields)
        if fields[name].type == "float":
            config["val_interval"] = {**config["val_interval"], name: interval_text(kept)}


def check_ids(config: Any, columns: Mapping[str, bool], *, needed: bool) -> None:
    """Check that a row's user and item are loaded with it, or that nothing needs them.

    Args:
        config: RecBole's ``Config``.
        columns: the columns of the ``.inter`` file, and whether they are loaded.
        needed: whether the model needs them; others do without where both keys are ``None``.

    Raises:
        UsageError: a key names a column that is not loaded, or is ``None`` where the model or
            another key needs it, as of Criteo's rows, which have no users.
    """
    without = "" if needed else " (USER_ID_FIELD: ~ with ITEM_ID_FIELD: ~ does without)"
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
        name = config[key]
        if name is None and needed:
            raise UsageError(
                f"{key}: ~ is not allowed, as {config['model']} needs it, expected a column's name."
            )
        if name is None or columns.get(name):
            continue
        if name not in columns:
            raise UsageError(
                f"{key}: {name!r} is not a column of {config['dataset']}.inter{without}"
                f"{expected_some_of(columns, str(name))}"
            )
        selection = "load_col" if config["load_col"] is not None else "unload_col"
        raise UsageError(
            f"{selection}: {name!r} of inter is left out, which {key} names{without}, expected it "
            f"to be loaded; unembedded_fields: [{name}] keeps models from embedding it."
        )
    if config["USER_ID_FIELD"] is None:
        for key, value in _needing_ids(config).items():
            raise UsageError(
                f"{key}: {value!r} needs users and items, and USER_ID_FIELD and ITEM_ID_FIELD are "
                "~."
            )


def _needing_ids(config: Any) -> dict[str, Any]:
    """The keys that need users and items, with their values."""
    arguments = config["eval_args"]
    needing = set_filters(config, *_OF_USERS_AND_ITEMS)
    if arguments["group_by"] == "user":
        needing["eval_args: group_by"] = "user"
    if "LS" in arguments["split"]:
        needing["eval_args: split"] = arguments["split"]
    return needing


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


def _check_named_columns(
    key: str,
    source: str,
    file: str,
    columns: Mapping[str, str],
    config: Any,
    fields: Mapping[str, AtomicField],
) -> None:
    """Check the columns that ``load_col`` or ``unload_col`` names of a file.

    One that is another file's passes where it comes to the same: where that loads it, or not.
    """
    named = (config[key] or {}).get(source, ())
    for name in () if named == "*" else named:
        is_elsewhere = name in fields and fields[name].loaded == (key == "load_col")
        is_made = name == config["LABEL_FIELD"]  # by threshold
        if name not in columns and not is_elsewhere and not is_made:
            raise UsageError(
                f"{key}: {source}: {name!r} is not a column of {file}"
                f"{expected_some_of(columns, name)}"
            )


def _check_loaded_id(source: str, file: str, columns: Mapping[str, str], config: Any) -> None:
    """Check that a file of features is loaded with the column that finds their rows, or not."""
    key = {"user": "USER_ID_FIELD", "item": "ITEM_ID_FIELD"}.get(source)
    loaded = (config["load_col"] or {source: columns}).get(source, ())
    left_out = (config["unload_col"] or {}).get(source, ())
    names = [name for name in (columns if loaded == "*" else loaded) if name not in left_out]
    if key is None or not names or config[key] in names:
        return
    if config[key] is None:
        raise UsageError(
            f"{key}: ~ does not go with {file}, expected the column that finds its rows, or a "
            "load_col without this file."
        )
    if config[key] in columns:
        raise UsageError(
            f"load_col: {source}: {config[key]!r} ({key}) is not loaded, by which the rows of "
            f"{file} are found; expected it beside {', '.join(names)}."
        )


def _check_type_of_ids(file: str, columns: Mapping[str, str], config: Any) -> None:
    """Check that users and items are tokens; RecBole takes numbers for the places of tokens."""
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
        kind = columns.get(config[key], "token")
        if kind != "token":
            raise UsageError(
                f"{key}: {config[key]!r} is of type {kind} in {file}, expected {config[key]}:token "
                "in its first line."
            )


def _check_unused(config: Any, fields: Mapping[str, AtomicField]) -> None:
    """Check what ``unused_col`` drops before the model, by file."""
    loaded = {name: field for name, field in fields.items() if field.loaded}
    files = {field.file.rpartition(".")[2] for field in loaded.values()}
    readers = {config["LABEL_FIELD"]: "LABEL_FIELD"}
    for key in ("scenario_fields", "gauc_fields"):
        readers |= dict.fromkeys(config[key] or (), key)
    readers[config["scenario_id_field"]] = "scenario_id_field"
    # Rows find the features of their user and item by these.
    for file, key in (("user", "USER_ID_FIELD"), ("item", "ITEM_ID_FIELD")):
        if file in files:
            readers[config[key]] = key
    for file, names in (config["unused_col"] or {}).items():
        if file not in files:
            raise UsageError(f"unused_col: no field is loaded from a file .{file}.")
        _require("unused_col", names, list(loaded), "a loaded field")
        for name in names:
            if name in readers:
                raise UsageError(
                    f"unused_col: {name!r} cannot be dropped, as {readers[name]} names it."
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


def _require(key: str, names: Iterable[str], usable: Sequence[str], what: str) -> None:
    """Check that the names that a key holds are usable ones."""
    for name in names:
        if name not in usable:
            raise UsageError(f"{key}: {name!r} is not {what}{expected_some_of(usable, name)}")


def _loaded(fields: Mapping[str, AtomicField], *types: str) -> list[str]:
    return [name for name, field in fields.items() if field.loaded and field.type in types]
