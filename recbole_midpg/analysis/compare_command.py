"""The command ``recbole-midpg compare``: what it prints and writes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from math import isfinite
from pathlib import Path

from tabulate import tabulate

from recbole_midpg.analysis.comparison import Comparison, compare_runs
from recbole_midpg.common.choices import REPORT_ENDINGS
from recbole_midpg.common.whole_files import require_ending, require_free_name, write_text
from recbole_midpg.evaluation.paired_bootstrap import GroupDifference, PairedDifference
from recbole_midpg.evaluation.resampling import CONFIDENCE, FEW, count_too_small

_STAR = "★"


def compare(
    first: str,
    second: str,
    cluster: str | None,
    resamples: int,
    seed: int,
    output: str | None,
    force: bool,
) -> None:
    """Compare two finished runs, and print and write what comes out."""
    path = None if output is None else Path(output)
    if path is not None:
        require_ending(path, _WRITERS)
        require_free_name(path, force, [("the first report", first), ("the second report", second)])
    comparison = compare_runs(first, second, cluster=cluster, resamples=resamples, seed=seed)
    print(markdown(comparison), end="")
    if path is not None:
        write_text(path, _WRITERS[path.suffix](comparison))
        print(f"\n{path}")


def markdown(comparison: Comparison) -> str:
    """The comparison as a table, with what is to be known to read it."""
    headers = ["scenario", "rows", "positives"]
    for metric in ("AUC", "LogLoss"):
        headers += [f"{metric} A", f"{metric} B", "B - A", f"{CONFIDENCE:.0%} interval"]
    rows = [_cells("**all**", comparison.whole)]
    rows += [_cells(name.replace("|", r"\|"), group) for name, group in comparison.scenarios]
    table = tabulate(
        rows,
        headers=headers,
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(headers) - 1)),
    )
    runs = [f"A: {comparison.first}", f"B: {comparison.second}"]
    return "\n\n".join([*runs, table, *_notes(comparison)]) + "\n"


def _cells(name: str, group: GroupDifference) -> list[str]:
    cells = [name, f"{group.rows:,}", f"{group.positives:,}"]
    for metric in (group.auc, group.logloss):
        cells += [_number(metric.first), _number(metric.second), *_difference(metric)]
    return cells


def _number(value: float) -> str:
    return f"{value:.4f}" if isfinite(value) else "-"


def _difference(metric: PairedDifference) -> tuple[str, str]:
    if not isfinite(metric.low):
        return ("-", "-")
    star = f" {_STAR}" if metric.excludes_zero else ""
    return f"{metric.difference:+.4f}{star}", f"[{metric.low:+.4f}, {metric.high:+.4f}]"


def _notes(comparison: Comparison) -> list[str]:
    drawn = "rows"
    if comparison.cluster_field is not None:
        drawn = f"the {comparison.clusters:,} values of {comparison.cluster_field} with their rows"
    notes = [
        f"Test rows of {comparison.first.dataset}, the same in both runs; a higher AUC and a lower "
        f"LogLoss are better. Intervals: {comparison.resamples:,} paired bootstrap resamples of "
        f"{drawn}, seed {comparison.seed}. {_STAR}: the interval excludes 0, which it does for one "
        f"in {round(1 / (1 - CONFIDENCE))} scenarios of two equal models. The intervals speak of "
        "the test rows, not of the luck of training: for that, compare several seeds "
        "(recbole-midpg benchmark)."
    ]
    few = count_too_small(group for _, group in comparison.scenarios)
    if few:
        notes.append(
            f"Scenarios with fewer than {FEW} positive or negative rows, whose intervals are not "
            f"to be trusted: {few}."
        )
    return notes


def _json(comparison: Comparison) -> str:
    return json.dumps(comparison.as_json(), indent=1, allow_nan=False) + "\n"


def _csv(comparison: Comparison) -> str:
    plain = comparison.as_json()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("a", "b", "difference", "low", "high")
    metrics = ("auc", "logloss")
    writer.writerow(
        ["scenario", "rows", "positives", *(f"{m}_{name}" for m in metrics for name in names)]
    )
    for group in ({"name": "", **plain["all"]}, *plain["scenarios"]):
        values = [group[metric][name] for metric in metrics for name in names]
        writer.writerow([group["name"], group["rows"], group["positives"], *values])
    return text.getvalue()


_WRITERS: dict[str, Callable[[Comparison], str]] = dict(
    zip(REPORT_ENDINGS, (_json, _csv, markdown), strict=True)
)
