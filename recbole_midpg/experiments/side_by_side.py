"""Pieces of work done side by side, each in a new process that holds nothing of another's."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from recbole_midpg.common.child_processes import end_with_parent, worker_context
from recbole_midpg.common.errors import UsageError
from recbole_midpg.training.threads import share_cores

_SIGKILL = 9  # not in the module signal of Windows

Send: TypeAlias = Callable[[Any], None]


@dataclass(frozen=True)
class Piece:
    """A piece of work.

    Attributes:
        name: shown while it runs, and the name of its log.
        arguments: of the function that does it.
    """

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Done:
    """The last message of a piece that was done.

    Attributes:
        result: what its function returned.
    """

    result: Any


@dataclass(frozen=True)
class Failure:
    """The last message of a piece that came to nothing.

    Attributes:
        problem: why, a sentence.
    """

    problem: str


@dataclass(frozen=True)
class Death(Failure):
    """The last message of a piece whose process was ended from outside."""


def work_side_by_side(
    work: Callable[..., Any],
    pieces: Sequence[Piece],
    jobs: int,
    logs: Path,
    bar: tqdm[Any],
    receive: Callable[[int, Any], None],
) -> None:
    """Do pieces of work; one that fails or dies is told and ends no other.

    Args:
        work: a function of a module, called with a piece's arguments and with a function that
            sends a message.
        pieces: what it is called with.
        jobs: how many pieces are done at a time. Each has its share of the cores.
        logs: the folder of their logs.
        bar: shows the names of those that run.
        receive: called with the place of a piece and each of its messages: what it sent, and last
            of all a :class:`Done` or a :class:`Failure`, of which :class:`Death` is one.
    """
    context = worker_context(work.__module__)
    logs.mkdir(parents=True, exist_ok=True)
    waiting = list(enumerate(pieces))
    running: dict[Connection, tuple[int, Piece, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                place, piece = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                arguments = (sender, work, piece, logs / f"{piece.name}.log", jobs)
                process = context.Process(target=_do, args=arguments)
                process.start()
                sender.close()
                running[receiver] = (place, piece, process)
            bar.set_postfix_str(", ".join(piece.name for _, piece, _ in running.values()))
            for receiver in wait(list(running)):
                assert isinstance(receiver, Connection)
                place, _, process = running[receiver]
                message = _next_message(receiver, process)
                if isinstance(message, (Done, Failure)):
                    del running[receiver]
                    process.join()
                receive(place, message)
    finally:
        for _, _, process in running.values():
            process.terminate()
            process.join()


def _next_message(receiver: Connection, process: Any) -> Any:
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        killed = process.exitcode == -_SIGKILL
        cause = ", as it does where memory is short" if killed else ""
        return Death(f"its process ended with status {process.exitcode}{cause}")


def _do(sender: Connection, work: Callable[..., Any], piece: Piece, log: Path, jobs: int) -> None:
    """Do a piece of work in this process and send what comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes itself
    end_with_parent()
    # RecBole names its TensorBoard folder by this file too.
    logging.basicConfig(
        filename=log, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    share_cores(jobs)
    last: Done | Failure
    try:
        last = Done(work(*piece.arguments, sender.send))
    except UsageError as error:
        last = Failure(str(error))
    except Exception as error:  # whatever it is, the other pieces go on
        getLogger().exception("%s failed", piece.name)
        last = Failure(f"{type(error).__name__}: {error} (see {log})")
    sender.send(last)
