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
    model_names,
    require_seeds,
    split_arguments,
)
from recbole_midpg.common.choices import PROPOSED
from recbole_midpg.common.config_files import read_config_files
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.machine import git_state, now
from recbole_midpg.common.version import versions
from recbole_midpg.common.whole_files import require_folder_name, require_free_name, write_text
from recbole_midpg.experiments.benchmark import (
    as_comments,
    plan_trials,
    settings_text,
    summarize,
    tuned_settings,
)
from recbole_midpg.experiments.model_table import describe_models
from recbole_midpg.experiments.side_by_side import Failure
from recbole_midpg.experiments.table_files import main_table, notes, write_tables
from recbole_midpg.experiments.trials import METRIC_DECIMALS, run_trials
from recbole_midpg.experiments.tuning import Search, SearchPlan, tune_side_by_side
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.models.registry import get_model
from recbole_midpg.training.threads import choose_threads, n_cores

_NOTE_WIDTH = 100
_TABLE_DEFAULTS = {
    "metrics": ["AUC", "LogLoss", "PRAUC", "PCOC", "ECE"],
    "metric_decimal_place": METRIC_DECIMALS,
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


def tune_models(
    dataset: str,
    models: list[str],
    space: str | None,
    trials: int,
    seeds: int,
    seed: int,
    jobs: int,
    output: str,
    settings_file: str | None,
    force: bool,
    config_files: list[str],
    settings: list[str],
) -> None:
    """Search for the settings of models, and write and print the best ones."""
    models = model_names(models)
    require_folder_name(output)
    reads = [("--space", space), *(("one of --config_files", file) for file in config_files)]
    if settings_file:
        require_folder_name(Path(settings_file).parent, "--settings_file")
        require_free_name(settings_file, force, reads, "--settings_file")
    given = config_values(settings)
    plans = [
        SearchPlan(
            model,
            dataset,
            Path(output) / f"{get_model(model).__name__}-{dataset}.jsonl",
            space=space,
            trials=trials,
            seeds=seeds,
            seed=seed,
            config_files=config_files,
            settings=given,
        )
        for model in models
    ]
    for plan in plans:
        # That of an earlier search is replaced, as the record goes on; what is read is not.
        require_free_name(_config_file(plan), True, reads)
    failures, searches = [], []
    for plan, outcome in zip(plans, tune_side_by_side(plans, jobs), strict=True):
        if isinstance(outcome, Failure):
            failures.append(f"{plan.model}: {outcome.problem}")
            continue
        searches.append(outcome)
        chosen = _write_config_file(plan, outcome)
        words = ["run_recbole", f"--model={plan.model}", f"--dataset={dataset}"]
        words += [f"--{key}={text}" for key, text in split_arguments(settings).items()]
        print(shlex.join([*words, "--config_files", *config_files, str(chosen)]))
    if failures:
        raise UsageError(" ".join(failures))
    if settings_file:
        words = ["--models", *models, f"--dataset={dataset}"]
        counts = [f"--trials={trials}", f"--seeds={seeds}", f"--seed={seed}"]
        searched = [f"--space={space}"] if space else []
        files = ["--config_files", *config_files] if config_files else []
        tuned_by = ["recbole-midpg", "tune", *words, *searched, *counts, *settings, *files]
        comments = [
            f"Chosen on the validation split by {shlex.join(tuned_by)}",
            *(line for search in searches for line in search.summary()),
        ]
        # All that the trials had, for the chosen settings to mean the same.
        common = {**read_config_files(config_files), **given}
        best = {search.model: search.best.parameters for search in searches}
        write_text(Path(settings_file), settings_text(common, best, comments))
        following = ["benchmark", *words, f"--settings_file={settings_file}"]
        print(shlex.join(["recbole-midpg", *following]))


def _config_file(plan: SearchPlan) -> Path:
    return plan.record.with_suffix(".yaml")


def _write_config_file(plan: SearchPlan, search: Search) -> Path:
    """Print what a search has found and write it as a config file, beside its record."""
    summary = search.summary()
    if plan.settings:
        # Another length or dataset may be what the next run is for: the file does not decide that.
        same = ", ".join(f"{key} = {value}" for key, value in plan.settings.items())
        summary.append(f"Given for every trial, and so not in the file: {same}.")
    print(*summary, sep="\n")
    path = _config_file(plan)
    parameters = search.best.parameters
    write_text(path, as_comments(summary) + (yaml.safe_dump(parameters) if parameters else ""))
    return path


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
    require_seeds(seed, trials)
    models = model_names(models)
    proposed = _proposed_models(proposed, models)
    file, tuned = tuned_settings(dataset, settings_file, models)
    given = config_values(settings)
    # What is on the command line wins over what was tuned, and that over config files.
    plans = plan_trials(models, trials, seed, tuned, given)
    folder = Path(output or f"benchmark/{dataset}")
    require_folder_name(folder)
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
