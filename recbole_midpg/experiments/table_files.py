"""The table of a benchmark as markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_midpg.common.report_files import TABLE_FORMAT
from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.experiments.benchmark import ModelSummary, Summary
from recbole_midpg.experiments.statistics import Spread

_METRIC_NAMES = {
    "auc": "AUC",
    "logloss": "LogLoss",
    "prauc": "PR-AUC",
    "pcoc": "PCOC",
    "ece": "ECE",
}
_STAR = "★"
# Names of scenarios are values of the data: none of their characters may be a command of TeX.
_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        _STAR: r"$^{*}$",
        **dict.fromkeys("\r\n", " "),
    }
)


def write_tables(
    summary: Summary, folder: Path, about: dict[str, Any], *, scenarios: bool
) -> list[Path]:
    """Write the table as markdown, CSV, LaTeX and JSON, and the trials as CSV: all files or none.

    Args:
        summary: the table.
        folder: where they go.
        about: what is to be known of the run: command, machine, versions, settings.
        scenarios: whether a second table of the scenarios' AUC follows in the first three.

    Returns:
        The files.
    """
    blocks = [main_table(summary)]
    if scenarios:
        blocks.append(scenario_auc_table(summary))
    texts = {
        "table.md": markdown(summary, blocks),
        "table.csv": "\n".join(_csv(*block) for block in blocks),
        "table.tex": "\n".join(_latex(*block) for block in blocks),
        "table.json": json.dumps(as_json(summary, about), indent=1) + "\n",
        "trials.csv": _csv(*trial_table(summary)),
    }
    paths = [folder / name for name in texts]
    with written_whole(paths) as parts:
        for part, text in zip(parts, texts.values(), strict=True):
            part.write_text(text, encoding="utf-8")
    return paths


Block = tuple[list[str], list[list[str]]]
"""Headers and rows of cells."""


def main_table(summary: Summary) -> Block:
    """A line a model: metrics, the gain with its significance, size, time, the gap, the paper."""
    metrics = list(dict.fromkeys(name for model in summary.models for name in model.scores))
    metrics = [name for name in metrics if "/" not in name]
    columns: list[tuple[str, list[str]]] = [
        ("model", [model.label for model in summary.models]),
        *(
            (_METRIC_NAMES.get(name, name), [_score(model, name) for model in summary.models])
            for name in metrics
        ),
        (
            f"AUC over {summary.best_baseline}",
            [spread_text(model.gained, 4, sign="+") for model in summary.models],
        ),
        ("p (t)", [_number(model.tests.t, 4) for model in summary.models]),
        ("p (Wilcoxon)", [_number(model.tests.wilcoxon, 4) for model in summary.models]),
        ("gap closed", [_percent(model.gap_closed) for model in summary.models]),
        ("parameters", [_parameters(model) for model in summary.models]),
        ("training s", [spread_text(model.training_seconds, 1) for model in summary.models]),
        ("paper AUC", [_number(model.paper and model.paper[0], 4) for model in summary.models]),
        ("paper LogLoss", [_number(model.paper and model.paper[1], 4) for model in summary.models]),
    ]
    kept = [(name, cells) for name, cells in columns if any(cells)]
    headers = [name for name, _ in kept]
    rows = [list(row) for row in zip(*(cells for _, cells in kept), strict=True)]
    if summary.bayes:
        best = {"model": "best possible", "AUC": summary.bayes[0], "LogLoss": summary.bayes[1]}
        rows.append([_cell(best.get(header, "")) for header in headers])
    return headers, rows


def scenario_auc_table(summary: Summary) -> Block:
    """A line a scenario: the AUC of each model."""
    by_model = {model.label: model.scenario_auc() for model in summary.models}
    names = dict.fromkeys(name for scores in by_model.values() for name in scores)
    rows = [
        [name, *(spread_text(scores.get(name), 4) for scores in by_model.values())]
        for name in names
    ]
    return ["scenario", *by_model], rows


def trial_table(summary: Summary) -> Block:
    """A line a finished trial: its validation and test metrics, those of scenarios aside."""
    trials = [trial for model in summary.models for trial in model.trials]
    names = list(dict.fromkeys(name for trial in trials for name in trial.test if "/" not in name))
    rows = [
        [
            trial.label,
            str(trial.seed),
            *(str(scores.get(name, "")) for scores in (trial.valid, trial.test) for name in names),
            str(trial.epochs),
            "" if trial.best_epoch is None else str(trial.best_epoch),
            str(trial.training_seconds),
        ]
        for trial in trials
    ]
    scores = [f"{split} {name}" for split in ("valid", "test") for name in names]
    return ["model", "seed", *scores, "epochs", "best epoch", "training s"], rows


def markdown(summary: Summary, blocks: Sequence[Block]) -> str:
    """The tables, with what is to be known to read them."""
    tables = [
        tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
        for headers, rows in blocks
    ]
    return "\n\n".join([*tables, *notes(summary)]) + "\n"


def notes(summary: Summary) -> list[str]:
    """What is to be known to read the table, and what failed: a paragraph each."""
    sentences = ["Mean ± sd of the test split over seeds."]
    if any(model.gained for model in summary.models):
        best = summary.best_baseline
        sentences.append(
            f"AUC over {best}: that of the same seed less that of {best}, the best baseline on "
            f"validation, mean ± sd; p: of no difference, Holm-corrected; {_STAR}: a higher AUC "
            "with p < 0.05 by the paired t-test."
        )
    if summary.bayes:
        sentences.append(
            "Best possible: the true probabilities on the labels as drawn; gap closed: the share "
            "of the way from DNN's AUC to it, over the seeds that both have."
        )
    failed = [
        f"{model.label}: {len(model.problems)} of {len(model.problems) + len(model.trials)} trials "
        f"failed, the last one: {model.problems[-1]}"
        for model in summary.models
        if model.problems
    ]
    return [
        " ".join(sentences),
        *_places_of_best(summary),
        *_undefined(summary),
        *_doubts(summary),
        *failed,
    ]


def _undefined(summary: Summary) -> list[str]:
    """Of which models some trials' rows do not define a metric that others have."""
    metrics = dict.fromkeys(name for model in summary.models for name in model.scores)
    missing = {
        (model.label, name): len(model.trials) - (spread.count if spread else 0)
        for model in summary.models
        for name in metrics
        if "/" not in name
        for spread in [model.scores.get(name)]
    }
    return [
        f"{label}: {_METRIC_NAMES.get(name, name)} is not defined on the test rows of {count} "
        "trials, which are left out of its mean."
        for (label, name), count in missing.items()
        if count
    ]


def _doubts(summary: Summary) -> list[str]:
    """Of which models some trials' results cannot be right or say nothing."""
    return [
        f"{model.label}: {len(found)} of {len(model.trials)} trials are doubtful, the last one: "
        f"{found[-1]}"
        for model in summary.models
        if (found := [trial.doubts[-1] for trial in model.trials if trial.doubts])
    ]


def _places_of_best(summary: Summary) -> list[str]:
    """Of which models the best epochs lie at an end, beyond which there may be better ones."""
    first, last = {}, {}
    for model in summary.models:
        trials = [trial for trial in model.trials if trial.epochs > 1]
        first[model.label] = sum(trial.best_epoch == 1 for trial in trials)
        last[model.label] = sum(trial.best_epoch == trial.epochs for trial in trials)
    advice = (
        (first, "first, within which the weights may have been better (epochs_per_pass)"),
        (last, "last that epochs allows, after which they may become better"),
    )
    return [
        f"The best epoch is the {what}: {', '.join(f'{n} ({c})' for n, c in of.items() if c)}."
        for of, what in advice
        if any(of.values())
    ]


def as_json(summary: Summary, about: dict[str, Any]) -> dict[str, Any]:
    """All of it as plain values, every trial included."""
    return {
        "format": TABLE_FORMAT,
        "dataset": summary.dataset,
        **about,
        "best_baseline": summary.best_baseline,
        "best_possible": summary.bayes and {"auc": summary.bayes[0], "logloss": summary.bayes[1]},
        "models": [
            {
                "model": model.label,
                "test": {name: _plain(spread) for name, spread in model.scores.items()},
                "valid_score": model.valid_score,
                "auc_gained": _plain(model.gained),
                "p_values": asdict(model.tests),
                "better": model.better,
                "gap_closed": model.gap_closed,
                "paper": model.paper and {"auc": model.paper[0], "logloss": model.paper[1]},
                "training_seconds": _plain(model.training_seconds),
                "scenario_auc": {
                    name: _plain(spread) for name, spread in model.scenario_auc().items()
                },
                "problems": list(model.problems),
                "trials": [asdict(trial) for trial in model.trials],
            }
            for model in summary.models
        ],
    }


def _plain(spread: Spread | None) -> dict[str, float | None] | None:
    if spread is None:
        return None
    sd = None if math.isnan(spread.sd) else spread.sd
    return {"mean": spread.mean, "sd": sd, "count": spread.count}


def _score(model: ModelSummary, name: str) -> str:
    text = spread_text(model.scores.get(name), 4)
    return f"{text} {_STAR}" if name == "auc" and model.better else text


def _parameters(model: ModelSummary) -> str:
    counts = {trial.parameters_without_embeddings for trial in model.trials}
    return (
        " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)})) if counts else ""
    )


def spread_text(spread: Spread | None, digits: int, *, sign: str = "") -> str:
    """Mean ± sd; ``sign`` as in a format, ``+`` where one is to stand before positive means too."""
    if spread is None:
        return ""
    mean = f"{spread.mean:{sign}.{digits}f}"
    return mean if math.isnan(spread.sd) else f"{mean} ± {spread.sd:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4f}"


def _csv(headers: list[str], rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([headers, *rows])
    return text.getvalue()


def _latex(headers: list[str], rows: list[list[str]]) -> str:
    def escaped(cell: str) -> str:
        return cell.translate(_LATEX)

    lines = [
        r"\begin{tabular}{l" + "r" * (len(headers) - 1) + "}",
        r"\toprule",
        " & ".join(map(escaped, headers)) + r" \\",
        r"\midrule",
        *(" & ".join(map(escaped, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"
