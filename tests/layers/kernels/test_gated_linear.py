"""The kernels of the gated layer: run by the interpreter."""

from pathlib import Path

from tests.support.triton_process import needs_triton, run_cases


@needs_triton
def test_kernels_equal_their_formulas():
    run_cases(Path(__file__).with_name("kernel_cases_gated_linear.py"))
