"""Whether Adam by the row reaches dense Adam's AUC, epoch by epoch.

    python -m benchmarks.same_auc [--model DNN] [--epochs 3] [--batch-size 512] [--rows 200000]

Trains three times with the same seed on ``amazon_electronics_synth``: by the row, by torch's fused
Adam, and by torch's Adam as a plain loop, which differs from that in rounding alone. Prints
the validation AUC after each epoch and the seconds of training.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

import recbole_midpg  # noqa: F401 - registers models, loaders and optimizers

DATASET = "amazon_electronics_synth"


def aucs(
    model: str, rows: int | None, epochs: int, batch_size: int, kind: str
) -> tuple[list[float], float]:
    """Train and give the AUC of each epoch and the seconds of all epochs."""
    settings = {
        "sparse_updates": "on" if kind == "by the row" else "off",
        "synthetic_rows": rows,
        "train_batch_size": batch_size,
        "epochs": epochs,
        "show_progress": False,
        "metric_decimal_place": 7,
    }
    config = Config(model=model, dataset=DATASET, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    recommender = get_model(model)(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, recommender)
    if kind == "dense, loop":
        trainer.optimizer = torch.optim.Adam(
            recommender.parameters(), lr=config["learning_rate"], foreach=False, fused=False
        )
    found: list[float] = []
    start = time.perf_counter()
    trainer.fit(
        train_data,
        valid_data,
        verbose=False,
        saved=False,
        callback_fn=lambda _epoch, score: found.append(score),
    )
    return found, time.perf_counter() - start


def main() -> None:
    """Train all and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="DNN")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rows", type=int, help="of the generated set; the published number")
    options = parser.parse_args()
    sys.argv[1:] = []
    print(f"{options.model}, batches of {options.batch_size}: AUC after each epoch, seconds")
    for kind in ("by the row", "dense, fused", "dense, loop"):
        found, seconds = aucs(options.model, options.rows, options.epochs, options.batch_size, kind)
        print(f"{kind:14}", *(f"{auc:.6f}" for auc in found), f"{seconds:8.0f} s", flush=True)


if __name__ == "__main__":
    main()
