"""What the commands do, but for those of a room of their own; imported once there is work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.commands.log_options import LOG_OPTIONS
from recbole_midpg.common.choices import DATA_PATH, DEFAULT_MODEL
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import require_folder_name, require_free_name
from recbole_midpg.event_logs.command import prepare_own_log, refuse_without_log
from recbole_midpg.experiments.catalogue import list_datasets
from recbole_midpg.generated import GENERATED, generate, read_bayes
from recbole_midpg.integration.dataset.datasets import fetch_raw_file
from recbole_midpg.integration.run.processes import ConfigSources, run_on_machine
from recbole_midpg.prediction.folded_file import fold_checkpoint


def train(
    model: str,
    dataset: str,
    config_files: Sequence[str],
    typed: Mapping[str, str],
    **machine: Any,
) -> None:
    """Train and evaluate a model, and print its results.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        config_files: RecBole config files.
        typed: the texts of the config values that were typed.
        machine: the processes and machines, as ``recbole.quick_start.run`` takes them.
    """
    sources = ConfigSources(model, dataset, config_files, typed=typed)
    results = run_on_machine(sources, **machine)
    if results is not None:  # as on a machine without rank 0
        print(results.text())


def prepare_dataset(
    name: str,
    raw: str | None,
    download: bool,
    csv: list[str] | None,
    parquet: list[str] | None,
    output: str,
    **options: Any,
) -> None:
    """Make atomic files of a raw file, or of a log."""
    require_folder_name(output)
    log_options = {option: options.pop(option) for option in LOG_OPTIONS}
    if csv is not None or parquet is not None:
        prepare_own_log(name, csv, parquet, output, log_options, **options)
        return
    refuse_without_log(log_options)
    if name in GENERATED:
        raise UsageError(f"{name!r} has no raw file; recbole-midpg generate {name} makes it.")
    if download:
        raw = str(fetch_raw_file(name, Path(output)))
    print(prepare(name, str(raw), output, **options).summary())


def generate_dataset(name: str, rows: int | None, seed: int, output: str) -> None:
    """Generate a dataset, and print its best possible scores."""
    require_folder_name(output)
    print(generate(name, output, rows, seed).summary())
    best = read_bayes(Path(output) / name) or {}
    for part, scores in best.get("splits", {}).items():
        print(f"best possible on {part}: AUC {scores['auc']:.4f}, LogLoss {scores['logloss']:.4f}")


def show_datasets(data_path: str) -> None:
    """Print the known datasets and what is on disk."""
    if data_path != DATA_PATH and not Path(data_path).is_dir():
        raise UsageError(f"--data_path: there is no folder {data_path!r}.")
    entries = list_datasets(data_path, DEFAULT_MODEL)
    rows = [
        [entry.name, entry.state, entry.rows, entry.scenarios, entry.about] for entry in entries
    ]
    print(tabulate(rows, headers=["dataset", "state", "rows", "scenarios", "about"], intfmt=","))
    notes = [f"{entry.name}: {entry.note}" for entry in entries if entry.note]
    if notes:
        print(f"\nWhat run_recbole --model={DEFAULT_MODEL} --dataset=NAME would find:")
        print(*notes, sep="\n")


def fold(checkpoint: str, output: str, force: bool) -> None:
    """Write a plain network of each scenario."""
    require_free_name(output, force, [("--checkpoint", checkpoint)])
    folded = fold_checkpoint(checkpoint, output)
    fields = ", ".join(folded.scenario_fields)
    print(f"{output}: {prod(folded.scenario_sizes)} networks, one for each {fields}.")
