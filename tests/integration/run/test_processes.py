"""``run_recbole --nproc`` as a user types it, and what becomes of its processes."""

import json
import logging
import os
import re
import signal
import socket
import sys
import time
from contextlib import contextmanager, suppress

import psutil
import pytest
from recbole.quick_start import run_recbole

from recbole_midpg.cli import run_recbole_command
from recbole_midpg.common import child_processes
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run import processes
from recbole_midpg.integration.run.processes import free_port
from recbole_midpg.integration.run.run import Run
from tests.support.processes import run_module

FAST = ["--dataset=ml-100k", "--train_batch_size=4096", "--show_progress=False"]
# Never done by itself.
ENDLESS = [*FAST, "--epochs=100000", "--stopping_step=100000"]
SECONDS = 60.0


def port():
    return f"--port={free_port()}"


@contextmanager
def started(folder, *arguments):
    """A command in the background; killed, with all that it started, at the end.

    It is a fork of this process, and its own processes are forks of it, to spare the imports.
    """
    with (folder / "told").open("w", buffering=1) as told:
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            sys.stdout = sys.stderr = told
            logging.getLogger().handlers.clear()
            child_processes.START_METHOD = "fork"
            os._exit(run_recbole_command(arguments))
    process = psutil.Process(child)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for each in [*process.children(recursive=True), process]:
                each.kill()
            process.wait()


def workers(process):
    """A command's processes that train, by rank."""
    return sorted(process.children(), key=lambda each: each.pid)


def wait_until(condition, seconds=SECONDS):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it took too long"
        time.sleep(0.05)


def trains(folder):
    """Whether an epoch is complete, and the next one begun."""
    return "epoch 1: " in (folder / "told").read_text()


def told(folder):
    return (folder / "told").read_text().strip().splitlines()[-1]


@pytest.mark.slow
def test_two_processes_end_as_one(tmp_path):
    """The same splits, batches and steps: the same metrics; and one of each file."""
    values = {"train_batch_size": 4096, "epochs": 3, "show_progress": False}
    alone = run_recbole("DPG", "ml-100k", config_dict=values, saved=False)
    folder = tmp_path / "two"
    folder.mkdir()
    result = run_module("--model=DPG", *FAST, "--epochs=3", "--nproc=2", port(), cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr.lower()
    assert result.stdout.count("test result: ") == 1
    assert len(re.findall(r"INFO  epoch \d: ", result.stderr)) == 3
    assert [path.suffix for path in sorted((folder / "saved").iterdir())] == [".json", ".pth"]
    assert len(list((folder / "log").rglob("*.log"))) == 1
    assert len(list((folder / "log_tensorboard").iterdir())) == 1
    (path,) = (folder / "saved").glob("*.json")
    report = json.loads(path.read_text())
    for key in ("valid", "test"):
        expected = alone[{"valid": "best_valid_result", "test": "test_result"}[key]]
        assert report[key] == pytest.approx(dict(expected), abs=1.01e-4)
    assert sum(row["rows"] for row in report["scenarios"]) == 10_000


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run(tmp_path):
    with started(tmp_path, "--model=MIDPG", *ENDLESS, "--nproc=3", port()) as process:
        wait_until(lambda: trains(tmp_path))
        victim, *others = workers(process)[::-1]
        victim.kill()
        assert process.wait(SECONDS) == 1
        assert not any(other.is_running() for other in others)
    text = (tmp_path / "told").read_text()
    assert "run_recbole: error: process 2 of 3 (pid " in text
    assert "was killed by signal 9, and the run ended; the same command with --resume" in text


def test_no_process_outlives_the_command(tmp_path):
    with started(tmp_path, "--model=DNN", *ENDLESS, "--nproc=2", port()) as process:
        wait_until(lambda: trains(tmp_path))
        trained = workers(process)
        pids = {each.pid for each in [process, *trained]}
        ports = [each for each in psutil.net_connections("tcp") if each.status == "LISTEN"]
        inherited = {each.laddr for each in ports if each.pid == os.getpid()}
        opened = {each.laddr for each in ports if each.pid in pids} - inherited
        listening = {address.ip for address in opened}
        assert listening == {"127.0.0.1"}  # on one machine nobody else can reach them
        process.kill()
        process.wait()
        wait_until(lambda: not any(each.is_running() for each in trained))


@pytest.mark.parametrize("reached", ["all", "command"])
def test_ctrl_c_tells_the_best_epoch_and_the_run_goes_on(tmp_path, reached):
    """From a terminal it reaches every process, from ``kill -INT`` the command alone."""
    arguments = ["--model=DNN", *FAST, "--nproc=2", "--epochs=400", "--stopping_step=400", port()]
    with started(tmp_path, *arguments) as process:
        wait_until(lambda: trains(tmp_path))
        for each in [process, *(workers(process) if reached == "all" else [])]:
            each.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    # A process that was about to say something may have begun the line.
    assert "run_recbole: interrupted; the best epoch so far is " in told(tmp_path)
    assert "auc 0." in told(tmp_path)
    assert list((tmp_path / "saved").glob("*.run"))


def test_two_machines(tmp_path):
    """Two commands here stand for two machines; the second is started first."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    common = ["--model=DNN", *FAST, "--epochs=2", "--world_size=2", port()]
    with (
        started(second, *common, "--group_offset=1") as other,
        started(first, *common) as process,
    ):
        assert process.wait(SECONDS) == 0, (first / "told").read_text()
        assert other.wait(SECONDS) == 0, (second / "told").read_text()
    assert list((first / "saved").glob("*.pth"))
    assert not list((second / "saved").iterdir())
    assert "test result" in (first / "told").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["a worker", "the first machine", "the second machine"])
def test_machines_end_together(tmp_path, dies):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    common = ["--model=DNN", *ENDLESS, "--world_size=2", port()]
    with (
        started(first, *common) as process,
        started(second, *common, "--group_offset=1") as other,
    ):
        wait_until(lambda: trains(first))
        if dies == "a worker":
            workers(other)[0].kill()
        elif dies == "the first machine":
            process.kill()
        else:
            other.kill()
        statuses = [process.wait(SECONDS), other.wait(SECONDS)]
    if dies == "a worker":
        assert statuses == [1, 1]
        assert "process 1 of 2 (pid" in (second / "told").read_text()
        assert "run_recbole: error: " in (first / "told").read_text()
    elif dies == "the first machine":
        assert statuses[1] == 1
        assert "and the run ended" in told(second)
    else:
        # Nobody is left there to say so: what is seen here is that a connection is lost.
        assert statuses[0] == 1
        text = (first / "told").read_text()
        assert re.search(r"error: process 0 of 2 \(pid \d+\) has failed:", text)


def test_a_port_in_use_is_reported(capsys):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert run_recbole_command(["--model=DNN", *FAST, "--nproc=2", f"--port={number}"]) == 2
    assert (
        f"port: {number} is in use on this machine, expected a free one" in capsys.readouterr().err
    )


def test_a_first_machine_that_does_not_answer(monkeypatch, capsys):
    monkeypatch.setattr(processes, "_CONNECT_SECONDS", 0.0)
    place = ["--world_size=2", "--group_offset=1", port()]
    assert run_recbole_command(["--model=DNN", *FAST, *place]) == 2
    assert "has not answered for 0 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nproc=0"], "nproc: 0 is not allowed"),
        (["--nproc=2", "--port=70000"], "port: 70000 is not allowed, expected a number from 1"),
        (["--nproc=2", "--port=x"], "port: 'x' is not allowed, expected a number"),
        (["--nproc=2", "--world_size=1"], "world_size: 1 is not allowed, expected at least 2"),
        (["--nproc=2", "--group_offset=1"], "expected at least 3 for 2 processes from rank 1"),
        (["--nproc=2", "--model=BPR"], "BPR here is not one of them"),
        (["--nproc=2", "--beta=x"], "beta: 'x' is not allowed"),
    ],
)
def test_what_cannot_be_is_told_before_a_process_is_started(monkeypatch, capsys, arguments, words):
    monkeypatch.setattr(processes, "_store", None)
    model = [] if any("--model" in word for word in arguments) else ["--model=MIDPG"]
    assert run_recbole_command([*model, *FAST, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_more_processes_than_cores_are_told(monkeypatch, capsys, caplog):
    def refuse(_):
        raise UsageError("enough")

    monkeypatch.setattr(processes, "_store", refuse)
    for cores, warned in ((2, True), (3, False)):
        caplog.clear()
        monkeypatch.setattr(processes, "n_cores", lambda cores=cores: cores)
        assert run_recbole_command(["--model=DNN", *FAST, "--nproc=3"]) == 2
        assert ("nproc: 3 processes share 2 cores" in caplog.text) == warned


def test_what_a_process_meets_is_told_once(tmp_path):
    """A loss that is not finite, which every process finds."""
    arguments = ["--model=DNN", *FAST, "--learning_rate=1e30", "--nproc=2", port()]
    with started(tmp_path, *arguments) as process:
        assert process.wait(SECONDS) == 2
    text = (tmp_path / "told").read_text()
    assert text.count("is not finite") == 1
    assert "Traceback" not in text


def test_a_fault_of_ours_is_shown_with_its_place(tmp_path, monkeypatch):
    """A process that ends by an exception that nobody expects: not hidden, and no one hangs."""

    def broken(self, **_):
        raise RuntimeError("of ours")

    monkeypatch.setattr(Run, "train", broken)
    with started(tmp_path, "--model=DNN", *FAST, "--nproc=2", port()) as process:
        assert process.wait(SECONDS) == 1
    text = (tmp_path / "told").read_text()
    assert "RuntimeError: of ours" in text
    assert re.search(r"error: process \d of 2 \(pid \d+\) has failed:", text)


def test_a_users_program_hands_its_command_line_to_its_processes(monkeypatch):
    """By argument: what a process finds in its own sys.argv does not count."""
    handed = []

    class Watch:
        def __init__(self, machine, store):
            pass

        def run(self, sources, saved):
            handed.append((sources, saved))

    monkeypatch.setattr(processes, "_Watch", Watch)
    monkeypatch.setattr(processes, "_store", lambda machine: None)
    monkeypatch.setattr("sys.argv", ["program.py", "--epochs=7", "--weighting=rc"])
    values = {"epochs": 3, "n": 2, "gpu_id": ""}
    processes.run("DPG", "ml-100k", config_dict=values, saved=False, nproc=2)
    monkeypatch.setattr("sys.argv", ["worker.py", "--epochs=9", "--m=2"])
    ((sources, saved),) = handed
    config = sources.with_values({"n": 4}).build()
    assert (config["epochs"], config["weighting"], config["n"], config["m"]) == (7, "rc", 4, 8)
    assert saved is False
