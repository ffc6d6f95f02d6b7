"""Where Triton's kernels may be chosen, and the sentences where they may not."""

from importlib import metadata

import pytest
import torch
from torch import nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers import kernels
from tests.support.triton_process import needs_triton

CPU = torch.device("cpu")


def sentence(device):
    with pytest.raises(UsageError) as raised:
        kernels.check_triton(device)
    return str(raised.value)


def test_triton_may_be_missing(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    assert sentence(torch.device("cuda")) == (
        "triton_kernels: True is not possible as triton is not installed (torch's builds for CUDA "
        "on Linux bring it along), expected False."
    )


@pytest.mark.parametrize("version", ["2.1.0", "3.0.0", "3.0.0+git1"])
def test_triton_may_be_too_old(monkeypatch, version):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert f"as triton {version} is older than 3.1, expected False" in sentence(CPU)


@pytest.mark.parametrize("version", ["3.1.0", "3.9.0", "3.10.1", "4.0"])
def test_newer_versions_serve_a_gpu(monkeypatch, version):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    kernels.check_triton(torch.device("cuda"))


@needs_triton
def test_a_cpu_runs_no_kernels(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert sentence(CPU) == (
        "triton_kernels: True is not possible as the device is a CPU, expected False."
    )


@needs_triton
def test_a_model_without_gated_layers_stays_as_it_is():
    line = kernels.use_triton_kernels(nn.Linear(2, 3))
    assert line == "Triton's kernels compute no layer of this model."
