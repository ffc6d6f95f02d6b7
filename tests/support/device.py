"""On which device tests run: the CPU whatever a machine has, but for those of ``tests/gpu``.

A process finds out which GPUs it can see once and for all, so it is for one of the two alone.
``tests/conftest.py`` hides the GPUs from the process of the tests, and so from all that it starts;
``tests/gpu`` starts a process for its own, to which they are given back.
"""

from __future__ import annotations

import os

GPU_TESTS = "RECBOLE_MIDPG_GPU_TESTS"
"""In the environment of a process for the tests of ``tests/gpu`` alone: the device they run on,
``cuda``, or ``cpu`` for a rehearsal of what they do."""
_HIDDEN = "RECBOLE_MIDPG_TESTS_HIDE"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ALL = "all"


def gpu_tests_device() -> str | None:
    """The device of the tests of ``tests/gpu``; ``None`` in a process for all others."""
    return os.environ.get(GPU_TESTS)


def hide_gpus() -> None:
    """Hide the machine's GPUs from this process and those that it starts, before torch looks."""
    # A worker of pytest-xdist finds them hidden by the process that started it.
    os.environ.setdefault(_HIDDEN, os.environ.get(_VISIBLE, _ALL))
    os.environ[_VISIBLE] = ""


def environment_with_gpus() -> dict[str, str]:
    """The environment of a process that sees what this one would without :func:`hide_gpus`."""
    environment = {**os.environ, GPU_TESTS: "cuda"}
    del environment[_VISIBLE]
    visible = environment.pop(_HIDDEN)
    return environment if visible == _ALL else {**environment, _VISIBLE: visible}
