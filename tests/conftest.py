"""Fixtures that every test may use."""

import logging
import os
import signal
import sys

import hypothesis
import psutil
import pytest

from tests.support.device import gpu_tests_device, hide_gpus

if gpu_tests_device() != "cuda":
    hide_gpus()

# Threads that wait for each other make tiny steps thirty times slower on a busy machine, and a
# process that is forked from one with several waits for threads that it does not have.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # once GPUs are hidden from it, and its threads are counted

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

torch.set_num_threads(1)

# How long an example takes says more of a busy machine than of the code. A run that fails fails
# again: new examples are looked for by `pytest --hypothesis-profile=searching`.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.register_profile("searching", deadline=None)
hypothesis.settings.load_profile("repeatable")

# A shell lets what it starts in the background ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# RecBole reads the command line, in fixtures of a module too, and pytest's is not meant for it.
sys.argv[1:] = []


@pytest.fixture(autouse=True)
def quiet_surroundings(tmp_path, monkeypatch):
    """A folder, a command line, log handlers and a cache of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["pytest"])
    # RecBole ends each run by measuring the processor's load, asleep, for a second.
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval=None: 0.0)
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
