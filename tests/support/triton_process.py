"""Runs the tests of Triton's kernels in a process of their own.

Whether Triton's interpreter runs kernels is settled when Triton is imported, so that one process
cannot do both. The files ``tests/**/kernel_cases_*.py`` hold the tests, which pytest does not
collect by itself: a test beside them runs them where kernels can run.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

# tests/gpu runs the same cases, compiled.
DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed; the extra [kernels] brings it"
)


def run_cases(file: Path) -> None:
    """Run the tests of a file by the interpreter, and fail with their output where one fails."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
