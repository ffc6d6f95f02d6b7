"""What ``numeric`` gains on numbers with a heavy tail, some of them missing.

    python -m benchmarks.number_scaling [--rows 40000] [--seeds 3] [--models DNN DeepFM]

Rows of a shop whose true click probability depends on the logarithm of a price (log-normal, from a
few cents to many thousands), on a distance with the best value in the middle, and on whether the
price is missing (15 % of rows). Each way of scaling both numbers trains the same models on the same
splits; AUC and LogLoss are of the test split, the mean and the standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

WAYS: dict[str, dict[str, Any]] = {
    "none": {"numerical_scaling": "none"},
    "numerical_scaling: standard": {},
    "numeric: standard": {"numeric": {"price": "standard", "distance": "standard"}},
    "numeric: log": {"numeric": {"price": "log", "distance": "log"}},
    "numeric: quantile": {"numeric": {"price": "quantile", "distance": "quantile"}},
}
SETTINGS = {
    "load_col": None,
    "numerical_features": ["price", "distance"],
    "scenario_fields": ["channel"],
    "unembedded_fields": ["user_id"],
    "embedding_size": 8,
    "mlp_hidden_size": [32, 16],
    "train_batch_size": 512,
    "learning_rate": 0.003,
    "epochs": 8,
    "stopping_step": 2,
    "show_progress": False,
    "gpu_id": "",
    "dataset_cache": False,
}


def write_shop(folder: Path, rows: int) -> float:
    """Write the shop's rows; returns the AUC of their true probabilities."""
    from recbole_midpg.evaluation.binary_metrics import auc  # noqa: PLC0415 - imports torch

    random = np.random.default_rng(0)
    items = random.integers(0, 200, rows)
    channels = random.integers(0, 3, rows)
    price, distance = random.lognormal(3, 2, rows), random.lognormal(1, 1, rows)
    is_missing = random.random(rows) < 0.15
    of_price = np.where(is_missing, 1.0, -0.5 * (np.log(price) - 3))
    of_distance = 1 - 1.2 * np.abs(np.log(distance) - 1)
    logits = of_price + of_distance + random.normal(0, 0.5, 200)[items] - 0.3 * channels
    probabilities = 1 / (1 + np.exp(-logits))
    labels = (random.random(rows) < probabilities).astype(int)
    lines = [
        "user_id:token\titem_id:token\tchannel:token\tprice:float\tdistance:float\tlabel:float"
    ]
    for row in range(rows):
        said = "" if is_missing[row] else f"{price[row]:.2f}"
        lines.append(
            f"u{row % 997}\ti{items[row]}\tc{channels[row]}\t{said}\t{distance[row]:.3f}"
            f"\t{labels[row]}"
        )
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "shop.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return auc(labels, probabilities)


def results_of(folder: Path, model: str, seed: int, values: dict[str, Any]) -> tuple[float, float]:
    """Train and test once; AUC and LogLoss."""
    from recbole_midpg.integration.config.config import build_config  # noqa: PLC0415
    from recbole_midpg.integration.run.run import Run  # noqa: PLC0415

    place = {"data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "seed": seed}
    run = Run.prepare(build_config(model, "shop", values={**SETTINGS, **place, **values}))
    run.train(saved=True, verbose=False)
    run.test(saved=True)
    return run.test_results["auc"], run.test_results["logloss"]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["DNN", "DeepFM"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"best possible AUC {write_shop(folder, options.rows):.4f}", flush=True)
        print("| model | numbers | AUC | LogLoss |\n|---|---|---|---|")
        for model in options.models:
            for way, values in WAYS.items():
                found = [
                    results_of(folder, model, 2026 + seed, values) for seed in range(options.seeds)
                ]
                means, spreads = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
                cells = (f"{m:.4f} ± {s:.4f}" for m, s in zip(means, spreads, strict=True))
                print(f"| {model} | {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
