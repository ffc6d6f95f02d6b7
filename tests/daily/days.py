"""A shop's trained model, and days of its rows."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, init_seed

from recbole_midpg.integration.dataset.vocabulary import vocabulary_of
from recbole_midpg.integration.run.process_group import without_board
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.support.shop import shop_config

NAMES = ["user_id", "item_id", "channel", "price", "click", "timestamp"]


def shop_checkpoint(folder: Path, model: str = "DNN", **values: Any) -> str:
    """The checkpoint of a model that has learned from the shop's rows for an epoch."""
    settings = {"train_batch_size": 16, "learning_rate": 0.01, **values}
    config = shop_config(folder, model, **settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    with without_board():
        trainer = ScenarioTrainer(config, get_model(model)(config, train_data.dataset))
    trainer._train_epoch(train_data, 0)
    trainer.vocabulary = vocabulary_of(dataset)
    trainer._save_checkpoint(0, verbose=False)
    return str(trainer.saved_model_file)


def day_rows(
    day: int,
    users: Sequence[str] = ("u1", "u2", "u3"),
    items: Sequence[str] = ("i1", "i2", "i3", "i4"),
    channels: Sequence[str] = ("app", "web"),
    rows: int = 30,
) -> list[tuple[str, ...]]:
    """Random rows with :data:`NAMES`, a second apart from ``100 * day`` on."""
    random = np.random.default_rng(day)
    return [
        (
            users[row % len(users)],
            items[row % len(items)],
            channels[row % len(channels)],
            f"{random.lognormal(3):.2f}",
            str(random.integers(0, 2)),
            str(100 * day + row),
        )
        for row in range(rows)
    ]


def write_day(path: Path, rows: Sequence[Sequence[str]], names: Sequence[str] = NAMES) -> str:
    """A CSV file of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    return str(path)
