"""Requests a second that ``examples/service.py`` answers, of rows in JSON by HTTP.

The service is a process of its own, and so is the client: Python's own HTTP client, on as many
connections as there are requests at a time. The model is MIDPG, of a generated set in the shape of
Amazon Electronics; a row brings all eight fields of its, the features of user and item included.
"ms of processor" is what a request takes of one core, in the service and in the client: where the
client takes cores from the service, it says what the service could do alone.

Run from the repository's root:

    python -m benchmarks.service [--rows 50] [--connections 32] [--workers 2] [--seconds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import pandas as pd
import psutil

from recbole_midpg.cli import main as recbole_midpg_command
from recbole_midpg.cli import run_recbole_command

DATASET = "amazon_electronics_synth"
SERVICE = Path(__file__).parents[1] / "examples" / "service.py"
HEADERS = {"Content-Type": "application/json"}
BODIES = 200  # different requests, sent in turn


class Round(NamedTuple):
    """What was measured while requests were sent for some seconds.

    Attributes:
        seconds: how long it took.
        latencies: seconds of each request.
        server: seconds of processor time that the service took.
        client: seconds of processor time that the client took.
    """

    seconds: float
    latencies: list[float]
    server: float
    client: float

    @property
    def speed(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


def make_model(rows: int) -> Path:
    """Train for an epoch in this folder and export; the dataset stays beside it."""
    words = [f"--dataset={DATASET}", f"--synthetic_rows={rows}", "--epochs=1"]
    if run_recbole_command(["--model=MIDPG", *words, "--checkpoint_dir=trained"]):
        raise SystemExit(2)
    (checkpoint,) = Path("trained").glob("*.pth")
    scorer = Path("model.scorer")
    recbole_midpg_command(["export", "--checkpoint", str(checkpoint), "--output", str(scorer)])
    return scorer


def whole_rows(count: int) -> list[dict[str, Any]]:
    """The first rows of the generated set with the features of their user and item."""
    folder = Path("dataset") / DATASET

    def table(part: str, rows: int | None = None) -> pd.DataFrame:
        path = folder / f"{DATASET}.{part}"
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, nrows=rows)
        return frame.rename(columns=lambda name: name.partition(":")[0])

    frame = table("inter", count).merge(table("item"), on="item_id").merge(table("user"), "left")
    frame["timestamp"] = frame["timestamp"].astype(float)
    return frame.drop(columns=["rating", "split"], errors="ignore").to_dict("records")


@contextmanager
def running_service(scorer: Path, workers: int) -> Iterator[tuple[psutil.Process, int]]:
    """The service in processes of its own: the first of them, and the port."""
    command = [sys.executable, str(SERVICE), str(scorer), "--port=0", f"--workers={workers}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port, started = 0, 0
            while started < workers or not port:
                line = process.stderr.readline()
                if not line:
                    raise SystemExit("the service has not started")
                started += "startup complete" in line
                port = int(line.rpartition(":")[2].split()[0]) if "running on" in line else port
            yield psutil.Process(process.pid), port
        finally:
            process.terminate()


def send(port: int, bodies: list[bytes], first: int, end: float) -> list[float]:
    """Send requests one after the other on one connection until a moment; seconds of each."""
    connection = HTTPConnection("127.0.0.1", port)
    latencies = []
    place = first
    while (start := time.perf_counter()) < end:
        connection.request("POST", "/scores", bodies[place % len(bodies)], HEADERS)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise SystemExit(f"status {response.status}: {content[:200]!r}")
        latencies.append(time.perf_counter() - start)
        place += 1
    connection.close()
    return latencies


def measure(
    process: psutil.Process, port: int, bodies: list[bytes], connections: int, seconds: float
) -> Round:
    """Send requests on several connections at once."""
    server, client, start = _processor(process), time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        sent = [pool.submit(send, port, bodies, 7 * i, start + seconds) for i in range(connections)]
    latencies = [latency for part in sent for latency in part.result()]
    return Round(
        time.perf_counter() - start,
        latencies,
        _processor(process) - server,
        time.process_time() - client,
    )


def _processor(process: psutil.Process) -> float:
    times = [part.cpu_times() for part in (process, *process.children(recursive=True))]
    return sum(part.user + part.system for part in times)


def spread(values: list[float], digits: int) -> str:
    """The least, the median and the greatest."""
    chosen = (min(values), median(values), max(values))
    return " / ".join(f"{value:,.{digits}f}" for value in chosen)


def report(rounds: list[Round], rows: int, connections: int) -> None:
    """Print what was measured, each number as least / median / greatest of the rounds."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{len(rounds)} rounds, {rows} rows a request, {connections} connections, {cores} cores")
    for name, values, digits in (
        ("requests a second", [r.speed for r in rounds], 0),
        ("rows a second", [r.speed * rows for r in rounds], 0),
        ("ms until an answer, median", [1e3 * median(r.latencies) for r in rounds], 1),
        ("ms until an answer, 99 %", [1e3 * quantiles(r.latencies, n=100)[98] for r in rounds], 1),
        (
            "ms of processor a request, service",
            [1e3 * r.server / len(r.latencies) for r in rounds],
            2,
        ),
        (
            "ms of processor a request, client",
            [1e3 * r.client / len(r.latencies) for r in rounds],
            2,
        ),
        ("cores that the service had", [r.server / r.seconds for r in rounds], 2),
    ):
        print(f"| {name} | {spread(values, digits)} |")


def main() -> None:
    """Measure, with the command line's numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=50, help="of a request")
    parser.add_argument("--connections", type=int, default=32, help="requests at a time")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dataset_rows", type=int, default=200_000, help="that are trained on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        scorer = make_model(options.dataset_rows)
        rows = whole_rows(BODIES * options.rows)
        bodies = [
            json.dumps({"rows": rows[start : start + options.rows]}).encode()
            for start in range(0, len(rows), options.rows)
        ]
        with running_service(scorer, options.workers) as (process, port):
            measure(process, port, bodies, options.connections, options.seconds)  # to warm up
            rounds = [
                measure(process, port, bodies, options.connections, options.seconds)
                for _ in range(options.rounds)
            ]
        report(rounds, options.rows, options.connections)
        os.chdir("/")


if __name__ == "__main__":
    main()
