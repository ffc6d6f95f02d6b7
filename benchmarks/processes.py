"""Time an epoch in 1, 2 and 4 processes, and compare what comes out.

    python -m benchmarks.processes [--models DNN MIDPG] [--batches 512 8192] [--processes 1 2 4]
                                   [--rows 1292954] [--rounds 3]

Each run is ``run_recbole --nproc`` on generated Amazon rows, in turn, so that what else the machine
does falls on all. The time is that of an epoch's training alone, without the first one's warm-up.
On a machine with fewer cores than processes more of them cannot be faster: see the number of cores
that is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_midpg.integration.run.processes import free_port

DATASET = "amazon_electronics_synth"
EPOCHS = 3


def report_of(folder: Path, model: str, batch: int, processes: int, rows: int) -> dict[str, Any]:
    """Run once, and read the report."""
    words = [sys.executable, "-W", "ignore", "-m", "recbole_midpg"]
    words += [f"--model={model}", f"--dataset={DATASET}", f"--synthetic_rows={rows}"]
    words += [f"--train_batch_size={batch}", "--eval_batch_size=8192", f"--epochs={EPOCHS}"]
    words += ["--stopping_step=100", "--show_progress=False"]
    if processes > 1:
        words += [f"--nproc={processes}", f"--port={free_port()}"]
    known = set(folder.glob("saved/*.json"))
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (report,) = set(folder.glob("saved/*.json")) - known
    return dict(json.loads(report.read_text(encoding="utf-8")))


def main() -> None:
    """Run all, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["DNN", "MIDPG"])
    parser.add_argument("--batches", nargs="+", type=int, default=[512, 8192])
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--rows", type=int, default=1_292_954)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cases = [
        (model, batch, processes)
        for model in options.models
        for batch in options.batches
        for processes in options.processes
    ]
    seconds: dict[Any, list[float]] = {case: [] for case in cases}
    results: dict[Any, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(options.rounds):
            for case in cases:
                report = report_of(Path(name), *case, options.rows)
                seconds[case] += [epoch["training_seconds"] for epoch in report["epochs"][1:]]
                results[case] = {**report["test"], "peak": report["peak_memory_mib"]}
                print(case, seconds[case], flush=True)
    lines = []
    for model, batch, processes in cases:
        case = (model, batch, processes)
        times = sorted(seconds[case])
        median = times[len(times) // 2]
        alone = sorted(seconds.get((model, batch, 1), times))
        result = results[case]
        lines.append(
            [
                *case,
                f"{times[0]:.1f} / {median:.1f} / {times[-1]:.1f}",
                f"{alone[len(alone) // 2] / median:.2f}",
                f"{result['auc']:.4f}",
                f"{result['logloss']:.4f}",
                f"{result['peak']:.0f}",
            ]
        )
    heads = ["model", "batch", "processes", "s an epoch (min / median / max)", "times as fast"]
    heads += ["test AUC", "LogLoss", "MiB of rank 0"]
    print(f"{os.cpu_count()} cores")
    print(tabulate(lines, headers=heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
