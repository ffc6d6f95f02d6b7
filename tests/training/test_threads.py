"""How many threads a process computes with, and why."""

import logging
import os

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.training import threads
from recbole_midpg.training.threads import (
    ROWS_A_THREAD,
    choose_threads,
    share_cores,
    use_threads,
)


@pytest.fixture(autouse=True)
def own_process(monkeypatch):
    """No choice in the environment, and the threads of before when a test is over."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    share_cores(1)


def config(rows=512, n_threads="auto", world_size=1):
    return {
        "n_threads": n_threads,
        "train_batch_size": rows,
        "single_spec": world_size == 1,
        "world_size": world_size,
    }


@pytest.mark.parametrize(
    ("rows", "cores", "processes", "world_size", "count"),
    [
        # Small steps are not worth a second thread, however many cores there are.
        (1, 2, 1, 1, 1),
        (512, 16, 1, 1, 1),
        (2 * ROWS_A_THREAD - 1, 16, 1, 1, 1),
        (2 * ROWS_A_THREAD, 16, 1, 1, 2),
        (65_536, 16, 1, 1, 16),
        (65_536, 2, 1, 1, 2),
        # Processes share the cores; more processes than cores have a thread each.
        (65_536, 16, 2, 1, 8),
        (65_536, 16, 3, 1, 5),
        (65_536, 2, 4, 1, 1),
        # Processes of one run share its batches, too.
        (65_536, 16, 2, 2, 8),
        (16_384, 16, 2, 2, 2),
        (16_384, 16, 2, 8, 1),
    ],
)
def test_auto_goes_by_the_rows_of_a_step_and_the_cores(rows, cores, processes, world_size, count):
    chosen = choose_threads(config(rows, world_size=world_size), cores, processes, {})
    assert chosen.count == count
    assert chosen.reason == f"n_threads: auto, for {rows // world_size:,} rows a step"


@pytest.mark.parametrize(
    ("environment", "count", "reason"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3, "OMP_NUM_THREADS=3"),
        ({"OMP_NUM_THREADS": "4,2"}, 4, "OMP_NUM_THREADS=4,2"),
        ({"MKL_NUM_THREADS": "5"}, 5, "MKL_NUM_THREADS=5"),
        ({"MKL_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, 3, "OMP_NUM_THREADS=3"),
        # What the OpenMP library cannot read either.
        ({"OMP_NUM_THREADS": "many"}, 16, "n_threads: auto, for 65,536 rows a step"),
        ({"OMP_NUM_THREADS": "0"}, 16, "n_threads: auto, for 65,536 rows a step"),
        ({"OMP_NUM_THREADS": ""}, 16, "n_threads: auto, for 65,536 rows a step"),
    ],
)
def test_the_environment_wins_over_auto_and_the_key_over_both(environment, count, reason):
    chosen = choose_threads(config(65_536), 16, 2 if count == 3 else 1, environment)
    assert (chosen.count, chosen.reason) == (count, reason)
    chosen = choose_threads(config(65_536, n_threads=7), 16, 1, environment)
    assert (chosen.count, chosen.reason) == (7, "n_threads: 7")


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "two", [2], None])
def test_another_value_is_refused_by_a_sentence(value):
    with pytest.raises(UsageError) as told:
        build_config("DNN", "ml-100k", values={"n_threads": value})
    assert str(told.value) == (
        f"n_threads: {value!r} is not allowed, expected auto or a whole number from 1 to 1024."
    )


def test_a_run_uses_what_is_chosen_and_logs_it(monkeypatch, caplog):
    monkeypatch.setattr(threads, "n_cores", lambda: 4)
    told = []
    with caplog.at_level(logging.INFO):
        for values, processes in (
            (config(3 * ROWS_A_THREAD), 1),
            (config(3 * ROWS_A_THREAD), 2),
            (config(n_threads=3), 1),
        ):
            share_cores(processes)
            use_threads(values)
            told.append((torch.get_num_threads(), caplog.messages[-1]))
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        use_threads(config())
    assert told == [
        (3, "threads: 3 of 4 cores (n_threads: auto, for 12,288 rows a step)."),
        (
            2,
            "threads: 2 of 4 cores, which 2 processes share "
            "(n_threads: auto, for 12,288 rows a step).",
        ),
        (3, "threads: 3 of 4 cores (n_threads: 3)."),
    ]
    assert torch.get_num_threads() == 2
    assert caplog.messages[-1] == "threads: 2 of 4 cores (OMP_NUM_THREADS=2)."


def test_cores_are_those_that_the_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity here")
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads.n_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert threads.n_cores() == len(allowed)
