"""RecBole's config files, read without RecBole and without running what they may hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from recbole_midpg.common.arguments import YAML_VALUE_ERRORS, load_yaml
from recbole_midpg.common.errors import UsageError


class _ConfigLoader(yaml.SafeLoader):
    """A safe loader that reads ``1e-3`` as a number, as RecBole's loader does."""


_ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_config_file(file: str | Path) -> dict[str, Any]:
    """Read a RecBole config file, without running what it may hold.

    Args:
        file: a YAML file of lines ``key: value``.

    Returns:
        The keys and values.

    Raises:
        UsageError: the file cannot be read or is not of that form; names the file and line.
    """
    try:
        content = load_yaml(Path(file).read_text(encoding="utf-8"), _ConfigLoader)
    except OSError as error:
        raise UsageError(f"config file {str(file)!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"config file {str(file)!r}: it is not UTF-8 text.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "the text cannot be parsed"
        raise UsageError(f"config file {str(file)!r}{line}: {problem}.") from error
    except YAML_VALUE_ERRORS as error:
        raise UsageError(f"config file {str(file)!r}: a value cannot be read ({error}).") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"config file {str(file)!r}: expected lines of the form key: value.")
    return content


def read_config_files(files: Iterable[str | Path]) -> dict[str, Any]:
    """Read several files by :func:`read_config_file`; of a key in two the later value holds."""
    values: dict[str, Any] = {}
    for file in files:
        values.update(read_config_file(file))
    return values
