"""The kernels of row-wise Adam: run by the interpreter or a GPU."""

from pathlib import Path

import pytest

from tests.triton_process import WAYS, needs_triton, run_cases


@needs_triton
@pytest.mark.parametrize("way", WAYS)
def test_kernels_equal_plain_torch(way):
    run_cases(Path(__file__).with_name("kernel_cases_row_steps.py"), way)
