"""RecBole as it comes, with only the shims that let it start on today's packages.

    python -m benchmarks.stock_recbole --model=WideDeep --dataset=NAME [--key=value ...]

runs it as its own ``run_recbole.py`` does, with this project's config file of the dataset.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def prepare_stock_recbole() -> None:
    """Apply the shims, from their file alone: importing the package would register it."""
    path = ROOT / "recbole_midpg" / "integration" / "compat.py"
    specification = importlib.util.spec_from_file_location("compat", path)
    assert specification is not None and specification.loader is not None
    compat = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(compat)
    compat.apply_before_recbole()
    importlib.import_module("recbole.quick_start")
    compat.apply_after_recbole()
    # Its checkpoints hold its config, which torch 2.6 and later refuse to load by default.
    torch.load = functools.partial(torch.load, weights_only=False)


def dataset_config(name: str) -> str:
    """The path of a dataset's config file."""
    return str(ROOT / "dataset_configs" / f"{name}.yaml")


def main() -> None:
    """Run RecBole on the arguments ``--model`` and ``--dataset``; it reads the others itself."""
    prepare_stock_recbole()
    run_recbole = importlib.import_module("recbole.quick_start").run_recbole
    values = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
    dataset = values["dataset"]
    run_recbole(values["model"], dataset, config_file_list=[dataset_config(dataset)])


if __name__ == "__main__":
    main()
