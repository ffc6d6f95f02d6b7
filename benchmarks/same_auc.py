"""Whether Adam by the row reaches dense Adam's AUC, epoch by epoch.

    python -m benchmarks.same_auc [--model DNN] [--epochs 3] [--dataset amazon_electronics_synth]

Trains twice with the same seed, with ``sparse_updates`` off and on, and prints the validation AUC
after each epoch, unrounded, and the seconds of training.
"""

from __future__ import annotations

import argparse
import sys
import time

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

import recbole_midpg  # noqa: F401 - registers models, loaders and optimizers


def aucs(model: str, dataset: str, epochs: int, sparse_updates: str) -> tuple[list[float], float]:
    """Train and give the AUC of each epoch and the seconds of all epochs."""
    settings = {
        "sparse_updates": sparse_updates,
        "epochs": epochs,
        "show_progress": False,
        "metric_decimal_place": 7,
    }
    config = Config(model=model, dataset=dataset, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    recommender = get_model(model)(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, recommender)
    found = []
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
    """Train both and print a row an epoch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="DNN")
    parser.add_argument("--dataset", default="amazon_electronics_synth")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    sys.argv[1:] = []
    by_row, row_seconds = aucs(options.model, options.dataset, options.epochs, "on")
    dense, dense_seconds = aucs(options.model, options.dataset, options.epochs, "off")
    print(
        f"{options.model} on {options.dataset}: {row_seconds:.0f} s by the row, "
        f"{dense_seconds:.0f} s dense"
    )
    for epoch, (ours, theirs) in enumerate(zip(by_row, dense, strict=True), start=1):
        print(f"epoch {epoch}: {ours:.6f} by the row, {theirs:.6f} dense, {ours - theirs:+.6f}")


if __name__ == "__main__":
    main()
