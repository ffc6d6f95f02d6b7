"""A training step on a GPU, as a multiple of stock RecBole's on the same card.

    python -m benchmarks.gpu_training [--models DNN MIDPG ...] [--batch_sizes 512 8192 65536]
                                      [--rounds 5] [--rows 1292954] [--device cuda]
                                      [--settings triton_kernels=True ...]

One table: stock RecBole's WideDeep, DeepFM and DCNV2, and through this package all its models and
those three, as graphs (``cuda_graph``, ``data_on_device``) and without. Each has a process of its
own, which loads the data once; the processes take turns, and only one of them works at a time. A
step is all that a trainer does for a batch, the loader and the optimizer included. A turn with a
graph is an epoch, which is captured in the turn before the first that counts; a turn of the others
is about a second's work. The rows are those of ``amazon_electronics_synth`` in the published size
(1.16 million users), generated into ``dataset/`` where they are missing, or ``--rows`` of them.

A ratio is taken round by round, of samples a second: to stock WideDeep's, or for RecBole's models
to their own without this package. ``--device cpu`` tries the script where there is no GPU. What
else is measured on a GPU: ``benchmarks.whole_run`` (from the command to the test metrics),
``benchmarks.scale`` (108,649,408 rows) and ``benchmarks.evaluation``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tabulate import tabulate

from benchmarks.device import (
    ON_GPU,
    WITHOUT,
    add_device_option,
    device_settings,
    require_device,
)
from benchmarks.training_side import (
    DATASET,
    EPOCH,
    Side,
    SideStoppedError,
    Turn,
    folder_of,
    require_rows,
    spread,
)
from recbole_midpg.common.arguments import parse_value
from recbole_midpg.integration.models.registry import own_models

OWN = tuple(own_models())
STOCK = ("WideDeep", "DeepFM", "DCNV2")
REFERENCE = "WideDeep"
# How many times as fast as the reference, by batch size; nothing is to be slower than stock.
TARGETS = {
    512: {
        "DNN": 12.0,
        **dict.fromkeys(("MIDPG", "DPG", "PEPNet", "APG", "AdaSparse"), 8.0),
        **dict.fromkeys(("STAR", "PLE", *STOCK), 5.0),
    },
    8192: {"DNN": 30.0, "MIDPG": 12.0},
    65536: {"MIDPG": 15.0},
}
NOT_SLOWER = 1.0
PROBE_BATCHES = 3
TURN_SECONDS = 0.7
HEADS = ["batch", "", "ms a step", "samples/s", "times", "of stock", "target", "met"]


class Case(NamedTuple):
    """A row of the table at one batch size."""

    side: str
    model: str
    graph: bool

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.side} {self.model}{', graph' if self.graph else ''}"

    @property
    def reference(self) -> Case:
        """What it is compared with."""
        return Case("stock", self.model if self.model in STOCK else REFERENCE, False)

    def target(self, batch_size: int) -> float | None:
        """How many times the reference's speed it is to have."""
        if self.side == "stock":
            return None
        wanted = TARGETS.get(batch_size, {}) if self.graph else {}
        return wanted.get(self.model, NOT_SLOWER)


def cases_of(models: Sequence[str], device: str) -> list[Case]:
    """All rows of the table, stock's first."""
    stock = dict.fromkeys(Case("ours", model, False).reference for model in models)
    with_graphs = (False, True) if device == "cuda" else (False,)
    ours = [Case("ours", model, graph) for model in models for graph in with_graphs]
    return [*stock, *ours]


def settings_of(
    case: Case, folder: Path, batch_size: int, device: str, ours: Sequence[str] = ()
) -> dict[str, Any]:
    """The config values of a row; ``ours`` are further ones, KEY=VALUE, of this package's rows."""
    settings = {"config": DATASET, "data_path": str(folder), "train_batch_size": batch_size}
    if case.side == "stock":
        return {**settings, **device_settings(device, {})}
    texts = dict(setting.split("=", 1) for setting in ours)
    given = {key: parse_value(text) for key, text in texts.items()}
    return {**settings, **device_settings(device, ON_GPU if case.graph else WITHOUT), **given}


def turn_of(case: Case, side: Side) -> int:
    """Warm up, and say how many batches make a turn."""
    if case.graph:
        side.train(EPOCH)
        return EPOCH
    side.train(PROBE_BATCHES)
    seconds = side.train(PROBE_BATCHES).milliseconds / 1e3
    return max(PROBE_BATCHES, round(TURN_SECONDS / seconds))


def measure(sides: dict[Case, Side], rounds: int) -> dict[Case, list[Turn]]:
    """Let all take turns, and end them; a side that stops has no turns."""
    turns: dict[Case, int] = {}
    taken: dict[Case, list[Turn]] = {case: [] for case in sides}

    def warm_up(case: Case) -> None:
        sides[case].wait_until_ready()
        turns[case] = turn_of(case, sides[case])

    def take_turn(case: Case) -> None:
        taken[case].append(sides[case].train(turns[case]))

    going = list(sides)
    for action in (warm_up, *[take_turn] * rounds):
        for case in list(going):
            try:
                action(case)
            except SideStoppedError as stop:
                print(stop, file=sys.stderr)
                going.remove(case)
                taken[case].clear()
    for case in going:
        sides[case].end()
    return taken


def lines_of(taken: dict[Case, list[Turn]], batch_size: int) -> list[list[str]]:
    """The table's lines of a batch size."""
    lines = []
    for case, turns in taken.items():
        if not turns:
            lines.append([f"{batch_size:,}", case.name, "stopped"])
            continue
        milliseconds = [turn.milliseconds for turn in turns]
        speeds = [turn.speed for turn in turns]
        line = [f"{batch_size:,}", case.name, spread(milliseconds, ".2f"), spread(speeds, ",.0f")]
        target, others = case.target(batch_size), taken[case.reference]
        if target is not None and others:
            ratios = [own.speed / other.speed for own, other in zip(turns, others, strict=True)]
            line += [spread(ratios, ".2f"), case.reference.model, f"{target:g}"]
            line += ["yes" if median(ratios) >= target else "**no**"]
        lines.append(line)
    return lines


def main() -> None:
    """Print the table, the part of each batch size as soon as it is done."""
    parser = argparse.ArgumentParser(
        prog="gpu_training", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--models", nargs="+", choices=OWN + STOCK, default=OWN + STOCK)
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="fewer than the published size, to try the script")
    parser.add_argument(
        "--settings", nargs="+", default=(), metavar="KEY=VALUE", help="of all rows but stock's"
    )
    parser.add_argument("--threads", type=int, default=2, help="of each process, on the CPU")
    add_device_option(parser)
    options = parser.parse_args()
    name = require_device(parser, options.device)
    folder = folder_of(options.rows)
    require_rows(folder, options.rows)
    cases = cases_of(options.models, options.device)
    print(f"{name}\nleast / median / most of {options.rounds} rounds")
    for batch_size in options.batch_sizes:
        sides = {
            case: Side(
                case.side,
                case.model,
                DATASET,
                settings_of(case, folder, batch_size, options.device, options.settings),
                options.threads,
            )
            for case in cases
        }
        lines = lines_of(measure(sides, options.rounds), batch_size)
        print(tabulate(lines, headers=HEADS, tablefmt="github", disable_numparse=True), flush=True)


if __name__ == "__main__":
    main()
