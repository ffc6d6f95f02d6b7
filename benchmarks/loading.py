"""Time of loading an Amazon-shaped dataset: RecBole's ``Dataset``, ours from files, from the cache.

Run as ``python benchmarks/loading.py [--rows 1292954] [--rounds 3] [--data-path FOLDER]``. A round
times each once, in turn, in this process: construction, the dataset's description, which RecBole
logs, and the split into training, validation and test set. Ratios are those of the medians.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
from recbole.config import Config
from recbole.data.dataset.dataset import Dataset
from recbole.utils import init_seed

from recbole_midpg.generated import GENERATED, generate
from recbole_midpg.integration.dataset.fast_dataset import FastDataset

NAME = "amazon_electronics_synth"


def seconds_of(dataset_class: type[Dataset], config: Config) -> dict[str, float]:
    """Load, describe and split; the seconds of each and of all."""
    init_seed(config["seed"], config["reproducibility"])
    times = [time.perf_counter()]
    dataset = dataset_class(config)
    times.append(time.perf_counter())
    str(dataset)
    times.append(time.perf_counter())
    dataset.build()
    times.append(time.perf_counter())
    parts = [end - start for start, end in pairwise(times)]
    return dict(zip(("load", "describe", "split", "all"), [*parts, sum(parts)], strict=True))


def main() -> None:
    """Generate the files, time the rounds, print minimum, median and maximum, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=GENERATED[NAME].published_rows)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-path", help="where the generated files are or shall be")
    options = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    with tempfile.TemporaryDirectory() as folder:
        data_path = Path(options.data_path or folder)
        if not (data_path / NAME / f"{NAME}.inter").is_file():
            generate(NAME, data_path, options.rows, 1)
        rounds = [time_round(data_path, Path(folder) / "cache") for _ in range(options.rounds)]
    for step in ("load", "describe", "split", "all"):
        stock = statistics.median(times["RecBole"][step] for times in rounds)
        for name in rounds[0]:
            seconds = sorted(times[name][step] for times in rounds)
            median = statistics.median(seconds)
            print(
                f"{step:9} {name:12} min {seconds[0]:7.3f}  median {median:7.3f}  "
                f"max {seconds[-1]:7.3f} s  {stock / median:6.1f}x"
            )


def time_round(data_path: Path, cache: Path) -> dict[str, dict[str, float]]:
    """Time each way once; the second has the cost of writing the cache, the third reads it."""
    shutil.rmtree(cache, ignore_errors=True)
    return {
        "RecBole": seconds_of(Dataset, config_of(data_path)),
        "files": seconds_of(FastDataset, config_of(data_path, dataset_cache=False)),
        "files+cache": seconds_of(FastDataset, config_of(data_path, dataset_cache_dir=str(cache))),
        "cache": seconds_of(FastDataset, config_of(data_path, dataset_cache_dir=str(cache))),
    }


def config_of(data_path: Path, **values: Any) -> Config:
    """The generated dataset's config."""
    defaults = {"data_path": str(data_path), "dataset_cache": True}
    return Config(model="DNN", dataset=NAME, config_dict={**defaults, **values})


if __name__ == "__main__":
    main()
