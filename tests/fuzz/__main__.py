"""Fuzz every reader for a while: ``python -m tests.fuzz [--seconds 600] [--only TARGET]``.

Prints the executions and the growth of memory of each target. A finding is printed with the
smallest input that hypothesis finds, and ends the program with status 1.

The growth is that of the memory held, from a quarter of the time on, when a target has loaded what
it needs, to the end: the medians of the second and of the last quarter. A leak of a kibibyte an
execution shows; what grows once, as a cache or the heap's largest gap, does not.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from statistics import median
from types import FrameType

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended
from tests.fuzz.targets import TARGETS, attempt

_EXAMPLES = 200
_INPUT_SECONDS = 20


class Hang(BaseException):
    """An input took too long; no reader may catch it."""


def main() -> int:
    """Fuzz; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", choices=TARGETS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _stop)
    names = [options.only] if options.only else list(TARGETS)
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            found += fuzz(name, Path(folder), options.seconds / len(names))
    return 1 if found else 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Hang(f"an input took more than {_INPUT_SECONDS} s")


def fuzz(name: str, folder: Path, seconds: float) -> int:
    """Fuzz a target; returns 1 for a finding."""
    executions = 0
    start = time.monotonic()
    held: list[tuple[float, float]] = []
    problem = ""
    while time.monotonic() - start < seconds and not problem:

        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            database=None,
            print_blob=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def run(data: st.DataObject) -> None:
            nonlocal executions
            executions += 1
            signal.alarm(_INPUT_SECONDS)
            try:
                attempt(TARGETS[name], folder / name, data)
            finally:
                signal.alarm(0)
                held.append((time.monotonic() - start, held_mib()))

        try:
            run()
        except (Exception, Hang):  # whatever comes through is the finding
            problem = traceback.format_exc()
    print(
        f"{name}: {executions:,} executions in {held[-1][0]:.0f} s, memory {grown(held):+.1f} MiB "
        f"since it is warm, {peak_mib():.0f} MiB at most",
        end="",
    )
    print(f", FINDING\n{problem}" if problem else ", no finding", flush=True)
    return 1 if problem else 0


def grown(held: list[tuple[float, float]]) -> float:
    """How much more memory is held in the last quarter of the time than in the second."""
    end = held[-1][0]
    second = [mib for at, mib in held if end / 4 <= at < end / 2]
    last = [mib for at, mib in held if at >= end * 3 / 4]
    return median(last) - median(second) if second else 0.0


def held_mib() -> float:
    """The memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def peak_mib() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
