"""The kernels of the gated layer: run by the interpreter or a GPU, compiled without one."""

from pathlib import Path

import pytest

from tests.triton_process import WAYS, needs_triton, run_cases


@needs_triton
@pytest.mark.parametrize("way", WAYS)
def test_kernels_equal_their_formulas(way):
    run_cases(Path(__file__).with_name("kernel_cases_gated_linear.py"), way)
