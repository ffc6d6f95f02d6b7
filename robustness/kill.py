"""Kill commands at random moments until they have ended, and compare with undisturbed ones.

    python -m robustness.kill [--kills 50] [--model MIDPG] [--epochs 8] [--seed 0] [--nproc 1]

A third of the kills hit ``recbole-midpg prepare`` of a generated raw file, the others ``run_recbole
--resume=auto`` on its files with the dataset cache on: loading, cache writing, training,
validation, checkpoints, progress files, test, report. A kill is a SIGKILL at a random moment of
the time that a whole command takes, but for its first part, in which Python imports; one that ends
before is begun anew from nothing, so that each kill counts. At the end the last command is left
alone. Its atomic files, its weights, its metrics and its history must be those of the undisturbed
command, bit for bit, and no leftover of a killed one may lie beside them. The exit status is 0
where that holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.stock_recbole import ROOT
from recbole_midpg.integration.run.processes import free_port

NAME = "amazon_electronics"
GENERATED = "amazon_electronics_synth"
IMPORTS = 0.4
COMMAND = "import sys; from recbole_midpg.cli import main; sys.exit(main())"


class Command:
    """A command in a folder of its own, with a cache of its own.

    Args:
        words: what to run.
        folder: where.
    """

    def __init__(self, words: list[str], folder: Path) -> None:
        self.words = [sys.executable, "-W", "ignore", *words]
        self.folder = folder
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, seconds: float | None = None) -> bool:
        """Run it, killing it after some seconds; whether it was killed, by itself perhaps."""
        log = self.folder / "command.log"
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                self.words, cwd=self.folder, env=self.environment, stdout=file, stderr=file
            )
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return True
        if status == -signal.SIGKILL:
            return True
        if status:
            raise SystemExit(f"status {status}:\n{log.read_text(encoding='utf-8')[-3000:]}")
        return False


def files_of(folder: Path) -> dict[str, str]:
    """What lies in a folder: the SHA-256 of each file, but for the manifest, which holds a time."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file() and "manifest" not in path.name
        else ""
        for path in folder.iterdir()
    }


def outcome(saved: Path) -> dict[str, Any]:
    """A finished run's weights, metrics and history, without times; and what it should not leave.

    A command that was killed after its run was complete is followed by another run: the newest.
    """
    report_file = max(saved.glob("*.json"), key=lambda path: path.stat().st_mtime)
    checkpoint_file = report_file.with_suffix(".pth")
    report = json.loads(report_file.read_text(encoding="utf-8"))
    weights = torch.load(checkpoint_file, weights_only=True)
    digest = hashlib.sha256()
    for name, value in weights["state_dict"].items():
        digest.update(name.encode() + value.numpy().tobytes())
    for entry in weights["optimizer"]["state"].values():
        for value in entry.values():
            digest.update(torch.as_tensor(value).numpy().tobytes())
    return {
        "weights and optimizer": digest.hexdigest(),
        "best epoch": weights["epoch"],
        "history": [{**epoch, "training_seconds": 0} for epoch in report["epochs"]],
        "metrics": [report["valid"], report["test"], report["scenarios"]],
        "leftovers": [
            path.name for path in saved.iterdir() if path.suffix in (".run", ".progress")
        ],
    }


def seconds_of(command: Command) -> float:
    """How long a command takes."""
    start = time.perf_counter()
    command.run()
    return time.perf_counter() - start


def disturbed(
    command: Command, begin_anew: Callable[[], None], kills: int, whole_seconds: float
) -> None:
    """Kill a command so often, then let it end."""
    done = 0
    while done < kills:
        start = time.perf_counter()
        if not command.run(whole_seconds * random.uniform(IMPORTS, 1)):
            # The machine's other work comes and goes.
            whole_seconds = time.perf_counter() - start
            begin_anew()
            continue
        done += 1
        print(f"  kill {done} of {kills}", end="\r", flush=True)
    command.run()
    print()


def conversion(raw: Path, work: Path, kills: int) -> bool:
    """Disturb a conversion; whether its files are right."""
    words = ["-c", COMMAND, "prepare", NAME, "--raw", str(raw), "--output", "dataset"]
    whole, killed = work / "whole", work / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    seconds = seconds_of(Command(words, whole))
    disturbed(Command(words, killed), lambda: shutil.rmtree(killed / "dataset"), kills, seconds)
    expected, found = (files_of(folder / "dataset" / NAME) for folder in (whole, killed))
    return print_result(f"conversion, {kills} kills", found == expected)


def training(words: list[str], work: Path, kills: int) -> bool:
    """Disturb a run; whether it ends as the undisturbed one."""
    whole, killed = work / "whole", work / "killed"
    seconds = seconds_of(Command(words, whole))
    expected = outcome(whole / "saved")

    def begin_anew() -> None:
        if not check(outcome(killed / "saved"), expected):
            raise SystemExit("a run that was killed did not end as the undisturbed one")
        for folder in ("saved", "cache"):
            shutil.rmtree(killed / folder, ignore_errors=True)

    disturbed(Command([*words, "--resume=auto"], killed), begin_anew, kills, seconds)
    return print_result(f"training, {kills} kills", check(outcome(killed / "saved"), expected))


def check(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Compare two runs, and name what differs."""
    for name, value in expected.items():
        if found[name] != value:
            print(f"  {name} differ: {found[name]} instead of {value}")
    return found == expected


def print_result(what: str, right: bool) -> bool:
    """Print whether something ended as it should have."""
    print(f"{what}: {'as undisturbed, bit for bit' if right else 'NOT AS UNDISTURBED'}")
    return right


def main() -> int:
    """Disturb both, and say whether nothing came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--model", default="MIDPG")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nproc", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows = ["--rows", str(options.rows)]
        Command(["-c", COMMAND, "generate", GENERATED, *rows, "--output", "made"], work).run()
        (raw,) = (work / "made" / GENERATED / "raw").iterdir()
        kills_of_conversion = options.kills // 3
        right = conversion(raw, work, kills_of_conversion)
        words = ["-m", "recbole_midpg", f"--model={options.model}", f"--dataset={NAME}"]
        words += [f"--epochs={options.epochs}", "--stopping_step=2", "--learning_rate=0.01"]
        words += ["--show_progress=False", "--dropout_prob=0.1", "--sparse_updates=on"]
        if options.nproc > 1:
            words += [f"--nproc={options.nproc}", f"--port={free_port()}"]
        right &= training(words, work, options.kills - kills_of_conversion)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
