"""Scenarios that mean nothing: does a model gain by what its scenarios say, or by its size?

    python -m benchmarks.placebo_scenarios --dataset=ciao --of=item_id [--seed 1]

Of a dataset whose scenario is known from an id, makes ``DATASET_placebo``: each item (or user) has
the scenario of another one, drawn at random. These scenarios are as many and nearly as large, known
from the same id, and say nothing about the label; the real one stays a feature of every model. A
model that is as far above a plain network there as with the real ones is not above it by them.

Writes ``dataset/DATASET_placebo/`` and ``dataset_configs/DATASET_placebo.yaml``, beside the files
that ``recbole-midpg prepare DATASET`` has made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from recbole_midpg.common.choices import DATA_PATH
from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.datasets import find_dataset_config

PLACEBO = "placebo"


def placebo(ids: pd.Series, scenarios: pd.Series, seed: int) -> pd.Series:
    """Give every id the scenario of another one.

    Args:
        ids: the id of each row.
        scenarios: the scenario of each row; an id's is that of its first row.
        seed: of the draw.

    Returns:
        The drawn scenario of each row.
    """
    of_ids = scenarios.groupby(ids, sort=False).first()
    drawn = pd.Series(np.random.default_rng(seed).permutation(of_ids), index=of_ids.index)
    return ids.map(drawn)


def make(dataset: str, of: str, seed: int) -> Path:
    """Write the dataset with placebo scenarios, and its config file.

    Args:
        dataset: the dataset; its ``.inter`` file has the scenario and the id.
        of: the field of the id, from which the scenario is known.
        seed: of the draw.

    Returns:
        The config file.

    Raises:
        UsageError: there is no such dataset, or a field is not in its ``.inter`` file.
    """
    found = find_dataset_config(dataset)
    source = Path(DATA_PATH) / dataset / f"{dataset}.inter"
    if found is None or not source.is_file():
        raise UsageError(f"--dataset: there is no config file of {dataset!r}, or no {source}.")
    config = read_config_file(found)
    scenario, *others = config["scenario_fields"]
    if others:
        raise UsageError(f"{found}: scenario_fields has {1 + len(others)} fields, expected one.")
    rows = pd.read_csv(source, sep="\t", dtype=str, keep_default_na=False)
    columns = {name.partition(":")[0]: name for name in rows.columns}
    for field in (of, scenario):
        if field not in columns:
            raise UsageError(f"{source}: there is no field {field!r}, found {', '.join(columns)}.")
    rows[f"{PLACEBO}:token"] = placebo(rows[columns[of]], rows[columns[scenario]], seed)
    name = f"{dataset}_{PLACEBO}"
    target = Path(DATA_PATH) / name / f"{name}.inter"
    target.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(target, sep="\t", index=False)
    config["scenario_fields"] = [PLACEBO]
    config["load_col"]["inter"].append(PLACEBO)
    path = Path("dataset_configs") / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def main(arguments: Sequence[str]) -> None:
    """Make the dataset that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--of", required=True, help="the id from which the scenario is known")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        print(make(options.dataset, options.of, options.seed))
    except UsageError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
