"""Time and peak memory of converting an Amazon-shaped raw file.

Run as ``python benchmarks/convert_amazon.py [--rows 1292954] [--runs 3] [--gzip]``. Each run is a
process of its own; its peak memory includes that of Python and the imported package, which is also
printed alone. The raw file has the published shape: as many users per row, 9,560 items, ten
categories, brand and user_attr missing as often.
"""

from __future__ import annotations

import argparse
import gzip
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from itertools import repeat
from pathlib import Path

import numpy as np

from recbole_midpg.atomic_data_scripts import CONVERTERS, prepare
from recbole_midpg.atomic_data_scripts.amazon_electronics import CATEGORIES

PUBLISHED = CONVERTERS["amazon_electronics"].published
FIRST_DAY, LAST_DAY = date(1999, 6, 13), date(2018, 10, 1)
HEADER = "item_id,user_id,rating,timestamp,model_attr,category,brand,year,user_attr,split\n"


def write_raw_file(path: Path, rows: int, packed: bool) -> None:
    """Write ``rows`` random rows in the raw file's format, in the order of their days."""
    random = np.random.default_rng(0)
    users = max(1, round(rows * PUBLISHED["users"] / PUBLISHED["rows"]))
    items = PUBLISHED["items"]
    item_texts = [
        f"{model},{category},{brand},{year}"
        for model, category, brand, year in zip(
            random.choice(["Female", "Female&Male", "Male"], items).tolist(),
            random.choice(list(CATEGORIES), items).tolist(),
            random.choice(["", *(f"Brand {n}" for n in range(80))], items, p=_mostly_first(81)),
            random.integers(1999, 2019, items).tolist(),
            strict=True,
        )
    ]
    user_texts = random.choice(["", "Female", "Male"], users, p=[0.886, 0.061, 0.053]).tolist()
    user_ids = np.concatenate([np.arange(users), random.integers(0, users, rows - users)])
    random.shuffle(user_ids)
    days = [str(FIRST_DAY + timedelta(days=day)) for day in range((LAST_DAY - FIRST_DAY).days + 1)]
    columns = zip(
        random.integers(0, items, rows).tolist(),
        user_ids.tolist(),
        random.choice([1, 2, 3, 4, 5], rows, p=[0.1, 0.05, 0.08, 0.2, 0.57]).tolist(),
        np.sort(random.integers(0, len(days), rows)).tolist(),
        random.integers(0, 3, rows).tolist(),
        strict=True,
    )
    with gzip.open(path, "wt") if packed else path.open("w") as file:
        file.write(HEADER)
        for item, user, rating, day, split in columns:
            file.write(
                f"{item},{user},{rating}.0,{days[day]},{item_texts[item]},{user_texts[user]},"
                f"{split}\n"
            )


def _mostly_first(choices: int, first: float = 0.744) -> list[float]:
    return [first, *repeat((1 - first) / (choices - 1), choices - 1)]


def convert_once(raw: str, output: str) -> None:
    """Convert in this process; print seconds, CPU seconds, peak memory in MB before and after."""
    before = _peak_megabytes()
    start, cpu_start = time.perf_counter(), time.process_time()
    prepare("amazon_electronics", raw, output, force=True)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    print(seconds, cpu_seconds, before, _peak_megabytes())


def _peak_megabytes() -> float:
    """The process's peak resident memory so far; the system counts in kilobytes, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Write the raw file, convert it some times, print minimum, median and maximum."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=PUBLISHED["rows"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gzip", action="store_true", help="convert a packed file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        # In a process of its own: a child's peak memory begins with its parent's.
        _run(["write", str(raw), str(options.rows), "gzip" if options.gzip else "plain"])
        print(f"{options.rows:,} rows, {raw.stat().st_size / 1e6:.0f} MB, {options.runs} runs")
        runs = [
            [float(number) for number in _run(["convert", str(raw), f"{folder}/{run}"]).split()]
            for run in range(options.runs)
        ]
    names = ("seconds", "CPU seconds", "peak memory before, MB", "peak memory, MB")
    for name, values in zip(names, zip(*runs, strict=True), strict=True):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:24} min {low:8.2f}  median {middle:8.2f}  max {high:8.2f}")


def _run(arguments: list[str]) -> str:
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    task, *arguments = sys.argv[1:] or [""]
    if task == "write":
        write_raw_file(Path(arguments[0]), int(arguments[1]), packed=arguments[2] == "gzip")
    elif task == "convert":
        convert_once(*arguments)
    else:
        main()
