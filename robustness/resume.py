"""A run that is cut off and resumed, beside one that is left alone: RecBole's way and ours.

    python -m robustness.resume [--seeds 5] [--epochs 8] [--cut 5] [--learning-rate 0.001]
                                [--built-in DeepFM] [--own MIDPG]

Each seed has three pairs on ml-100k, which RecBole ships: the built-in model by stock RecBole, by
ours, and our own model by ours. Of a pair, one run is left alone, the other gets a SIGKILL when
so many epochs are complete, and is resumed in a new process: by ``trainer.resume_checkpoint`` of
the checkpoint that it has left, or by the same command with ``--resume``. Ours updates tables by
the row, which has a state of its own; stock RecBole has no such thing. Dropout is on everywhere.

Weights are those that the run keeps and tests, and those after its last epoch. A difference is
the resumed run minus the one left alone. The exit status is 0 where ours have none.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

import torch
from tabulate import tabulate

from robustness.kill import Command
from robustness.resume_side import RESULT

FIRST_SEED = 2020
METRICS = [(part, metric) for part in ("valid", "test") for metric in ("auc", "logloss")]


class Pair:
    """A run that was left alone, and the same run cut off and resumed.

    Args:
        side: ``stock`` or ``ours``.
        words: the run's command line.
        cut: how many epochs are complete when it is killed.
        folder: a new folder.
    """

    def __init__(self, side: str, words: list[str], cut: int, folder: Path) -> None:
        whole, killed = folder / "whole", folder / "killed"
        for place in (whole, killed):
            place.mkdir(parents=True)
        run(side, words, whole)
        if not run(side, words, killed, cut=cut):
            raise SystemExit(f"{folder}: the run ended before epoch {cut}, expected an earlier cut")
        if side == "stock":
            (checkpoint,) = (killed / "saved").glob("*.pth")
            run(side, words, killed, checkpoint=str(checkpoint))
        else:
            run(side, [*words, "--resume"], killed)
        self.cut = cut
        self.whole, self.resumed = (
            torch.load(place / RESULT, weights_only=True) for place in (whole, killed)
        )

    def weight_difference(self, which: str) -> float:
        """The largest difference of a weight; 0 only where all are alike, bit for bit."""
        left, right = self.resumed[which], self.whole[which]
        if all(torch.equal(left[name], right[name]) for name in right):
            return 0.0
        return max(float((left[name] - right[name]).abs().max()) for name in right)

    @property
    def other_losses(self) -> set[int]:
        """The epochs whose training loss is another one, or is not known any more."""
        left, right = self.resumed["loss"], self.whole["loss"]
        return {epoch for epoch in {*left, *right} if left.get(epoch) != right.get(epoch)}

    @property
    def forgotten_losses(self) -> set[int]:
        """The epochs whose training loss the resumed run does not know."""
        return set(range(self.resumed["first epoch"])) - set(self.resumed["loss"])

    @property
    def begins_with_the_first_order(self) -> bool:
        """Whether the first epoch after the cut has the rows in the order of epoch 0."""
        order = self.resumed["order"][self.resumed["first epoch"]]
        return bool(order == self.whole["order"][0])

    @property
    def epochs_again(self) -> int:
        """Complete epochs that were trained a second time."""
        return int(self.cut - self.resumed["first epoch"])

    @property
    def epochs_more(self) -> int:
        """Epochs after which the resumed run ended later than the one left alone."""
        return max(self.resumed["loss"]) - max(self.whole["loss"])

    def difference(self, part: str, metric: str) -> float:
        """The difference of a result of the model that is kept."""
        return float(self.resumed[part][metric] - self.whole[part][metric])

    @property
    def is_exact(self) -> bool:
        """Whether nothing at all differs."""
        return (
            not self.weight_difference("kept") + self.weight_difference("last")
            and not self.other_losses
            and self.resumed["validation"] == self.whole["validation"]
            and not any(self.difference(*metric) for metric in METRICS)
        )


def run(
    side: str,
    words: list[str],
    folder: Path,
    cut: int | None = None,
    checkpoint: str | None = None,
) -> bool:
    """Run a side in a process of its own; whether it was killed."""
    plan = json.dumps({"side": side, "cut": cut, "checkpoint": checkpoint})
    return Command(["-m", "robustness.resume_side", plan, *words], folder).run()


def mean_and_sd(values: Sequence[float], form: str = "+.5f") -> str:
    """The mean, and the standard deviation where there are several values."""
    if not any(values):
        return "0"
    spread = f" ± {stdev(values):.5f}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{spread}"


def count(holds: Iterable[bool]) -> str:
    """In how many runs something holds."""
    found = list(holds)
    return f"{sum(found)} of {len(found)}"


def listed(epochs: Iterable[set[int]]) -> str:
    """The epochs of any run."""
    return ", ".join(map(str, sorted(set().union(*epochs)))) or "none"


def row(pairs: Sequence[Pair]) -> dict[str, str]:
    """What is printed of a side's pairs."""
    cells: dict[str, str] = {}
    for which in ("kept", "last"):
        differences = [pair.weight_difference(which) for pair in pairs]
        cells[f"{which} weights alike, bit for bit"] = count(not value for value in differences)
        cells[f"{which} weights, largest difference"] = f"{max(differences):.2g}"
    for part, metric in METRICS:
        values = [pair.difference(part, metric) for pair in pairs]
        cells[f"{part} {metric}, difference"] = mean_and_sd(values)
    scores = [pair.whole["test"]["auc"] for pair in pairs]
    cells["test auc of the runs left alone"] = mean_and_sd(scores, ".5f")
    cells["epochs whose loss is another or lost"] = listed(pair.other_losses for pair in pairs)
    cells["of them lost"] = listed(pair.forgotten_losses for pair in pairs)
    cells["complete epochs trained again"] = " ".join(str(pair.epochs_again) for pair in pairs)
    cells["ends so many epochs later"] = " ".join(str(pair.epochs_more) for pair in pairs)
    cells["goes on with epoch 0's order of rows"] = count(
        pair.begins_with_the_first_order for pair in pairs
    )
    cells["validation results lost"] = count(pair.resumed["validation"] is None for pair in pairs)
    return cells


def main() -> int:
    """Run all pairs and print a table; whether ours are exact."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--cut", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--stopping-step", type=int, default=10)
    parser.add_argument("--built-in", default="DeepFM")
    parser.add_argument("--own", default="MIDPG")
    options = parser.parse_args()
    common = ["--dataset=ml-100k", f"--epochs={options.epochs}", "--show_progress=False"]
    common += [f"--learning_rate={options.learning_rate}", "--dropout_prob=0.2"]
    common += [f"--stopping_step={options.stopping_step}", "--metric_decimal_place=7"]
    sides = {
        f"stock {options.built_in}": ("stock", [f"--model={options.built_in}"]),
        f"our {options.built_in}": ("ours", [f"--model={options.built_in}", "--sparse_updates=on"]),
        f"our {options.own}": ("ours", [f"--model={options.own}", "--sparse_updates=on"]),
    }
    pairs: dict[str, list[Pair]] = {name: [] for name in sides}
    for number in range(options.seeds):
        seed = FIRST_SEED + number
        for name, (side, words) in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                words_of_run = [*words, *common, f"--seed={seed}"]
                pair = Pair(side, words_of_run, options.cut, Path(folder, "runs"))
            pairs[name].append(pair)
            print(f"seed {seed}, {name}: {'exact' if pair.is_exact else 'differs'}", flush=True)
    rows = {name: row(of_side) for name, of_side in pairs.items()}
    lines = zip(*(cells.values() for cells in rows.values()), strict=True)
    names = next(iter(rows.values()))
    table = [[name, *line] for name, line in zip(names, lines, strict=True)]
    print(tabulate(table, headers=["", *rows], tablefmt="github", disable_numparse=True))
    ours = [pair for name, of_side in pairs.items() if sides[name][0] == "ours" for pair in of_side]
    return 0 if all(pair.is_exact for pair in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
