"""The tests that need a GPU, in a process of their own, see :mod:`tests.support.device`.

``pytest`` and ``pytest tests/gpu`` start that process where there is a GPU. A part of it alone, or
all of them on the CPU to see that they can run:

    RECBOLE_MIDPG_GPU_TESTS=cuda pytest tests/gpu/test_graph.py -k AdaSparse
    RECBOLE_MIDPG_GPU_TESTS=cpu pytest tests/gpu
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.run.test_progress import write_rows
from tests.support.device import GPU_TESTS, gpu_tests_device

HERE = Path(__file__).parent
STARTS_THE_OTHERS = "test_own_process.py"

collect_ignore = [
    path.name
    for path in HERE.glob("test_*.py")
    if (path.name == STARTS_THE_OTHERS) != (gpu_tests_device() is None)
]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == HERE:
            item.add_marker("gpu")


@pytest.fixture(autouse=True)
def own_process():
    """That the test has the device that it is for."""
    device = gpu_tests_device()
    assert device is not None, f"run with {GPU_TESTS}=cuda, or by pytest tests/gpu"
    assert device == "cpu" or torch.cuda.is_available(), "there is no GPU"


@pytest.fixture
def rows(tmp_path):
    """The dataset of the tests of resumed runs, 960 rows of it for training."""
    write_rows(np.random.default_rng(1))
    return tmp_path
