"""Workers start without what their parent holds, and do not outlive it."""

import os
import signal
import time

import psutil
import pytest

from recbole_midpg.common import child_processes
from recbole_midpg.common.child_processes import end_with_parent, worker_context


def work_on(sender):
    end_with_parent()
    sender.send(os.getpid())
    time.sleep(600)


def start_and_wait(sender):
    worker_context(__name__).Process(target=work_on, args=(sender,)).start()
    signal.pause()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_ends_with_the_process_that_started_it(method, monkeypatch):
    monkeypatch.setattr(child_processes, "START_METHOD", method)
    context = worker_context(__name__)
    assert context.get_start_method() == method
    receiver, sender = context.Pipe(duplex=False)
    parent = context.Process(target=start_and_wait, args=(sender,))
    parent.start()
    assert receiver.poll(60), "the worker has not begun"
    worker = psutil.Process(receiver.recv())
    assert worker.is_running()
    parent.kill()
    parent.join()
    _, alive = psutil.wait_procs([worker], timeout=60)
    assert not alive
