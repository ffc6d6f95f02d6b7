"""The command ``recbole-midpg prepare NAME --csv FILES`` or ``--parquet FILES``."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_midpg.atomic_data_scripts import CONVERTERS
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.file_names import require_file_name
from recbole_midpg.dataset_configs import packaged_config
from recbole_midpg.event_logs.column_kinds import ColumnRoles
from recbole_midpg.event_logs.log_files import find_files
from recbole_midpg.event_logs.prepare import prepare_log
from recbole_midpg.event_logs.schema import LogForm
from recbole_midpg.generated import GENERATED

_REQUIRED = ("label", "user", "item")
_OF_CSV = ("delimiter", "no_quotes", "encoding")
_ASCII_SIGNS = '\n\r\t",;|0a'


def prepare_own_log(
    name: str,
    csv: Sequence[str] | None,
    parquet: Sequence[str] | None,
    output: str,
    log_options: Mapping[str, Any],
    *,
    duplicates: str,
    sample: float,
    **options: Any,
) -> None:
    """Make a dataset of a log, and print what became of its columns and rows.

    Args:
        name: the dataset.
        csv: files and patterns; or
        parquet: the same.
        output: the folder of all datasets.
        log_options: those of ``commands.log_options``.
        duplicates: of the converters; copies in a log are kept and counted.
        sample: of the converters.
        options: see :func:`~recbole_midpg.event_logs.prepare.prepare_log`.

    Raises:
        UsageError: an option is wrong, or see ``prepare_log``.
    """
    require_file_name("NAME", name)
    # A run would read the package's config file of that name, and the files that RecBole ships.
    if name in CONVERTERS or name in GENERATED or packaged_config(name).is_file():
        raise UsageError(f"NAME: {name!r} is a known dataset, expected a name of your own.")
    if duplicates != "keep":
        raise UsageError(f"--duplicates: {duplicates!r} is for --raw; copies in a log are counted.")
    if sample != 1.0:
        raise UsageError(f"--sample: {sample} is for --raw; all rows of a log are read.")
    absent = [option for option in _REQUIRED if log_options[option] is None]
    if absent:
        raise UsageError(f"--{absent[0]}: it is missing, expected a column of the log.")
    source, words = ("csv", csv) if csv is not None else ("parquet", parquet or ())
    form = _form(source, log_options)
    roles = _roles(log_options)
    command = _typed({"name": name, source: list(words), **log_options})
    paths = find_files(f"--{source}", words)
    prepared = prepare_log(
        name, paths, form, roles, output, command=command, processes=0, **options
    )
    print(prepared.summary())


def refuse_without_log(log_options: Mapping[str, Any]) -> None:
    """Refuse the options that are for logs.

    Raises:
        UsageError: one of them is given.
    """
    for option, value in log_options.items():
        if value is not None:
            shown = option.replace("_", "-")
            raise UsageError(f"--{shown}: it is for your own log, expected --csv or --parquet.")


def _form(kind: str, options: Mapping[str, Any]) -> LogForm:
    given = [option for option in _OF_CSV if options[option] is not None]
    if kind == "parquet" and given:
        raise UsageError(f"--{given[0].replace('_', '-')}: it is for --csv.")
    delimiter = "," if options["delimiter"] is None else options["delimiter"]
    separator = "\t" if delimiter in {"\\t", "tab"} else delimiter
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0':
        raise UsageError(
            f"--delimiter: {delimiter!r} is not allowed, expected one character as ';' or '\\t'."
        )
    return LogForm(kind, separator, not options["no_quotes"], _encoding(options["encoding"]))


def _encoding(name: str | None) -> str:
    """The name of an encoding in which separators and line ends are bytes of their own."""
    try:
        found = codecs.lookup("utf-8" if name is None else name)
        fine = _ASCII_SIGNS.encode(found.name) == _ASCII_SIGNS.encode()
    except (LookupError, UnicodeError, ValueError):
        fine = False
    if not fine:
        raise UsageError(
            f"--encoding: {name!r} is not allowed, expected utf-8 or one of a byte a character, as "
            "latin-1 or cp1252."
        )
    return "utf-8" if found.name in {"utf-8", "utf-8-sig"} else found.name


def _roles(options: Mapping[str, Any]) -> ColumnRoles:
    if "" in (options["missing"] or ()):
        raise UsageError("--missing: '' is not allowed, expected words; an empty value is missing.")
    return ColumnRoles(
        label=options["label"],
        user=options["user"],
        item=options["item"],
        scenario=tuple(options["scenario"] or ()),
        time=options["time"],
        positive=tuple(options["positive"] or ()),
        given=options["given"],
        outcomes=tuple(options["outcome"] or ()),
        multi=_separators(options["multi"] or ()),
        number=tuple(options["number"] or ()),
        token=tuple(options["token"] or ()),
        drop=tuple(options["drop"] or ()),
        time_format=options["time_format"],
        zone="UTC" if options["zone"] is None else options["zone"],
        missing=tuple(options["missing"] or ()),
    )


def _separators(words: Sequence[str]) -> dict[str, str]:
    """What stands between the elements of each column that ``--multi`` names."""
    separators: dict[str, str] = {}
    for word in words:
        column, equals, separator = word.partition("=")
        if equals and not separator:
            raise UsageError(
                f"--multi: {word!r} is not allowed, expected COLUMN=SEPARATOR or COLUMN alone."
            )
        if column in separators:
            raise UsageError(f"--multi: column {column!r} is named twice, expected once.")
        separators[column] = "\t" if separator == "\\t" else separator or "|"
    return separators


def _typed(options: Mapping[str, Any]) -> str:
    """The command as it can be typed again."""
    words = ["recbole-midpg", "prepare"]
    for option, value in options.items():
        if option == "name":
            words.append(value)
        elif value is not None:
            words.append(f"--{option.replace('_', '-')}")
            words += value if isinstance(value, list) else [] if value is True else [value]
    return shlex.join(words)
