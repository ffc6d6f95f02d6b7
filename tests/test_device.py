import os
from pathlib import Path

import pytest
import torch

from tests.support import device
from tests.support.processes import run_python
from tests.support.recbole_data import gaps_config

# Says that there is a GPU where none is hidden, as on a machine with one.
WITH_GPU = "import torch; torch.cuda.is_available = lambda: True\n"


def test_this_process_sees_no_gpu():
    assert not torch.cuda.is_available()
    assert torch.cuda.device_count() == 0


def test_a_config_leaves_gpus_hidden(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gaps_config()["device"] == torch.device("cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.slow
def test_a_command_leaves_gpus_hidden(tmp_path):
    code = """
import os, recbole_midpg
from recbole_midpg.integration.config.config import build_config
print(build_config("DNN", "ml-100k")["device"], repr(os.environ["CUDA_VISIBLE_DEVICES"]))
"""
    result = run_python(WITH_GPU + code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "cpu ''\n"


def test_the_gpu_tests_are_given_back_what_was_hidden(monkeypatch):
    for visible in ("2,3", "", None):
        environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        monkeypatch.setattr(os, "environ", dict(environment))
        device.hide_gpus()
        device.hide_gpus()  # as in a worker of pytest-xdist
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert device.gpu_tests_device() is None
        assert device.environment_with_gpus() == {**environment, device.GPU_TESTS: "cuda"}


def test_only_the_gpu_tests_ask_for_a_gpu():
    """Elsewhere there is none, and such a test would never run."""
    here = Path(__file__)
    asking = [
        str(path.relative_to(here.parent))
        for path in here.parent.rglob("*.py")
        if path != here and "cuda.is_available()" in path.read_text(encoding="utf-8")
    ]
    assert [path for path in asking if not path.startswith("gpu")] == []
    assert asking  # they say so themselves, too
