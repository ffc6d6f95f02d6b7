"""The command ``recbole-midpg evaluate``: what it prints and writes."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path

from tabulate import tabulate

from recbole_midpg.atomic_data_scripts import find_converter
from recbole_midpg.common.choices import REPORT_ENDINGS
from recbole_midpg.common.whole_files import require_ending, require_free_name, write_text
from recbole_midpg.evaluation.bootstrap_intervals import Estimate, GroupEstimates
from recbole_midpg.evaluation.resampling import CONFIDENCE, FEW, count_too_small
from recbole_midpg.prediction.command import (
    print_counts,
    print_rejected,
    print_unused,
    read_scorer,
)
from recbole_midpg.prediction.evaluation import METRICS, Evaluation, Resampling, evaluate_rows
from recbole_midpg.prediction.sources import field_named, fields_of_clicks, open_source
from recbole_midpg.prediction.unused import on_unused_of_rows


def evaluate(
    checkpoint: str,
    model: str | None,
    task: str | None,
    input: str,
    raw: str | None,
    on_error: str | None,
    label: str | None,
    given: str | None,
    resamples: int,
    seed: int,
    cluster: str | None,
    output: str | None,
    force: bool,
    show_progress: bool | None,
) -> None:
    """Evaluate a model on a labelled file, and print and write what comes out."""
    path = None if output is None else Path(output)
    if path is not None:
        require_ending(path, _WRITERS)
        require_free_name(path, force, [("--checkpoint", checkpoint), ("--input", input)])
    if raw is not None:
        find_converter(raw)  # before a checkpoint is read
    scorer = read_scorer(checkpoint, model, task)
    label, given, cluster = (
        field_named(scorer, input, raw, name) for name in (label, given, cluster)
    )
    resampling = Resampling(resamples, seed, cluster)
    named = [name for name in (label, given, cluster) if name is not None]
    besides = [*fields_of_clicks(scorer), *named]
    with open_source(scorer, input, raw, on_error, labelled=True, besides=besides) as source:
        print_unused(on_unused_of_rows(scorer, source, named))
        evaluation = evaluate_rows(scorer, source, label, given, resampling, show_progress)
        print_rejected(source, evaluation.whole.rows + evaluation.passed_over)
    print_counts(scorer, evaluation.counts)
    for sentence in _remarks(evaluation, scorer.scoring.config["scenario_id_field"]):
        print(sentence, file=sys.stderr)
    print(text(evaluation))
    if path is not None:
        write_text(path, _WRITERS[path.suffix](evaluation))
        print(f"\n{path}")


def _remarks(evaluation: Evaluation, scenario_field: str | None) -> Iterator[str]:
    """What is to be known beside the table."""
    yield f"label: {evaluation.label}"
    if evaluation.given is not None:
        rows = evaluation.whole.rows
        yield (
            f"given: {evaluation.given} is 1 in {rows:,} of {rows + evaluation.passed_over:,} rows"
        )
    if scenario_field != evaluation.scenario_field:
        yield f"warning: there is no column {scenario_field!r}, and so no lines of scenarios."
    whole = evaluation.whole
    if whole.positives in (0, whole.rows):
        yield (
            f"warning: label {evaluation.label}: it is {int(whole.positives > 0)} in all "
            f"{whole.rows:,} rows, where AUC is not defined."
        )
    yield from (f"warning: {doubt}." for doubt in evaluation.doubts)


def text(evaluation: Evaluation) -> str:
    """The evaluation as a text of aligned columns, with what is to be known to read it."""
    return "\n".join([_table(evaluation, "simple"), *_notes(evaluation)])


def markdown(evaluation: Evaluation) -> str:
    """The same in Markdown."""
    return "\n\n".join([_table(evaluation, "github"), *_notes(evaluation)]) + "\n"


def _table(evaluation: Evaluation, form: str) -> str:
    headers = ["scenario", "rows", "positives", "positive rate", "AUC", "LogLoss", "PCOC"]
    lines = [*evaluation.scenarios, ("all", evaluation.whole)]
    return tabulate(
        [[_escaped(name, form), *_cells(group)] for name, group in lines],
        headers=headers,
        tablefmt=form,
        disable_numparse=True,
        colalign=("left", *["right"] * (len(headers) - 1)),
    )


def _escaped(name: str, form: str) -> str:
    return name.replace("|", r"\|") if form == "github" else name


def _cells(group: GroupEstimates) -> list[str]:
    rate = f"{group.positives / group.rows:.4f}"
    metrics = [_estimate(getattr(group, name)) for name in METRICS]
    return [f"{group.rows:,}", f"{group.positives:,}", rate, *metrics]


def _estimate(metric: Estimate) -> str:
    if not isfinite(metric.value):
        return "-"
    if not isfinite(metric.low):
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"


def _notes(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.without_auc:
        yield f"scenarios of one class, without an AUC: {evaluation.without_auc}"
    resampling = evaluation.resampling
    if not resampling.resamples:
        return
    drawn = "rows"
    if resampling.cluster is not None:
        drawn = f"the {evaluation.clusters:,} values of {resampling.cluster} with their rows"
    yield (
        f"[{CONFIDENCE:.0%} intervals]: {resampling.resamples:,} bootstrap resamples of {drawn}, "
        f"seed {resampling.seed}"
    )
    few = count_too_small(group for _, group in evaluation.scenarios)
    if few:
        yield (
            f"scenarios of fewer than {FEW} positive or negative rows, whose intervals are not to "
            f"be trusted: {few}"
        )


def _json(evaluation: Evaluation) -> str:
    return json.dumps(evaluation.as_json(), indent=1, allow_nan=False) + "\n"


def _csv(evaluation: Evaluation) -> str:
    plain = evaluation.as_json()
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    ends = ("value", "low", "high")
    names = [f"{name}{'' if end == 'value' else f'_{end}'}" for name in METRICS for end in ends]
    writer.writerow(["scenario", "rows", "positives", *names])
    for group in ({"name": "", **plain["all"]}, *plain["scenarios"]):
        values = [group[name][end] for name in METRICS for end in ends]
        writer.writerow([group["name"], group["rows"], group["positives"], *values])
    return lines.getvalue()


_WRITERS: dict[str, Callable[[Evaluation], str]] = dict(
    zip(REPORT_ENDINGS, (_json, _csv, markdown), strict=True)
)
