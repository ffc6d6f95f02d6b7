"""The JSON files that runs and benchmarks leave, distinguished by the format that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recbole_midpg.common.errors import UsageError

RUN_FORMAT = "recbole-midpg run 1"
TABLE_FORMAT = "recbole-midpg table 1"


def as_json(value: Any) -> Any:
    """A value as JSON gives it back: lists for tuples, texts for keys, and for YAML's dates."""
    return json.loads(json.dumps(value, default=str))


def json_text(content: Any) -> str:
    """Plain values and numpy arrays as JSON text."""
    return json.dumps(content, indent=1, default=_plain_array, allow_nan=False) + "\n"


def _plain_array(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def read_report_file(path: str | Path, expected_format: str, kind: str) -> dict[str, Any]:
    """Read a report.

    Args:
        path: the file.
        expected_format: the format that it has to name.
        kind: what it is called in errors, as "report of a run".

    Raises:
        UsageError: there is no such file, or it is of another kind.
    """
    return require_format(read_json(path, kind), path, expected_format, kind)


def read_json(path: str | Path, kind: str) -> Any:
    """Read a file of JSON text; see :func:`read_report_file`."""
    place = f"{kind} {str(path)!r}"
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{place}: it cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        beside = ", expected the .json file beside it" if Path(path).suffix == ".pth" else ""
        raise UsageError(f"{place}: it is not JSON text{beside}.") from error


def require_format(
    content: Any, path: str | Path, expected_format: str, kind: str
) -> dict[str, Any]:
    """Check which format a report names; see :func:`read_report_file`."""
    found = content.get("format") if isinstance(content, dict) else None
    if found != expected_format:
        raise UsageError(
            f"{kind} {str(path)!r}: its format is {found!r}, expected {expected_format!r}, "
            f"a {kind} by this version."
        )
    return dict(content)
