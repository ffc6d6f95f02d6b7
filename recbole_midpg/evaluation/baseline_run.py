"""The run with which ``RelaImpr`` compares, read from the report beside its checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.report_files import RUN_FORMAT, as_json, read_report_file
from recbole_midpg.evaluation.row_keys import KEYS_OF_ROWS

PHASE = "phase"
VALID, TEST = "valid", "test"
# What must be the same in both runs for their rows to be the same.
_SAME = ("dataset", *KEYS_OF_ROWS)


def baseline_auc(config: Mapping[str, Any] | Any, phase: str) -> float:
    """The AUC of the run that ``baseline_run`` names.

    Args:
        config: RecBole's ``Config`` or its values.
        phase: ``valid`` or ``test``.

    Returns:
        Its AUC on that split.

    Raises:
        UsageError: none is named, the file is no report of a run, or the run was on other rows.
    """
    path = config["baseline_run"]
    if not isinstance(path, str):
        raise UsageError(
            "baseline_run: RelaImpr needs a run to compare with, "
            "expected the JSON file beside a checkpoint."
        )
    report = _read_report(path)
    for part in ("config", phase):
        if not isinstance(report.get(part), dict):
            raise UsageError(f"baseline_run: {path!r} has no {part}, expected the report of a run.")
    for key in _SAME:
        own, other = as_json(config[key]), report["config"].get(key)
        if own != other:
            raise UsageError(
                f"baseline_run: {path!r} is of another {key} ({other!r}, here {own!r}), "
                "expected a run on the same rows."
            )
    area = report[phase].get("auc")
    if not isinstance(area, float) or area == 0.5:  # noqa: PLR2004 - nothing improves on chance
        raise UsageError(
            f"baseline_run: {path!r} has an AUC of {area!r} on {phase}, expected one beside 0.5."
        )
    return area


@functools.lru_cache(maxsize=4)
def _read_report(path: str) -> dict[str, Any]:
    return read_report_file(path, RUN_FORMAT, "baseline_run")
