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
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pandas as pd

BATCH_SIZE = 512
DATASET = "amazon_electronics_synth"
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


class Side:
    """A process that trains batches when told."""

    def __init__(self, side: str, model: str, vocabulary: str, threads: int) -> None:
        self.name = f"{side} {model}"
        self._batches = TURNS.get((vocabulary, side), 400)
        settings = {"config": DATASET, "train_batch_size": BATCH_SIZE}
        if vocabulary == "small":
            settings |= SMALL_SETTINGS
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training_side", side, model]
        command += [f"{DATASET}_small" if vocabulary == "small" else DATASET]
        self._process = subprocess.Popen(
            [*command, json.dumps(settings), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} stopped with status {self._process.wait()}")
        return line

    def speed(self) -> float:
        """Samples a second in the next turn."""
        assert self._process.stdin is not None
        print(self._batches, file=self._process.stdin, flush=True)
        return self._batches * BATCH_SIZE / float(self._answer())


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
    generate = ["-c", "import sys; from recbole_midpg.cli import main; sys.exit(main())"]
    if not Path("dataset", DATASET, f"{DATASET}.inter").is_file():
        subprocess.run([sys.executable, *generate, "generate", DATASET], check=True)
    if options.vocabulary == "small":
        write_rows_without_users(Path("dataset"))

    comparisons = COMPARISONS[options.vocabulary]
    names = [("ours", ours) for ours, _, _ in comparisons]
    names += dict.fromkeys(("stock", stock) for _, stock, _ in comparisons)
    sides = {name: Side(*name, options.vocabulary, options.threads) for name in names}
    for side in sides.values():
        side.speed()  # the first turn warms up
    rounds = [{name: side.speed() for name, side in sides.items()} for _ in range(options.rounds)]

    print(f"samples a second, least / median / most of {options.rounds} rounds")
    for name, side in sides.items():
        print(f"  {side.name:16} {_spread([turn[name] for turn in rounds], ',.0f')}")
    print("ratios, round by round")
    for ours, stock, target in comparisons:
        ratios = [turn["ours", ours] / turn["stock", stock] for turn in rounds]
        wanted = "" if target is None else f"   target {target:g}"
        print(f"  {ours:8} / stock {stock:8} {_spread(ratios, '.2f')}{wanted}")


def _spread(values: list[float], form: str) -> str:
    return " / ".join(f"{x:{form}}" for x in (min(values), median(values), max(values)))


if __name__ == "__main__":
    main()
