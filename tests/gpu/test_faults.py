"""What a user is told of a GPU that is not there, or is full."""

import pytest

from tests.gpu.runs import only_on_a_gpu
from tests.support.processes import run_module, run_python

FAST = ["--model=DNN", "--dataset=ml-100k", "--epochs=1", "--show_progress=False"]
# A GPU of which a process may have so many MiB.
SMALL_GPU = """
import sys, torch
share = {mib} * 2**20 / torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(share, 0)
from recbole_midpg.cli import run_recbole_command
sys.exit(run_recbole_command({arguments}))
"""


def assert_told(result, *words):
    assert result.returncode == 2, result.stderr
    told = result.stderr.strip().splitlines()[-1]
    assert told.startswith("run_recbole: error: ")
    assert all(word in told for word in words), told
    assert "Traceback" not in result.stderr


@only_on_a_gpu
@pytest.mark.parametrize("gpu_id", ["99", "0,99"])
def test_a_gpu_that_is_not_there(tmp_path, gpu_id):
    assert_told(run_module(*FAST, f"--gpu_id={gpu_id}", cwd=tmp_path), "gpu_id", "99")
    assert not list(tmp_path.glob("saved/*.pth"))


@only_on_a_gpu
def test_more_processes_than_gpus(tmp_path):
    result = run_module(*FAST, "--nproc=99", cwd=tmp_path)
    assert_told(result, "nproc", "99")


@only_on_a_gpu
@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize(
    ("large", "small"),
    [("train_batch_size", "eval_batch_size"), ("eval_batch_size", "train_batch_size")],
)
def test_a_batch_that_does_not_fit(tmp_path, large, small, graph):
    """A hidden layer of 4,096 takes 1.2 GiB of 80,000 rows, for training, and 160 MiB of 10,000.

    The model with its moments takes 5 MiB, a batch of 64 rows 1, and cuBLAS some tens.
    """
    arguments = [*FAST, "--mlp_hidden_size=[4096]", f"--{large}=100000", f"--{small}=64"]
    arguments += [f"--cuda_graph={graph}", f"--data_on_device={graph}"]
    result = run_python(SMALL_GPU.format(mib=150, arguments=arguments), tmp_path)
    assert_told(result, "memory", large)
