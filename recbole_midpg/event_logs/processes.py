"""Blocks of a log worked on by several processes, with the results in the blocks' order."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from recbole_midpg.common.child_processes import end_with_parent, worker_context
from recbole_midpg.common.errors import ProcessDied

MOST_PROCESSES = 4
"""More are not used without being asked for: reading and writing keep one process busy by then."""

_WAITING = 2
Item = TypeVar("Item")
Result = TypeVar("Result")


def available_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that work on items one by one; without a pool this process does.

    Args:
        pool: the processes.
        processes: how many there are.
    """

    def __init__(self, pool: ProcessPoolExecutor | None = None, processes: int = 1) -> None:
        self._pool = pool
        self._most_waiting = _WAITING * processes

    def results(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The result of each item, in their order.

        Args:
            work: a function of a module, or a ``partial`` of one, of values that can be pickled.
            items: taken as they are needed: some of each process wait, so that memory is bounded.

        Raises:
            ProcessDied: a process was killed.
        """
        if self._pool is None:
            yield from map(work, items)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(work, item))
                if len(waiting) > self._most_waiting:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ProcessDied(
                "A process that worked on the log was killed, perhaps for want of memory; "
                "nothing was written."
            ) from error


@contextmanager
def started_workers(processes: int) -> Iterator[Workers]:
    """Start processes that end with the block, however it is left; none for one process."""
    if processes <= 1:
        yield Workers()
        return
    pool = ProcessPoolExecutor(processes, worker_context(__name__), initializer=_begin_worker)
    try:
        yield Workers(pool, processes)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Leave an interrupt to the process that started this one, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
