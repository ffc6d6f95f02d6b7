"""One side of a comparison: a process that loads a dataset once and trains batches when told.

Started by :mod:`benchmarks.training_speed` as

    python -m benchmarks.training_side SIDE MODEL DATASET SETTINGS THREADS

``SIDE`` is ``stock``, RecBole with nothing of this package but the shims that let it start on
today's packages (``integration/compat.py``), or ``ours``. All else is the same code. Each line on
standard input is a number of batches; the answer is the seconds that they took.
"""

from __future__ import annotations

import importlib
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.stock_recbole import dataset_config, prepare_stock_recbole


class Batches:
    """Batches of a loader, epoch after epoch, so many at a time."""

    shuffle = False

    def __init__(self, loader: Any) -> None:
        self.count = 0
        self._batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self._batches, self.count)

    def __len__(self) -> int:
        return self.count


def trainer_of_side(model: str, dataset: str, settings: dict[str, Any]) -> Callable[[int], float]:
    """Load the data, build model and trainer, and give a function that trains some batches."""
    # RecBole can be imported only once the side has been prepared.
    from recbole.config import Config  # noqa: PLC0415
    from recbole.data import create_dataset, data_preparation  # noqa: PLC0415
    from recbole.utils import get_model, get_trainer, init_seed  # noqa: PLC0415

    config = Config(
        model=model,
        dataset=dataset,
        config_file_list=[dataset_config(settings.pop("config"))],
        config_dict={"show_progress": False, **settings},
    )
    init_seed(config["seed"], config["reproducibility"])
    train_data, _, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    recommender = get_model(model)(config, train_data._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, recommender)
    batches = Batches(train_data)

    def train(count: int) -> float:
        batches.count = count
        start = time.perf_counter()
        trainer._train_epoch(batches, 0)
        return time.perf_counter() - start

    return train


def main() -> None:
    """Answer on standard output whatever RecBole prints there otherwise."""
    answers, sys.stdout = sys.stdout, sys.stderr
    side, model, dataset, settings, threads = sys.argv[1:]
    sys.argv[1:] = []
    torch.set_num_threads(int(threads))
    logging.disable(logging.WARNING)
    if side == "stock":
        prepare_stock_recbole()
    else:
        importlib.import_module("recbole_midpg")  # registers models, loaders and optimizers
    train = trainer_of_side(model, dataset, json.loads(settings))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(train(int(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
