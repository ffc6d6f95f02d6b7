import os
import signal
import time
from pathlib import Path

import pytest
from tqdm import tqdm

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.side_by_side import Death, Done, Failure, Piece, work_side_by_side

LOGS = Path("logs")
PATIENCE = 60.0  # seconds


def work(what, send):
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "misuse":
        raise UsageError("n: 9 is too large.")
    if what == "break":
        raise ZeroDivisionError("inside")
    for number in range(what):
        send(number)
    return os.getpid()


def messages_of(*contents, jobs=2):
    received = {place: [] for place in range(len(contents))}
    pieces = [Piece(f"piece-{what}", (what,)) for what in contents]
    with tqdm(disable=True) as bar:
        work_side_by_side(
            work, pieces, jobs, LOGS, bar, lambda place, message: received[place].append(message)
        )
    return list(received.values())


def test_each_piece_has_a_process_and_its_messages_come_in_order():
    (*sent, done), (done_too,) = messages_of(3, 0)
    assert sent == [0, 1, 2]
    assert len({done.result, done_too.result, os.getpid()}) == 3


@pytest.mark.slow
def test_one_that_fails_or_dies_is_told_and_ends_no_other():
    told = messages_of("die", "misuse", "break", 0)
    log = LOGS / "piece-break.log"
    assert told[:3] == [
        [Death("its process ended with status -9, as it does where memory is short")],
        [Failure("n: 9 is too large.")],
        [Failure(f"ZeroDivisionError: inside (see {log})")],
    ]
    assert isinstance(told[3][0], Done)
    assert "Traceback" in log.read_text()


def count_others(folder, number, at_least, _send):
    """How many work now, once as many as are to have begun."""
    (folder / f"begun-{number}").touch()
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("begun-*"))) < at_least and time.monotonic() < deadline:
        time.sleep(0.01)
    at_work = len(list(folder.glob("begun-*"))) - len(list(folder.glob("ended-*")))
    (folder / f"ended-{number}").touch()
    return at_work


@pytest.mark.slow  # many processes start
@pytest.mark.parametrize("jobs", [1, 3])
def test_as_many_work_at_a_time_as_there_are_jobs(tmp_path, jobs):
    pieces = [Piece(str(number), (tmp_path, number, jobs)) for number in range(4)]
    at_work = []
    with tqdm(disable=True) as bar:
        work_side_by_side(
            count_others, pieces, jobs, LOGS, bar, lambda _, done: at_work.append(done.result)
        )
    assert max(at_work) == jobs


def wait_long(file, _send):
    if file is not None:
        file.write_text(str(os.getpid()))
        time.sleep(PATIENCE)


@pytest.mark.slow
def test_an_error_of_the_parent_ends_the_others(tmp_path):
    file = tmp_path / "pid"

    def interrupted(*_):
        while not file.exists() or not file.read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt

    pieces = [Piece("long", (file,)), Piece("short", (None,))]
    with tqdm(disable=True) as bar, pytest.raises(KeyboardInterrupt):
        work_side_by_side(wait_long, pieces, 2, LOGS, bar, interrupted)
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
