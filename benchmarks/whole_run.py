"""Wall time of a whole run, from the command to the test metrics, beside stock RecBole's.

    python -m benchmarks.whole_run [--runs 1] [--epochs 1] [--device cpu|cuda] [--rows 1292954]

Ours is MIDPG with a warm dataset cache, theirs WideDeep, both by one command each on
``amazon_electronics_synth`` (1,292,954 rows, 1,157,633 users) in ``dataset/``, at the paper's batch
size of 512. Runs take turns; a first run of ours, not counted, fills the cache. On a GPU ours
trains by graphs, with its rows there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Any

from benchmarks.device import add_device_option, device_settings, require_device
from benchmarks.training_side import DATASET, folder_of, require_rows, spread

TARGET_RATIO = 10.0
TARGET_SECONDS_ON_GPU = 12.0


def seconds_of(module: str, model: str, settings: dict[str, Any]) -> float:
    """Run a command to its end, and say what it printed last."""
    command = [sys.executable, "-W", "ignore", "-m", module, f"--model={model}"]
    command += [f"--dataset={DATASET}", "--show_progress=False"]
    command += [f"--{key}={value}" for key, value in settings.items()]
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
    parser.add_argument("--rows", type=int, help="fewer than the published size, to try the script")
    add_device_option(parser, default="cpu")
    options = parser.parse_args()
    print(require_device(parser, options.device))
    folder = folder_of(options.rows)
    require_rows(folder, options.rows)
    common = {"epochs": options.epochs, "train_batch_size": 512, "data_path": folder}
    ours_settings = {**common, **device_settings(options.device)}
    stock_settings = {**common, **device_settings(options.device, on_gpu={})}
    seconds_of("recbole_midpg", "MIDPG", ours_settings)
    taken, ratios = [], []
    for _ in range(options.runs):
        ours = seconds_of("recbole_midpg", "MIDPG", ours_settings)
        stock = seconds_of("benchmarks.stock_recbole", "WideDeep", stock_settings)
        taken.append(ours)
        ratios.append(stock / ours)
    print(f"stock / ours: {spread(ratios, '.1f')}   target {TARGET_RATIO:g}")
    if options.device == "cuda":
        print(f"ours: {spread(taken, '.1f')} s   target {TARGET_SECONDS_ON_GPU:g} or less")


if __name__ == "__main__":
    main()
