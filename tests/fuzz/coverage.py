"""Fuzz towards lines not yet reached: ``python -m tests.fuzz.coverage [--seconds 300]``.

Needs atheris, which the tests do not: ``pip install atheris``. The targets are those of
``python -m tests.fuzz``; hypothesis makes their input of the bytes that atheris mutates, which
keeps the bytes that reach new branches of this package and of the converters. Each target runs in
a process of its own, since atheris ends the one that it runs in.

Prints the executions, the findings and the growth of memory of each target. An input that takes
longer than ``--input_seconds`` is a finding too. A finding ends the target; the program then ends
with status 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_HERE = "tests.fuzz.coverage"


def main() -> int:
    """Fuzz; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--input_seconds", type=int, default=20)
    parser.add_argument("--only", metavar="TARGET")
    parser.add_argument("--within", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("atheris is not installed, expected pip install atheris.", file=sys.stderr)
        return 2
    if options.within:
        return _fuzz_here(options.only, Path(options.within), options)
    from tests.fuzz.targets import TARGETS

    if options.only and options.only not in TARGETS:
        parser.error(f"--only: {options.only!r} is not one of {', '.join(TARGETS)}")
    names = [options.only] if options.only else list(TARGETS)
    found = [_fuzz(name, options.seconds / len(names), options.input_seconds) for name in names]
    return 1 if any(found) else 0


def _fuzz(name: str, seconds: float, input_seconds: int) -> bool:
    """Fuzz a target in a process of its own; whether there was a finding."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", _HERE, f"--only={name}"]
        command += [f"--within={folder}", f"--seconds={seconds}"]
        command += [f"--input_seconds={input_seconds}"]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took = time.monotonic() - start
    log = done.stdout + done.stderr
    runs = re.findall(r"^#(\d+)\s.*cov: (\d+).* rss: (\d+)Mb", log, re.MULTILINE)
    executions, covered, _ = map(int, runs[-1]) if runs else (0, 0, 0)
    # What a target loads once it has loaded by a quarter of its inputs.
    settled = [int(rss) for count, _, rss in runs if int(count) >= executions / 4]
    grown = settled[-1] - settled[0] if settled else 0
    print(
        f"{name}: {executions:,} executions in {took:.0f} s, {covered:,} branches, "
        f"memory {grown:+d} MiB, {'FINDING' if done.returncode else 'no finding'}",
        flush=True,
    )
    if done.returncode:
        print(log[-5000:], flush=True)
    return done.returncode != 0


def _fuzz_here(name: str, folder: Path, options: argparse.Namespace) -> int:
    """Fuzz a target in this process; does not return."""
    import atheris

    with atheris.instrument_imports(include=["recbole_midpg", "atomic_data_scripts"]):
        import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended
        from tests.fuzz.targets import TARGETS, attempt

    import torch
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    torch.set_num_threads(1)

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        attempt(TARGETS[name], folder / "work", data)

    # What a target makes once, as a checkpoint, does not count as the time of its first input.
    run.hypothesis.fuzz_one_input(bytes(1000))
    corpus = folder / "corpus"
    corpus.mkdir()
    atheris.Setup(
        [
            name,
            str(corpus),
            f"-artifact_prefix={folder}/",
            f"-max_total_time={int(options.seconds)}",
            f"-timeout={options.input_seconds}",
            "-rss_limit_mb=4096",
            "-max_len=2048",
            "-len_control=0",
            "-print_final_stats=1",
        ],
        run.hypothesis.fuzz_one_input,
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
