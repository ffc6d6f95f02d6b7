"""The commands ``models``, ``tune`` and ``benchmark`` of ``recbole-midpg``."""

from __future__ import annotations

import os
import platform
import shlex
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Any

import yaml
from tabulate import tabulate

from recbole_midpg.common.arguments import (
    config_values,
    listed_names,
    require_positive,
    split_arguments,
)
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.whole_files import write_text
from recbole_midpg.experiments.benchmark import (
    PROPOSED,
    find_settings,
    plan_trials,
    read_settings,
    summarize,
)
from recbole_midpg.experiments.model_table import describe_models
from recbole_midpg.experiments.search_space import default_space
from recbole_midpg.experiments.table_files import main_table, notes, write_tables
from recbole_midpg.experiments.trials import run_trials
from recbole_midpg.experiments.tuning import tune
from recbole_midpg.integration.config.config import build_config, read_config_files
from recbole_midpg.integration.models.registry import get_model, own_models
from recbole_midpg.integration.run.run_report import git_state, now, versions
from recbole_midpg.training.threads import choose_threads, n_cores

_DEFAULT_SEED = 2020
_NOTE_WIDTH = 100
_TABLE_DEFAULTS = {
    "metrics": ["AUC", "LogLoss", "PRAUC", "PCOC", "ECE"],
    "metric_decimal_place": 6,
}


def add_models(commands: Any) -> None:
    """Add ``models`` to the parser's commands."""
    parser = commands.add_parser("models", help="list the models and count their parameters")
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.set_defaults(action=_list_models)


def _list_models(dataset: str, config_files: list[str]) -> None:
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


def add_tune(commands: Any) -> None:
    """Add ``tune`` to the parser's commands."""
    parser = commands.add_parser(
        "tune",
        help="search for the settings of a model that are best on the validation split",
        epilog="Further arguments --KEY=VALUE are config values, the same in every trial: they are "
        "not searched, and stand in the printed command rather than in the file of the result.",
        allow_abbrev=False,  # --m=4 is a config value
    )
    parser.add_argument("--model", default="MIDPG", help="(default: %(default)s)")
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument("--space", help="a .hyper file (default: the package's for the model)")
    parser.add_argument(
        "--trials",
        type=int,
        default=20,
        help="the first is of the defaults (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=2023, help="of the search (default: 2023)")
    parser.add_argument(
        "--record",
        help="file of finished trials, from which the same command goes on after an interrupt "
        "(default: tuning/MODEL-DATASET.jsonl)",
    )
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.set_defaults(action=_tune, settings=[])


def _tune(
    model: str,
    dataset: str,
    space: str | None,
    trials: int,
    seed: int,
    record: str | None,
    config_files: list[str],
    settings: list[str],
) -> None:
    require_positive("trials", trials)
    values = config_values(settings)
    name = get_model(model).__name__
    path = Path(record or f"tuning/{name}-{dataset}.jsonl")
    found = tune(
        model,
        dataset,
        space or default_space(name),
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


def add_benchmark(commands: Any) -> None:
    """Add ``benchmark`` to the parser's commands."""
    parser = commands.add_parser(
        "benchmark",
        help="compare models over several seeds: the paper's Table 1",
        epilog="Further arguments --KEY=VALUE are config values, the same for every model; they "
        "win over the settings file.",
        allow_abbrev=False,  # --m=4 is a config value
    )
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument(
        "--models",
        nargs="+",
        default=_default_models(),
        help=f"of this package or of RecBole (default: {' '.join(_default_models())})",
    )
    parser.add_argument("--trials", type=int, default=10, help="of each model (default: 10)")
    parser.add_argument(
        "--seed", type=int, default=_DEFAULT_SEED, help="of the first trial (default: 2020)"
    )
    parser.add_argument(
        "--settings_file",
        help="tuned settings by model (default: ./benchmarks/settings/DATASET.yaml, else the "
        "package's, if there is one)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time (default: 1)")
    parser.add_argument(
        "--proposed",
        nargs="*",
        help="some of the models, which are no baselines (default: DPG MIDPG)",
    )
    parser.add_argument(
        "--scenarios", action="store_true", help="a table of the scenarios' AUC besides"
    )
    parser.add_argument(
        "--output",
        help="folder of the tables and of the record of finished trials, from which the same "
        "command goes on after an interrupt (default: benchmark/DATASET)",
    )
    parser.add_argument("--config_files", nargs="*", default=[], help="RecBole config files")
    parser.set_defaults(action=_benchmark, settings=[])


def _default_models() -> list[str]:
    proposed = [name for name in own_models() if name in PROPOSED]
    return ["DNN", *(m for m in own_models() if m not in ("DNN", *proposed)), *proposed]


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


def _benchmark(
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
    require_positive("trials", trials)
    require_positive("jobs", jobs)
    models = listed_names(models)
    proposed = _proposed_models(proposed, models)
    if len(set(models)) < len(models):
        raise UsageError(f"--models: {' '.join(models)} has a model twice, expected each once.")
    file = settings_file or find_settings(dataset)
    tuned = read_settings(file) if file else {}
    given = config_values(settings)
    plans = plan_trials(models, trials, seed, tuned)
    # What is on the command line wins over what was tuned, and that over config files.
    plans = [replace(plan, settings={**plan.settings, **given}) for plan in plans]
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
