"""A run in several processes, on one machine or more: started, watched, and ended together.

The command itself trains nothing. It starts this machine's processes and watches them: when one
dies, in whatever way, the others would wait for it, so all are ended at once, on the other machines
too. Machines notify each other through torch's store, which the first one keeps at ``ip:port``. A
process ends itself when the command that started it is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import getLogger
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch import distributed

from recbole_midpg.common.child_processes import end_with_parent, worker_context
from recbole_midpg.common.errors import ProcessDied, UsageError
from recbole_midpg.evaluation.run_results import RunResults
from recbole_midpg.integration.config.config import build_config, typed_for_program
from recbole_midpg.integration.dataset.batches import serves
from recbole_midpg.integration.run.process_group import PATIENCE, is_on_gpus, leave
from recbole_midpg.integration.run.run import run_config, run_recbole
from recbole_midpg.training.threads import n_cores, share_cores

LOOPBACK = "127.0.0.1"
_LAST_PORT = 65_535
_CONNECT_SECONDS = 300.0
_POLL_SECONDS = 1.0
# Wait this long for other machines and processes to end, or for rank 0 to report an interrupt.
_END_SECONDS = 30.0
# Wait this long for the first failure before reporting a secondary one.
_CAUSE_SECONDS = 3.0
_ENDED, _FAILED = "ended", "failed"


class _Fault(ProcessDied):
    """A process has met an exception that nobody expects; the message is its traceback."""


@dataclass(frozen=True)
class Machine:
    """This machine's part of a run.

    Attributes:
        nproc: its processes.
        world_size: those of all machines.
        ip: the first machine's address.
        port: where the first machine answers.
        group_offset: the rank of this machine's first process.
    """

    nproc: int
    world_size: int
    ip: str
    port: int
    group_offset: int

    def check(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one of them does not fit.
        """
        if not 1 <= self.port <= _LAST_PORT:
            raise UsageError(
                f"port: {self.port} is not allowed, expected a number from 1 to {_LAST_PORT}."
            )
        if self.group_offset + self.nproc > self.world_size:
            raise UsageError(
                f"world_size: {self.world_size} is not allowed, expected at least "
                f"{self.group_offset + self.nproc} for {self.nproc} processes from rank "
                f"{self.group_offset} (group_offset) on."
            )

    def values(self, local_rank: int) -> dict[str, Any]:
        """The config values that give a process its place in RecBole."""
        return {
            "nproc": self.nproc,
            "world_size": self.world_size,
            "ip": self.ip,
            "port": self.port,
            "offset": self.group_offset,
            "local_rank": local_rank,
        }


@dataclass(frozen=True)
class ConfigSources:
    """What a config is built of, so that each process can build it; later ones win.

    Attributes:
        model: the model's name, or its class.
        dataset: the dataset's name.
        config_files: RecBole config files.
        values: further values.
        typed: texts of values as typed after ``--key=``.
    """

    model: Any
    dataset: str | None
    config_files: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)

    def build(self) -> Any:
        """The config, or a :class:`UsageError`."""
        return build_config(self.model, self.dataset, self.config_files, self.values, self.typed)

    def with_values(self, values: Mapping[str, Any]) -> ConfigSources:
        """The same with these further values."""
        return replace(self, values={**self.values, **values})


def run(
    model: str | None,
    dataset: str | None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: str | int = "5678",
    group_offset: int = 0,
) -> RunResults | None:
    """Stand in for ``recbole.quick_start.run``: :func:`run_on_machine` for a user's program.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        config_file_list: RecBole config files.
        config_dict: further config values.
        saved: whether checkpoint and report are written.
        nproc: processes on this machine.
        world_size: processes on all machines, ``nproc`` by default.
        ip: the first machine's address.
        port: where the first machine answers.
        group_offset: the rank of this machine's first process.

    Returns:
        The result of :func:`~recbole_midpg.integration.run.run.run_recbole`; ``None`` on machines
        without rank 0.

    Raises:
        UsageError: something that the user can fix.
        ProcessDied: a process has died.
    """
    if nproc == 1 and world_size <= 0:
        return run_recbole(model, dataset, config_file_list, config_dict, saved)
    sources = ConfigSources(
        model, dataset, config_file_list or [], config_dict or {}, typed_for_program()
    )
    return run_on_machine(sources, saved, nproc, world_size, ip, port, group_offset)


def run_on_machine(
    sources: ConfigSources,
    saved: bool = True,
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: str | int = "5678",
    group_offset: int = 0,
) -> RunResults | None:
    """Train and test in one process, or in several.

    Args:
        sources: what the config is built of, here and in each process.
        saved: whether checkpoint and report are written.
        nproc: see :func:`run`, as for those that follow.
        world_size: all machines' processes.
        ip: the first machine's address.
        port: where it answers.
        group_offset: the rank of this machine's first process.

    Returns:
        See :func:`run`.

    Raises:
        UsageError: something that the user can fix.
        ProcessDied: a process has died.
    """
    if nproc == 1 and world_size <= 0:
        return run_config(sources.build(), saved)
    ip = LOOPBACK if ip == "localhost" else ip
    machine = Machine(
        nproc, world_size if world_size > 0 else nproc, ip, _port_number(port), group_offset
    )
    machine.check()
    # Built once here, so that a mistake in it is reported before a process is started, and what
    # has to be converted, generated or downloaded is there.
    _check_config(sources.build(), machine)
    return _Watch(machine, _store(machine)).run(sources, saved)


def _port_number(port: str | int) -> int:
    try:
        return int(port)
    except ValueError as error:
        raise UsageError(f"port: {port!r} is not allowed, expected a number.") from error


def _check_config(config: Any, machine: Machine) -> None:
    """Check that a run can be one of several processes.

    Raises:
        UsageError: it cannot, or there are fewer GPUs than processes.
    """
    place = f"nproc: {machine.world_size} processes"
    if not all(serves(config, phase) for phase in ("train", "valid", "test")):
        raise UsageError(
            f"{place} are for context-aware models that train and are judged on labelled rows, "
            f"without sampling or a transform; {config['model']} here is not one of them."
        )
    if not is_on_gpus(config.final_config_dict):
        if machine.nproc > n_cores():
            getLogger().warning(
                f"nproc: {machine.nproc} processes share {n_cores()} cores, which is slower than "
                "one process for each."
            )
        return
    n_devices = torch.cuda.device_count()
    if machine.nproc > n_devices:
        raise UsageError(
            f"nproc: {machine.nproc} processes need a GPU each and {n_devices} are visible, "
            f"expected at most {n_devices} (see gpu_id; gpu_id='' takes the CPU)."
        )


# --------------------------------------------------------------------------------------------------
# Between machines


def _store(machine: Machine) -> Any:
    """The store by which all processes find each other: kept here, or on the first machine.

    Whoever reaches it can lead processes astray, so on one machine nobody else can.

    Raises:
        UsageError: the port is in use, or nobody answers there.
    """
    options: dict[str, Any] = {"is_master": machine.group_offset == 0, "wait_for_workers": False}
    if not options["is_master"]:
        _wait_for(machine)
    elif machine.ip == LOOPBACK:
        options["master_listen_fd"] = _loopback_port(machine.port)
    try:
        return distributed.TCPStore(machine.ip, machine.port, timeout=PATIENCE, **options)
    except RuntimeError as error:
        if "EADDRINUSE" in str(error):
            raise _in_use(machine.port) from error
        raise UsageError(
            f"ip, port: {machine.ip}:{machine.port} cannot be used ({error})."
        ) from error


def _loopback_port(port: int) -> int:
    """The file descriptor of a socket that listens to this machine alone."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            raise _in_use(port) from error
        listener.listen(socket.SOMAXCONN)
        return listener.detach()


def _in_use(port: int) -> UsageError:
    return UsageError(
        f"port: {port} is in use on this machine, expected a free one, as --port={free_port()}."
    )


def _wait_for(machine: Machine) -> None:
    """Wait until the first machine answers, which someone may be about to start."""
    give_up = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            socket.create_connection((machine.ip, machine.port), timeout=_POLL_SECONDS).close()
            return
        except OSError as error:
            if time.monotonic() > give_up:
                raise UsageError(
                    f"ip, port: {machine.ip}:{machine.port} has not answered for "
                    f"{_CONNECT_SECONDS:.0f} s ({error}), expected the machine whose group_offset "
                    "is 0."
                ) from error
        time.sleep(_POLL_SECONDS)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


# --------------------------------------------------------------------------------------------------
# This machine's processes


class _Watch:
    """Starts a machine's processes and sees to it that all end.

    Args:
        machine: this one.
        store: through which machines notify each other that they have failed or ended.
    """

    def __init__(self, machine: Machine, store: Any) -> None:
        self.machine, self.store = machine, store
        self.processes: list[Any] = []
        self.messages: list[Connection] = []
        self.waiting: set[int] = set()
        self.result: Any = None

    def run(self, sources: ConfigSources, saved: bool) -> RunResults | None:
        """Run to the end.

        Args:
            sources: what each process builds its config of.
            saved: whether checkpoint and report are written.

        Returns:
            What rank 0 returned; ``None`` where it is on another machine.

        Raises:
            UsageError: a process met something that the user can fix.
            ProcessDied: a process has died, here or on another machine.
            KeyboardInterrupt: Ctrl-C, with what rank 0 reports.
        """
        try:
            self._start(sources, saved)
            self._wait()
            for process in self.processes:
                process.join(_END_SECONDS)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupt()) from None
        except BaseException as error:
            self._notify(_FAILED, str(error))
            raise
        finally:
            self._end()
        self._let_others_end()
        return self.result

    def _start(self, sources: ConfigSources, saved: bool) -> None:
        context = worker_context(__name__)
        for local_rank in range(self.machine.nproc):
            here, there = context.Pipe(duplex=False)
            placed = sources.with_values(self.machine.values(local_rank))
            process = context.Process(
                target=_work, args=(self.machine, local_rank, placed, saved, there), daemon=True
            )
            process.start()
            # Only the process holds its end now, so that its death closes it.
            there.close()
            self.processes.append(process)
            self.messages.append(here)

    def _wait(self) -> None:
        """Wait until all processes have ended well."""
        self.waiting = set(range(self.machine.nproc))
        while self.waiting:
            outcomes = self._receive(_POLL_SECONDS)
            if any(isinstance(outcome, BaseException) for outcome in outcomes):
                self._raise_cause(outcomes)
            self._listen()

    def _receive(self, seconds: float) -> list[Any]:
        """The outcomes or deaths of processes meanwhile; an empty list after ``seconds``."""
        ready = wait([self.messages[rank] for rank in self.waiting], timeout=seconds)
        ranks = [rank for rank in self.waiting if self.messages[rank] in ready]
        self.waiting.difference_update(ranks)
        return [self._outcome(rank) for rank in ranks]

    def _outcome(self, local_rank: int) -> Any:
        try:
            outcome = self.messages[local_rank].recv()
        except (EOFError, ConnectionResetError):
            return ProcessDied(self._how_it_ended(local_rank))
        if self.machine.group_offset + local_rank == 0:
            self.result = outcome
        if isinstance(outcome, _Fault):
            return _Fault(f"{self._name(local_rank)} has failed:\n{outcome}")
        return outcome

    def _raise_cause(self, outcomes: list[Any]) -> None:
        """Raise what went wrong first: when one process ends, others fail, as it is gone."""
        give_up = time.monotonic() + _CAUSE_SECONDS
        while True:
            problems = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            causes = [problem for problem in problems if not isinstance(problem, _Fault)]
            if causes or time.monotonic() > give_up:
                raise [*causes, *problems][0]
            self._listen()
            if self.waiting:
                outcomes += self._receive(_CAUSE_SECONDS / 10)
            else:
                time.sleep(_CAUSE_SECONDS / 10)

    def _name(self, local_rank: int) -> str:
        rank = self.machine.group_offset + local_rank
        pid = self.processes[local_rank].pid
        return f"process {rank} of {self.machine.world_size} (pid {pid})"

    def _how_it_ended(self, local_rank: int) -> str:
        process = self.processes[local_rank]
        process.join()
        status = process.exitcode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return (
            f"{self._name(local_rank)} {how}, and the run ended; the same command with --resume "
            "goes on after its last complete epoch."
        )

    def _listen(self) -> None:
        """Listen for what other machines have met."""
        if self.machine.nproc == self.machine.world_size:
            return
        try:
            failed = self.store.check([_FAILED])
        except RuntimeError as error:
            raise ProcessDied(
                f"the first machine, {self.machine.ip}:{self.machine.port}, is gone, "
                "and the run ended."
            ) from error
        if failed:
            problem = self.store.get(_FAILED).decode()
            raise ProcessDied(f"another machine's part of the run has failed: {problem}")

    def _notify(self, key: str, text: str) -> None:
        """Notify the other machines, if they can still be reached."""
        with contextlib.suppress(RuntimeError):
            self.store.set(key, text)

    def _interrupt(self) -> str:
        """Let rank 0, if it is here, say how far it has come."""
        self._notify(_FAILED, "it was interrupted.")
        if self.machine.group_offset == 0 and 0 in self.waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.processes[0].pid, signal.SIGINT)
            if self.messages[0].poll(_END_SECONDS):
                self.result = self._outcome(0)
        return str(self.result) if isinstance(self.result, KeyboardInterrupt) else ""

    def _end(self) -> None:
        """End processes that have not ended by themselves."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def _let_others_end(self) -> None:
        """Keep the store until all machines have said that they have ended."""
        ended = self.store.add(_ENDED, self.machine.nproc)
        give_up = time.monotonic() + _END_SECONDS
        while (
            self.machine.group_offset == 0
            and ended < self.machine.world_size
            and time.monotonic() < give_up
        ):
            time.sleep(_POLL_SECONDS / 10)
            ended = self.store.add(_ENDED, 0)


def _work(
    machine: Machine, local_rank: int, sources: ConfigSources, saved: bool, messages: Connection
) -> None:
    """A process: run, and send the result, or what went wrong, to the command that started it."""
    end_with_parent()
    is_first = machine.group_offset + local_rank == 0
    # Ctrl-C reaches all processes of a terminal. Rank 0 reports it, once; the others work on until
    # they are ended, as it may be waiting for them.
    signal.signal(signal.SIGINT, _interrupt_once if is_first else signal.SIG_IGN)
    share_cores(machine.nproc)
    if machine.ip == LOOPBACK:
        _stay_on_this_machine()
    try:
        outcome: Any = run_config(sources.build(), saved)
        leave()
    except (UsageError, OSError, KeyboardInterrupt) as error:
        outcome = error
    except BaseException:
        outcome = _Fault(traceback.format_exc())
    messages.send(outcome)
    if isinstance(outcome, BaseException):
        # Not by the way out, on which groups of processes wait for each other.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _interrupt_once(*_: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _stay_on_this_machine() -> None:
    """Let gloo's connections, too, be out of other machines' reach."""
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
