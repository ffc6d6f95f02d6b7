"""Training speed beside another busy program, as a share of the speed alone.

    python -m benchmarks.busy_cpu [--model MIDPG] [--cores 2] [--rounds 10]

All processes may use the same few cores, no others. Those that train, on ml-100k in batches of 512
rows, differ in how many threads they have and in how the threads wait. They take turns, first alone
and then beside a process that only counts; of all that train one works at a time. The first row is
what our commands set; its target is 0.35 on two cores. The last row is what torch does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from statistics import median
from types import TracebackType

BATCH_SIZE = 512
# A fifth of a second's work for threads that sleep, seconds for those that spin beside another.
BATCHES_OF_A_TURN = 20
TARGET = 0.35
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
# What GNU's OpenMP library does where nothing is set; set, so that nobody sets anything else.
SPINNING = {"GOMP_SPINCOUNT": "300000"}


class Trainer:
    """A process that trains batches on request."""

    def __init__(self, name: str, model: str, threads: int, waiting: dict[str, str]) -> None:
        self.name = name
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
        }
        settings = json.dumps({"config": "ml-100k", "train_batch_size": BATCH_SIZE})
        command = ["benchmarks.training_side", "ours", model, "ml-100k", settings, str(threads)]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**kept, **waiting},
        )
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} stopped with status {self._process.wait()}")
        return line

    def speed(self) -> float:
        """Samples a second in the next turn."""
        assert self._process.stdin is not None
        print(BATCHES_OF_A_TURN, file=self._process.stdin, flush=True)
        _, rows, seconds = self._answer().split()
        return int(rows) / float(seconds)


class BusyProcess:
    """A process that only counts, within a ``with`` block."""

    def __init__(self) -> None:
        # It ends with this process, however that ends.
        count = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
        self._process = subprocess.Popen([sys.executable, "-c", count])
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def chosen_threads(model: str, cores: int) -> int:
    """The threads that a run takes by ``n_threads: auto``."""
    # Only now, as it loads torch, and only here, as processes inherit the variable it may set.
    from recbole_midpg.integration.config.config import build_config  # noqa: PLC0415
    from recbole_midpg.training.threads import choose_threads  # noqa: PLC0415

    config = build_config(model, "ml-100k", values={"train_batch_size": BATCH_SIZE})
    return choose_threads(config, cores, 1, {}).count


def main() -> None:
    """Let all trainers take turns, alone and beside the busy process, and print their speeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="MIDPG")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    sys.argv[1:] = []  # RecBole would take them for config values
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    if len(cores) < options.cores:
        raise SystemExit(f"--cores: {options.cores}, and this process may use {len(cores)}")
    os.sched_setaffinity(0, cores)
    auto = chosen_threads(options.model, len(cores))
    trainers = [
        Trainer(name, options.model, threads, waiting)
        for name, threads, waiting in (
            (f"asleep, {auto} (auto)", auto, ASLEEP),
            (f"asleep, {len(cores)}", len(cores), ASLEEP),
            ("spinning, 1", 1, SPINNING),
            (f"spinning, {len(cores)} (torch)", len(cores), SPINNING),
        )
    ]
    before = os.getloadavg()[0]
    busy = BusyProcess()
    try:
        for trainer in trainers:
            trainer.speed()  # the first turn warms up
        alone, beside = [], []
        for _ in range(options.rounds):
            alone.append([trainer.speed() for trainer in trainers])
            with busy:
                beside.append([trainer.speed() for trainer in trainers])
    finally:
        busy.end()

    print(
        f"{options.model}, batch {BATCH_SIZE}, cores {cores}, {options.rounds} rounds, "
        f"load average before {before:.1f}: least / median / most"
    )
    for place, trainer in enumerate(trainers):
        pairs = [(quiet[place], loud[place]) for quiet, loud in zip(alone, beside, strict=True)]
        ratios = [loud / quiet for quiet, loud in pairs]
        target = f"   target {TARGET:g}" if place == 0 else ""
        print(
            f"  {trainer.name:22} alone {_spread([quiet for quiet, _ in pairs], ',.0f')}"
            f"   beside {_spread([loud for _, loud in pairs], ',.0f')}"
            f"   ratio {_spread(ratios, '.2f')}{target}"
        )


def _spread(values: list[float], form: str) -> str:
    return " / ".join(f"{x:{form}}" for x in (min(values), median(values), max(values)))


if __name__ == "__main__":
    main()
