"""Runs the other tests of this folder where there is a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.device import environment_with_gpus

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 3600


@pytest.fixture(autouse=True)
def own_process():
    """This is the one test here that runs in the process of the tests for the CPU."""


def test_all_others_pass_on_a_gpu():
    if not torch.backends.cuda.is_built():
        pytest.skip("this torch has been built without CUDA")
    python, environment = [sys.executable, "-W", "ignore"], environment_with_gpus()
    count = "import torch; print(torch.cuda.device_count())"
    if int(subprocess.check_output([*python, "-c", count], env=environment)) == 0:
        pytest.skip("no GPU is visible")
    result = subprocess.run(
        [*python, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "tests/gpu"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    print(result.stdout)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2_000:]
