"""A function in several processes that have joined each other, as those of a run have."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any

from torch import distributed

_SECONDS = 120.0


def in_processes(n_processes: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call a function in forked processes, which need not import anything anew.

    Autograd outlives a fork only where no GPU is visible, as in :mod:`tests.support.device`: for a
    GPU it has started threads, which do not go with the fork.

    Args:
        n_processes: how many.
        function: called with the config values of the process's place, and the arguments.
        arguments: whatever.

    Returns:
        The results by rank.
    """
    store = distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    fork = multiprocessing.get_context("fork")
    children = []
    for rank in range(n_processes):
        here, there = fork.Pipe(duplex=False)
        place = (rank, n_processes, store.port)
        child = fork.Process(target=_call, args=(there, place, function, arguments), daemon=True)
        child.start()
        there.close()
        children.append((child, here))
    try:
        return [_result(message) for _, message in children]
    finally:
        for child, _ in children:
            child.kill()
            child.join()


def in_group(n_processes: int, function: Callable[..., Any], argument: Any) -> list[Any]:
    """Call a function with rank and argument in forked processes that are a group of torch's."""
    return in_processes(n_processes, _joined, function, argument)


def _joined(place: dict[str, Any], function: Callable[..., Any], argument: Any) -> Any:
    rank, size = place["local_rank"], place["world_size"]
    store = distributed.TCPStore(place["ip"], place["port"])
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    return function(rank, argument)


def joined_values(rank: int, n_processes: int, port: int) -> dict[str, Any]:
    """The config values that give a process its place, without a device."""
    return {
        "nproc": n_processes,
        "world_size": n_processes,
        "ip": "localhost",
        "port": port,
        "offset": 0,
        "local_rank": rank,
    }


def _result(message: Any) -> Any:
    assert message.poll(_SECONDS), f"no result within {_SECONDS:.0f} s"
    outcome = pickle.loads(message.recv_bytes())
    assert not isinstance(outcome, _Failure), outcome.text
    return outcome


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


def _call(message: Any, place: tuple[int, int, int], function: Any, arguments: Any) -> None:
    try:
        outcome = function(joined_values(*place), *arguments)
    except BaseException:
        outcome = _Failure(traceback.format_exc())
    # Not by send(), which leaves tensors in memory that goes with this process.
    message.send_bytes(pickle.dumps(outcome))
    sys.stdout.flush()
    os._exit(0)
