"""Time and peak memory of making a dataset of a log of ten columns.

Run as ``python -m benchmarks.prepare_log [--rows 10000000] [--parquet] [--processes 2]``, from the
repository. The file is generated: ids, a scenario, a time, prices, tags, ages with gaps and a
label. Processor seconds are printed beside those of the clock, as other programs may run meanwhile.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_midpg.event_logs.column_kinds import ColumnRoles
from recbole_midpg.event_logs.prepare import prepare_log
from recbole_midpg.event_logs.schema import LogForm

ROWS_AT_ONCE = 1_000_000
ROLES = ColumnRoles(
    label="clicked",
    user="user_id",
    item="item_id",
    scenario=("channel",),
    time="event_time",
    multi={"tags": "|"},
)


def rows_of(first: int, rows: int, total: int) -> pd.DataFrame:
    """Some rows of the log, in the order of their times."""
    random = np.random.default_rng(first)
    seconds = (first + np.arange(rows)) * (20 * 86_400) // total
    return pd.DataFrame(
        {
            "user_id": random.integers(0, max(total // 10, 10), rows),
            "item_id": random.zipf(1.3, rows) % 20_000,
            "channel": random.choice(["app", "web", "mail"], rows, p=[0.6, 0.3, 0.1]),
            "event_time": pd.Timestamp("2026-11-01") + pd.to_timedelta(seconds, "s"),
            "price": random.lognormal(3, 1, rows).round(2),
            "tags": random.choice(["a", "b|c", "a|c", "", "d|a|b"], rows),
            "age": np.where(random.random(rows) < 0.1, np.nan, random.integers(18, 70, rows)),
            "member": random.random(rows) < 0.5,
            "country": random.choice(["DE", "FR", None], rows),
            "clicked": random.integers(0, 2, rows),
        }
    )


def write_log(folder: Path, rows: int, kind: str) -> list[str]:
    """Write the log's files; returns their names."""
    paths = []
    for first in range(0, rows, ROWS_AT_ONCE):
        path = folder / f"log-{first:012}.{kind}"
        frame = rows_of(first, min(ROWS_AT_ONCE, rows - first), rows)
        if kind == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        paths.append(str(path))
    return paths


def measure(folder: Path, paths: list[str], kind: str, processes: int) -> None:
    """Make a dataset of the log and print seconds and memory: of a process that does only this."""
    os.chdir(folder)  # where the config file goes
    start = time.perf_counter()
    prepared = prepare_log(
        "log", paths, LogForm(kind), ROLES, folder / "dataset", processes=processes
    )
    seconds = time.perf_counter() - start
    # Workers are children of a server, of which this process learns no usage.
    own = resource.getrusage(resource.RUSAGE_SELF)
    rows, size = prepared.report.rows_out, sum(Path(path).stat().st_size for path in paths)
    print(
        f"{rows:,} rows, {size / 1e6:,.0f} MB of {kind}: {seconds:.1f} s; with imports "
        f"{own.ru_utime + own.ru_stime:.1f} s of a processor in the process that reads; its peak "
        f"memory {own.ru_maxrss / 1024:,.0f} MB"
    )


def main() -> None:
    """Write the log, make a dataset of it, and print seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--parquet", action="store_true")
    parser.add_argument("--processes", type=int, default=2, help="that work on blocks")
    options = parser.parse_args()
    kind = "parquet" if options.parquet else "csv"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_log(folder, options.rows, kind)
        context = multiprocessing.get_context("spawn")
        alone = context.Process(target=measure, args=(folder, paths, kind, options.processes))
        alone.start()
        alone.join()


if __name__ == "__main__":
    main()
