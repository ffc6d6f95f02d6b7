"""Fuzz every reader for a while: ``python -m tests.fuzz [--seconds 600] [--only TARGET]``.

Prints the executions, the answers and the growth of memory of each target. A finding is printed
with the smallest input that hypothesis finds, and ends the program with status 1.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended
from tests.fuzz.targets import TARGETS, attempt

_EXAMPLES = 200


def main() -> int:
    """Fuzz; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", choices=TARGETS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [options.only] if options.only else list(TARGETS)
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            found += fuzz(name, Path(folder), options.seconds / len(names))
    return 1 if found else 0


def fuzz(name: str, folder: Path, seconds: float) -> int:
    """Fuzz a target; returns 1 for a finding."""
    executions, rounds = 0, 0
    start = time.monotonic()
    memory = [peak_mib()]
    problem = ""
    while time.monotonic() - start < seconds and not problem:
        rounds += 1

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
            attempt(TARGETS[name], folder / name, data)

        try:
            run()
        except Exception:  # whatever comes through is the finding
            problem = traceback.format_exc()
        memory.append(peak_mib())
    grown = memory[-1] - memory[min(1, len(memory) - 1)]
    took = time.monotonic() - start
    print(
        f"{name}: {executions:,} executions in {took:.0f} s, peak memory +{grown:.0f} MiB", end=""
    )
    print(f", FINDING\n{problem}" if problem else ", no finding", flush=True)
    return 1 if problem else 0


def peak_mib() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
