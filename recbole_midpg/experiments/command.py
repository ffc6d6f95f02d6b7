"""The commands ``models``, ``tune`` and ``benchmark`` of ``recbole-midpg``."""

from __future__ import annotations

import os
import platform
import shlex
from pathlib import Path
from textwrap import fill

import yaml
from tabulate import tabulate

from recbole_midpg.common.arguments import (
    config_values,
    listed_names,
    require_positive,
    split_arguments,
)
from recbole_midpg.common.choices import PROPOSED
from recbole_midpg.common.config_files import read_config_files
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.machine import git_state, now
from recbole_midpg.common.version import versions
from recbole_midpg.common.whole_files import write_text
from recbole_midpg.experiments.benchmark import (
    plan_trials,
    summarize,
    tuned_settings,
)
from recbole_midpg.experiments.model_table import describe_models
from recbole_midpg.experiments.table_files import main_table, notes, write_tables
from recbole_midpg.experiments.trials import run_trials
from recbole_midpg.experiments.tuning import tune
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.models.registry import get_model
from recbole_midpg.training.threads import choose_threads, n_cores

_NOTE_WIDTH = 100
_TABLE_DEFAULTS = {
    "metrics": ["AUC", "LogLoss", "PRAUC", "PCOC", "ECE"],
    "metric_decimal_place": 6,
}


def list_models(dataset: str, config_files: list[str]) -> None:
    """Print the models and count their parameters."""
    headers = ["model", "paper", "parameters", "without embeddings", "scenario", "problem"]
    rows = [
        [
            row.name,
            row.paper,
            row.parameters,
            row.without_embeddings,
            "needed" if row.needs_scenario else "not needed",
            row.problem,
        ]
        for row in describe_models(dataset, config_files)
    ]
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    print(f"On {dataset}, with the default settings:")
    print(tabulate(rows, headers=headers, intfmt=","))


def tune_model(
    model: str,
    dataset: str,
    space: str | None,
    trials: int,
    seed: int,
    record: str | None,
    config_files: list[str],
    settings: list[str],
) -> None:
    """Search for the settings of a model, and write and print the best ones."""
    require_positive("trials", trials)
    values = config_values(settings)
    name = get_model(model).__name__
    path = Path(record or f"tuning/{name}-{dataset}.jsonl")
    found = tune(
        model,
        dataset,
        space,
        path,
        trials=trials,
        seed=seed,
        config_files=config_files,
        settings=values,
    )
    summary = found.summary()
    if values:
        # Another length or dataset may be what the next run is for: the file does not decide that.
        same = ", ".join(f"{key} = {value}" for key, value in values.items())
        summary.append(f"Given for every trial, and so not in the file: {same}.")
    chosen = path.with_suffix(".yaml")
    comments = "".join(f"# {line}\n" for line in "\n".join(summary).splitlines())
    parameters = found.best.parameters
    write_text(chosen, comments + (yaml.safe_dump(parameters) if parameters else ""))
    words = ["run_recbole", f"--model={model}", f"--dataset={dataset}"]
    words += [f"--{key}={text}" for key, text in split_arguments(settings).items()]
    words += ["--config_files", *config_files, str(chosen)]
    print(*summary, shlex.join(words), sep="\n")


def _proposed_models(words: list[str] | None, models: list[str]) -> list[str]:
    """The models that are no baselines.

    Raises:
        UsageError: one is not compared at all.
    """
    if words is None:
        return list(PROPOSED)
    proposed = listed_names(words)
    for name in proposed:
        if name not in models:
            raise UsageError(
                f"--proposed: {name!r} is not compared{expected_some_of(models, name)}"
            )
    return proposed


def compare_models(
    dataset: str,
    models: list[str],
    trials: int,
    seed: int,
    settings_file: str | None,
    jobs: int,
    proposed: list[str] | None,
    scenarios: bool,
    output: str | None,
    config_files: list[str],
    settings: list[str],
) -> None:
    """Compare models over several seeds, and write and print the tables."""
    require_positive("trials", trials)
    require_positive("jobs", jobs)
    models = listed_names(models)
    proposed = _proposed_models(proposed, models)
    file, tuned = tuned_settings(dataset, settings_file)
    given = config_values(settings)
    # What is on the command line wins over what was tuned, and that over config files.
    plans = plan_trials(models, trials, seed, tuned, given)
    folder = Path(output or f"benchmark/{dataset}")
    common = {**_TABLE_DEFAULTS, **read_config_files(config_files)}
    print(f"settings: {file or 'the defaults, nothing is tuned for this dataset'}")
    results = run_trials(
        plans,
        dataset,
        folder / "trials.jsonl",
        settings=common,
        jobs=jobs,
    )
    config = build_config(models[0], dataset, values={**common, **plans[0].settings})
    summary = summarize(results, config, proposed)
    about = {
        "date": now(),
        "settings_file": str(file) if file else None,
        "settings": tuned,
        "command_line_settings": given,
        "seeds": [seed, seed + trials - 1],
        "jobs": jobs,
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": choose_threads(config, n_cores(), jobs).count,
            "device": str(config["device"]),
        },
        "versions": versions(),
        "git": git_state(Path(__file__).parent),
    }
    paths = write_tables(summary, folder, about, scenarios=scenarios)
    headers, rows = main_table(summary)
    print(tabulate(rows, headers=headers, disable_numparse=True))
    for note in notes(summary):
        print(f"\n{fill(note, width=_NOTE_WIDTH)}")
    print()
    for path in paths:
        print(path)
    if all(result.problem for result in results):
        raise UsageError(f"benchmark: every trial failed, the last one: {results[-1].problem}")
