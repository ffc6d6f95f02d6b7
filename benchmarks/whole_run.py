"""Wall time of a whole run, from the command to the test metrics, beside stock RecBole's.

    python -m benchmarks.whole_run [--runs 1] [--epochs 1]

Ours is MIDPG with a warm dataset cache, theirs WideDeep, both by one command each on
``amazon_electronics_synth`` (1,292,954 rows, 1,157,633 users) in ``dataset/``. Runs take turns; a
first run of ours, not counted, fills the cache.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

DATASET = "amazon_electronics_synth"


def seconds_of(module: str, model: str, epochs: int) -> float:
    """Run a command to its end, and say what it printed last."""
    command = [sys.executable, "-W", "ignore", "-m", module, f"--model={model}"]
    command += [f"--dataset={DATASET}", f"--epochs={epochs}", "--show_progress=False"]
    start = time.perf_counter()
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    lines = (run.stdout + run.stderr).strip().splitlines()
    if run.returncode:
        raise SystemExit("\n".join(lines[-20:]))
    result = next(line for line in reversed(lines) if "test result" in line)
    print(f"{module:28} {model:10} {seconds:8.1f} s   {result.split('INFO')[-1].strip()}")
    return seconds


def main() -> None:
    """Let both take turns and print seconds and the ratio of each turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    seconds_of("recbole_midpg", "MIDPG", options.epochs)
    ratios = []
    for _ in range(options.runs):
        ours = seconds_of("recbole_midpg", "MIDPG", options.epochs)
        stock = seconds_of("benchmarks.stock_recbole", "WideDeep", options.epochs)
        ratios.append(stock / ours)
    print(f"stock / ours: {min(ratios):.1f} / {median(ratios):.1f} / {max(ratios):.1f}   target 10")


if __name__ == "__main__":
    main()
