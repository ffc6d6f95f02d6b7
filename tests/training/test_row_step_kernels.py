"""The kernels of row-wise Adam: run by the interpreter."""

from pathlib import Path

from tests.support.triton_process import needs_triton, run_cases


@needs_triton
def test_kernels_equal_plain_torch():
    run_cases(Path(__file__).with_name("kernel_cases_row_steps.py"))
