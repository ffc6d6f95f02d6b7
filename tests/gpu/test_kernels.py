"""The tests of Triton's kernels, which the CPU runs by Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.runs import only_on_a_gpu

TESTS = Path(__file__).parents[1]
CASES = sorted(TESTS.rglob("kernel_cases_*.py"))


@only_on_a_gpu
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_compiled_kernels(file):
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(file)]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    result = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
