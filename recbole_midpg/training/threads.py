"""How many threads torch computes with: decided here, for every run and each process of one.

A step is many small operations. Each is divided among the threads, which then wait for the slowest,
so threads pay only where a batch gives each of them enough rows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import torch

from recbole_midpg.common.rules import Integer

AUTO = "auto"
# Rows of a batch for which another thread pays: MIDPG and DNN on two cores, ml-100k, passive wait
# policy. With 2,048 rows two threads are no faster than one, with 8,192 they are by an eighth.
ROWS_A_THREAD = 4096
# The variables by which users choose, and which torch reads as it is loaded.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_COUNT = Integer(minimum=1, maximum=1024)

_processes = 1


@dataclass(frozen=True)
class ThreadCount:
    """What the key ``n_threads`` may hold."""

    allowed: str = f"{AUTO} or {_COUNT.allowed}"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        return value == AUTO or _COUNT.accepts(value)


@dataclass(frozen=True)
class Threads:
    """How many threads, and why."""

    count: int
    reason: str


def n_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(processes: int) -> None:
    """Let this process be one of several that compute on this machine at a time."""
    global _processes  # noqa: PLW0603 - as torch's number of threads, it is one of the process
    _processes = processes


def choose_threads(
    config: Mapping[str, Any],
    cores: int,
    processes: int,
    environment: Mapping[str, str] = os.environ,
) -> Threads:
    """Choose a process's number of threads.

    Args:
        config: ``n_threads``, ``train_batch_size``, and in a run of several processes
            ``world_size``, among which each batch is divided.
        cores: that the process may use.
        processes: that share them.
        environment: its variables.

    Returns:
        ``n_threads`` where it is a number, else what the user has set in the environment, else a
        thread for each :data:`ROWS_A_THREAD` rows of the process's share of a batch, at least one
        and at most its share of the cores.
    """
    if config["n_threads"] != AUTO:
        return Threads(config["n_threads"], f"n_threads: {config['n_threads']}")
    for name in _VARIABLES:
        count = _leading_count(environment.get(name, ""))
        if count is not None:
            return Threads(count, f"{name}={environment[name]}")
    rows = config["train_batch_size"]
    if not config["single_spec"]:
        rows //= config["world_size"]
    count = max(1, min(rows // ROWS_A_THREAD, cores // processes))
    return Threads(count, f"n_threads: {AUTO}, for {rows:,} rows a step")


def _leading_count(text: str) -> int | None:
    """The number of a variable; of a list, as ``8,2`` for loops within loops, the first."""
    number = text.partition(",")[0].strip()
    return int(number) if number.isdecimal() and int(number) >= 1 else None


def use_threads(config: Mapping[str, Any]) -> None:
    """Let torch compute with the chosen number of threads, and log it.

    Args:
        config: see :func:`choose_threads`.
    """
    cores = n_cores()
    choice = choose_threads(config, cores, _processes)
    torch.set_num_threads(choice.count)
    shared = "" if _processes == 1 else f", which {_processes} processes share"
    getLogger().info(f"threads: {choice.count} of {cores} cores{shared} ({choice.reason}).")
