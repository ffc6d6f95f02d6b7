"""What the first lines of a dataset's atomic files say, before any data is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_midpg.common.errors import UsageError

# Files that only knowledge-based and social datasets have.
_OTHER_SUFFIXES = ("kg", "link", "net")
_SEPARATORS = ("\t", ",", ";", "|", " ")


BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class AtomicField:
    """A field of an atomic file.

    Attributes:
        type: ``token``, ``token_seq``, ``float`` or ``float_seq``.
        file: the file's name.
        loaded: whether ``load_col`` and ``unload_col`` let RecBole load it.
    """

    type: str
    file: str
    loaded: bool


def read_atomic_fields(config: Any) -> dict[str, AtomicField] | None:
    """Read the headers of a dataset's atomic files.

    Args:
        config: RecBole's ``Config``.

    Returns:
        The fields by name, ``None`` where there is no ``.inter`` file yet. A field that stands in
        several files is the one that is loaded, if any is.

    Raises:
        UsageError: a header is not of the form ``name:type``.
    """
    fields: dict[str, AtomicField] = {}
    inter_found = False
    for path, source in atomic_files(config):
        if not path.is_file():
            continue
        inter_found = inter_found or source == "inter"
        for name, field_type in _read_header(path, config):
            field = AtomicField(field_type, path.name, _is_loaded(config, source, name))
            if name not in fields or field.loaded:
                fields[name] = field
    return fields if inter_found else None


def columns_of_files(config: Any) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """The columns of each file that a context-aware model's dataset is loaded from.

    Args:
        config: RecBole's ``Config``.

    Yields:
        The name by which ``load_col`` calls the file, its path, and the type of each column.

    Raises:
        UsageError: a header is not of the form ``name:type``.
    """
    folder, dataset = Path(config["data_path"]), config["dataset"]
    suffixes = config["additional_feat_suffix"] or ()
    further = [(folder / f"{dataset}.{suffix}", suffix) for suffix in suffixes]
    for path, source in [*atomic_files(config), *further]:
        if path.is_file():
            yield source, path, dict(_read_header(path, config))


def columns_of_rows(config: Any) -> dict[str, bool]:
    """Read which columns the ``.inter`` files have, and whether RecBole will load them.

    Args:
        config: RecBole's ``Config``.

    Returns:
        The columns by name; empty where there is no such file.

    Raises:
        UsageError: a header is not of the form ``name:type``.
    """
    return {
        name: _is_loaded(config, source, name)
        for path, source in atomic_files(config)
        if source == "inter" and path.is_file()
        for name, _ in _read_header(path, config)
    }


def read_file_fields(config: Any, source: str) -> dict[str, AtomicField] | None:
    """Read the header of one of a dataset's files.

    Args:
        config: RecBole's ``Config``.
        source: what the file's name ends in, as ``kg``.

    Returns:
        Its fields by name, ``None`` where there is no such file.

    Raises:
        UsageError: the header is not of the form ``name:type``.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.{source}"
    if not path.is_file():
        return None
    return {
        name: AtomicField(field_type, path.name, _is_loaded(config, source, name))
        for name, field_type in _read_header(path, config)
    }


def feature_fields(config: Any, fields: dict[str, AtomicField]) -> list[str]:
    """The fields that a context-aware model embeds, by RecBole's rules."""
    unembedded = config["unembedded_fields"] or []
    return [name for name in embeddable_fields(config, fields) if name not in unembedded]


def embeddable_fields(config: Any, fields: dict[str, AtomicField]) -> list[str]:
    """The fields that a context-aware model can embed, whether the config lets it or not."""
    numerical = config["numerical_features"] or []
    not_features = {config["LABEL_FIELD"], *(config["threshold"] or {})}
    return [
        name
        for name, field in fields.items()
        if field.loaded
        and name not in not_features
        and (field.type.startswith("token") or name in numerical)
    ]


def atomic_files(config: Any) -> Iterator[tuple[Path, str]]:
    """The files that a dataset may have, and the part of RecBole's data that each holds."""
    folder, dataset = Path(config["data_path"]), config["dataset"]
    benchmark_names = config["benchmark_filename"]
    if benchmark_names is None:
        yield folder / f"{dataset}.inter", "inter"
    else:
        for name in benchmark_names:
            yield folder / f"{dataset}.{name}.inter", "inter"
    for source in ("user", "item"):
        yield folder / f"{dataset}.{source}", source


def files_to_load(config: Any) -> list[Path]:
    """The files that loading a dataset reads, those of them that are there.

    Beside :func:`atomic_files` these are ``additional_feat_suffix``'s, and what datasets of other
    models than the context-aware ones have.
    """
    folder, dataset = Path(config["data_path"]), config["dataset"]
    others = [*(config["additional_feat_suffix"] or ()), *_OTHER_SUFFIXES]
    paths = [path for path, _ in atomic_files(config)]
    paths += [folder / f"{dataset}.{suffix}" for suffix in others]
    return [path for path in paths if path.is_file()]


def _read_header(path: Path, config: Any) -> list[tuple[str, str]]:
    with path.open(encoding=config["encoding"] or "utf-8", errors="replace") as file:
        header = _without_mark(path, file.readline().rstrip("\n"))
    separator = config["field_separator"]
    pairs = []
    for column in header.split(separator):
        pair = _name_and_type(column)
        if pair is None:
            raise UsageError(
                f"{path}, line 1: column {column!r} is not of the form name:type, "
                "with a type of token, token_seq, float or float_seq"
                f"{_meant_separator(header, separator)}."
            )
        pairs.append(pair)
    return pairs


def _without_mark(path: Path, header: str) -> str:
    """The first line of a file, once it is one.

    Raises:
        UsageError: there is none, or it begins with what some editors put before a file's text.
    """
    if not header:
        raise UsageError(f"{path}: line 1 is empty, expected columns of the form name:type.")
    if header.startswith(BYTE_ORDER_MARK):
        raise UsageError(
            f"{path}, line 1: it starts with a byte order mark, expected the first column's name "
            "(save the file as UTF-8 without one)."
        )
    return header


def _name_and_type(column: str) -> tuple[str, str] | None:
    name, separator, field_type = column.partition(":")
    is_column = separator and field_type in {"token", "token_seq", "float", "float_seq"}
    return (name, field_type) if is_column else None


def _meant_separator(header: str, separator: str) -> str:
    """The end of a sentence on a header that would be one with another ``field_separator``."""
    for other in _SEPARATORS:
        columns = header.split(other)
        if len(columns) > 1 and all(map(_name_and_type, columns)):
            return f"; field_separator is {separator!r}, and here it is {other!r}"
    return ""


def _is_loaded(config: Any, source: str, name: str) -> bool:
    load_col, unload_col = config["load_col"], config["unload_col"]
    if load_col is not None:
        wanted = load_col.get(source, [])
        if wanted != "*" and name not in wanted:
            return False
    return not (unload_col and name in unload_col.get(source, []))
