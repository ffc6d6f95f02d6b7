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

from benchmarks.datasets_with_a_field import Source
from recbole_midpg.common.arguments import require_seeds
from recbole_midpg.common.errors import UsageError

PLACEBO = "placebo"


def placebo(ids: pd.Series, scenarios: pd.Series, seed: int) -> pd.Series:
    """Give every id the scenario of another one.

    Args:
        ids: the id of each row.
        scenarios: the scenario of each row, the same wherever the id is.
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
        UsageError: there is no such dataset, a field is not in its ``.inter`` file, the scenario is
            not known from the id, or the config file cannot take a further field.
    """
    require_seeds(seed)
    source = Source.read(dataset)
    scenario = _only_scenario_field(source)
    config = {**source.loading(PLACEBO), "scenario_fields": [PLACEBO]}
    ids, scenarios = source.column(of), source.column(scenario)
    _require_known(ids, scenarios, of, scenario)
    return source.write_with(PLACEBO, placebo(ids, scenarios, seed), config)


def _only_scenario_field(source: Source) -> str:
    fields = source.config.get("scenario_fields") or []
    fields = [fields] if isinstance(fields, str) else fields
    if len(fields) != 1:
        raise UsageError(
            f"{source.config_path}: scenario_fields has {len(fields)} fields, expected one."
        )
    return str(fields[0])


def _require_known(ids: pd.Series, scenarios: pd.Series, of: str, scenario: str) -> None:
    """Check that each id has one scenario: a drawn one of another kind would be no placebo."""
    counts = scenarios.groupby(ids, sort=False).nunique()
    several = int((counts > 1).sum())
    if several:
        raise UsageError(
            f"--of: {of!r} does not tell the scenario: {several:,} of its {len(counts):,} ids have "
            f"rows of several {scenario}, {counts.mean():.1f} on average, expected a field of "
            "which each id has one."
        )


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
