"""Samples trained in a second, as a multiple of stock RecBole's.

    python -m benchmarks.training_speed [--vocabulary full|small] [--rounds 10] [--threads 2]

Each model has a process of its own, which loads the data once; the processes take turns, some
batches each, and only one of them works at a time. A step is all that RecBole's trainer does for a
batch, the loader included. With ``full`` the rows are those of ``amazon_electronics_synth`` in the
published size (1.16 million users), which is generated into ``dataset/`` where it is missing; with
``small`` the same rows without the user, in one file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.training_side import DATASET, Side, require_rows, spread

BATCH_SIZE = 512
# Batches of a turn: about a second's work.
TURNS = {("full", "stock"): 16, ("full", "ours"): 400, ("small", "stock"): 300}
COMPARISONS = {
    "full": [
        ("DNN", "WideDeep", 40.0),
        ("MIDPG", "WideDeep", 20.0),
        ("DeepFM", "DeepFM", 20.0),
        ("WideDeep", "WideDeep", None),
    ],
    "small": [("DNN", "WideDeep", 1.8), ("DPG", "WideDeep", None), ("MIDPG", "WideDeep", None)],
}


SMALL_SETTINGS = {
    "USER_ID_FIELD": None,
    "ITEM_ID_FIELD": None,
    "threshold": {"rating": 4},
    "load_col": None,
}


def write_rows_without_users(folder: Path) -> None:
    """Write the generated rows and their items' and users' attributes into one file."""
    source, name = folder / DATASET, f"{DATASET}_small"
    target = folder / name / f"{name}.inter"
    if target.is_file():
        return
    rows = pd.read_csv(source / f"{DATASET}.inter", sep="\t", dtype=str)
    for kind in ("item", "user"):
        attributes = pd.read_csv(source / f"{DATASET}.{kind}", sep="\t", dtype=str)
        rows = rows.merge(attributes, on=f"{kind}_id:token", how="left")
    target.parent.mkdir(parents=True, exist_ok=True)
    rows.drop(columns="user_id:token").to_csv(target, sep="\t", index=False)


def main() -> None:
    """Let all sides take turns and print each one's speed and its ratio to the other side's."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocabulary", choices=COMPARISONS, default="full")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    require_rows(Path("dataset"))
    settings = {"config": DATASET, "train_batch_size": BATCH_SIZE, "gpu_id": ""}
    dataset = DATASET
    if options.vocabulary == "small":
        settings, dataset = {**settings, **SMALL_SETTINGS}, f"{DATASET}_small"
        write_rows_without_users(Path("dataset"))

    comparisons = COMPARISONS[options.vocabulary]
    names = [("ours", ours) for ours, _, _ in comparisons]
    names += dict.fromkeys(("stock", stock) for _, stock, _ in comparisons)
    batches = {name: TURNS.get((options.vocabulary, name[0]), 400) for name in names}
    sides = {}
    for name in names:
        sides[name] = Side(*name, dataset, settings, options.threads)
        sides[name].wait_until_ready()
    for name, side in sides.items():
        side.train(batches[name])  # the first turn warms up
    rounds = [
        {name: side.train(batches[name]).speed for name, side in sides.items()}
        for _ in range(options.rounds)
    ]

    print(f"samples a second, least / median / most of {options.rounds} rounds")
    for name, side in sides.items():
        print(f"  {side.name:16} {spread([turn[name] for turn in rounds], ',.0f')}")
    print("ratios, round by round")
    for ours, stock, target in comparisons:
        ratios = [turn["ours", ours] / turn["stock", stock] for turn in rounds]
        wanted = "" if target is None else f"   target {target:g}"
        print(f"  {ours:8} / stock {stock:8} {spread(ratios, '.2f')}{wanted}")


if __name__ == "__main__":
    main()
