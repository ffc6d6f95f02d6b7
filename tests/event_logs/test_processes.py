"""Several processes beside one."""

import multiprocessing
import os
import signal

import pytest

from recbole_midpg.common.errors import ProcessDied
from recbole_midpg.event_logs.processes import started_workers


def square(number):
    return number * number


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_results_are_in_order_and_few_items_are_taken_ahead():
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    with started_workers(2) as workers:
        results = workers.results(square, items())
        assert next(results) == 0
        assert len(taken) < 10
        assert list(results) == [number * number for number in range(1, 20)]
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_killed_process_is_told_in_a_sentence():
    with pytest.raises(ProcessDied, match="was killed"), started_workers(2) as workers:
        list(workers.results(die, range(3)))
    assert not multiprocessing.active_children()
