"""The kernels compiled for GPUs by Triton and ptxas, which need no GPU for it."""

import math
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.triton_process import needs_triton

pytestmark = [
    needs_triton,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"
    ),
]

POINTERS = {
    **dict.fromkeys(["rows"], "*i64"),
    **dict.fromkeys(["now", "last_steps", "last_step"], "*i32"),
    **dict.fromkeys(["tails", "log_ratios", "log_betas"], "*fp64"),
    "skip": "*i1",
}
SCALARS = {"B": "i32", "R": "i32", "gate_scale": "fp32", "eps": "fp32"}


def compiled(kernel, constants, warps, capability, folder):
    """A kernel's machine code, for pointers that are aligned as torch's are."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    signature = {
        name: "constexpr" if name in constants else {**POINTERS, **SCALARS}.get(name, "*fp32")
        for name in names
    }
    source = ASTSource(
        kernel,
        signature,
        {(names.index(name),): value for name, value in constants.items()},
        {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if "*" in signature[n]},
    )
    target, options = (
        GPUTarget("cuda", capability, 32),
        {"num_warps": warps, "enable_fp_fusion": True},
    )
    result = triton.compile(source, target=target, options=options)
    file = folder / "kernel.cubin"
    file.write_bytes(result.asm["cubin"])
    program = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run(
        [program, "-res-usage", file], capture_output=True, text=True, check=True
    )
    (stack,) = re.findall(r"STACK:(\d+)", usage.stdout)
    return result, int(stack)


def gated_kernels(sizes):
    """The three kernels of a layer, their constants and their warps."""
    from recbole_midpg.layers.kernels import gated_linear as kernels

    common = {"PRECISION": "ieee"}
    for kernel, block, own in (
        (kernels.forward_kernel, sizes.blocks.forward, {"RANK": sizes.k}),
        (
            kernels.to_samples_kernel,
            sizes.blocks.to_samples,
            {"RANK": sizes.k, "GATES_ARE_USED": True},
        ),
        (kernels.to_weight_kernel, sizes.blocks.to_weight, {"STEPS": 2}),
    ):
        yield kernel, {**sizes.constants(block), **common, **own}, block.warps


def check_code(result, stack, capability, spilled=0):
    ptx = result.asm["ptx"]
    assert f".target sm_{capability}" in ptx
    assert stack <= spilled
    # Nothing is added by several programs, and float32 stays float32.
    assert not re.search(r"\b(atom|red)\.", ptx)
    assert "tf32" not in ptx
    # The least shared memory of a block among GPUs that PyTorch's CUDA builds still serve.
    assert result.metadata.shared <= 99 * 1024


@pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.slow), 90])
def test_layer_of_the_default_size_compiles_without_spilling(capability, tmp_path):
    from recbole_midpg.layers.kernels.gated_linear import Sizes

    for kernel, constants, warps in gated_kernels(Sizes(N=112, M=128, n=8, m=8, k=4)):
        result, stack = compiled(kernel, constants, warps, capability, tmp_path)
        check_code(result, stack, capability)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    "sizes",
    [(37, 61, 5, 7, 3), (64, 32, 8, 8, 0), (64, 64, 32, 32, 8), (128, 128, 1, 128, 2)],
)  # fmt: skip
def test_other_layers_compile(sizes, capability, tmp_path):
    from recbole_midpg.layers.kernels.gated_linear import Sizes

    for kernel, constants, warps in gated_kernels(Sizes(*sizes)):
        result, stack = compiled(kernel, constants, warps, capability, tmp_path)
        check_code(result, stack, capability, spilled=16)


@pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.slow), 90])
def test_row_steps_compile_without_spilling(capability, tmp_path):
    from recbole_midpg.training import row_step_kernels as kernels

    block = {"D": 16, "ROWS": 32, "COLUMNS": 16}
    tails = {"LAST_TAIL": 41_567, "NEGLIGIBLE": 2.0**-60}
    betas = {"BETA1": 0.9, "BETA2": 0.999}
    logarithms = {"LOG_BETA1": math.log(0.9), "LOG_BETA2": math.log(0.999)}
    for kernel, own in (
        (kernels.missed_steps_kernel, tails),
        (kernels.step_kernel, {"MAY_SKIP": True, **betas, **logarithms}),
        (kernels.scatter_kernel, {}),
    ):
        result, stack = compiled(kernel, {**block, **own}, kernels.WARPS, capability, tmp_path)
        check_code(result, stack, capability)
        # Roots and quotients of moments are rounded as torch rounds them.
        assert not re.search(r"(sqrt|div)\.(approx|full)", result.asm["ptx"])
