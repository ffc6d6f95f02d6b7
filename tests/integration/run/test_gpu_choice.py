"""Which GPU a run is on, on machines that are not there."""

import os

import pytest
import torch
from recbole.config import Config

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run import gpu_choice, process_group
from recbole_midpg.integration.run.checkpoint import config_from_plain, config_to_plain
from recbole_midpg.integration.run.gpu_choice import describe_device, named_gpus

UUID = "GPU-5d1b3cf1-9a9a-4b8e-bd22-7c2a4b6d1f00"
MIG = "MIG-8a3f1c52-0d5b-5f4d-a1d0-2f4c6b7e9a10"


@pytest.fixture
def machine(monkeypatch):
    """Makes this a machine of some GPUs, whose variable CUDA reads as CUDA does."""

    def of(*gpus, starts=True):
        known = {str(number): gpu for number, gpu in enumerate(gpus)}

        def find(name):
            by_name = [gpu for gpu in gpus if gpu.startswith(name)]
            return known.get(name) or (by_name[0] if name and by_name else None)

        def device_count():
            text = os.environ.get("CUDA_VISIBLE_DEVICES")
            if text is None:
                return len(gpus)
            found = []
            for name in text.split(","):
                gpu = find(name.strip())
                if gpu is None:
                    break
                if gpu in found:
                    return 0
                found.append(gpu)
            # only one part of a GPU at a time
            return min(len(found), 1) if any("MIG" in gpu for gpu in found) else len(found)

        monkeypatch.setattr(process_group, "_GPUS_ARE_HIDDEN", False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # the user's, which RecBole does away with
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", device_count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: starts and device_count() > 0)

    return of


def chosen(**values):
    """The device of a run, and the GPUs that CUDA will see."""
    config = Config(model="DNN", dataset="ml-100k", config_dict=values)
    return config["device"].type, os.environ["CUDA_VISIBLE_DEVICES"]


def refused(**values):
    with pytest.raises(UsageError) as error:
        chosen(**values)
    return str(error.value)


def test_a_gpu_that_is_not_there_is_refused_by_name(machine):
    machine(UUID)
    assert refused(gpu_id="3") == "gpu_id: '3' names no GPU here, expected 0 or '' for the CPU."
    assert refused(gpu_id=3) == refused(gpu_id="3")
    machine("GPU-a", "GPU-b")
    assert refused(gpu_id="0,2") == (
        "gpu_id: '2' of '0,2' names no GPU here, expected 0, 1 or '' for the CPU."
    )
    assert refused(gpu_id=[5, 0]).startswith("gpu_id: '5' of '5,0' names no GPU here")
    assert refused(gpu_id="GPU-c").startswith("gpu_id: 'GPU-c' names no GPU here")
    assert refused(gpu_id=MIG).startswith(f"gpu_id: '{MIG}' names no GPU here")
    assert refused(gpu_id="cuda:0").startswith("gpu_id: 'cuda:0' names no GPU here")
    assert refused(gpu_id=None).startswith("gpu_id: 'None' names no GPU here")
    assert refused(gpu_id="0,0") == "gpu_id: '0,0' names a GPU twice, expected each once."


@pytest.mark.parametrize(
    ("gpu_id", "visible"),
    [
        ("0", "0"),
        (1, "1"),
        ("0,1", "0,1"),
        ("1, 0", "1,0"),
        ((0, 1), "0,1"),
        ([1, 0], "1,0"),
        ("0,", "0"),
        ("GPU-a", "GPU-a"),
        ("GPU-b-2,GPU-a", "GPU-b-2,GPU-a"),
        ("0,-1,7", "0,-1,7"),
    ],
)
def test_gpus_that_are_there_are_taken(machine, gpu_id, visible):
    machine("GPU-a-1", "GPU-b-2")
    assert chosen(gpu_id=gpu_id) == ("cuda", visible)


@pytest.mark.parametrize("gpu_id", [MIG, f"{MIG},MIG-other"])
def test_parts_of_a_gpu_are_taken(machine, gpu_id):
    machine(MIG, "MIG-other")
    assert chosen(gpu_id=gpu_id)[0] == "cuda"


@pytest.mark.parametrize("gpu_id", ["", "-1", -1, "NoDevFiles"])
@pytest.mark.parametrize("gpus", [(), ("GPU-a",)])
def test_the_cpu_can_be_asked_for(machine, gpus, gpu_id):
    machine(*gpus)
    assert chosen(gpu_id=gpu_id)[0] == "cpu"


@pytest.mark.parametrize("gpu_id", ["0", 1, [0, 1]])
def test_use_gpu_false_is_the_cpu(machine, gpu_id):
    machine("GPU-a", "GPU-b")
    assert chosen(use_gpu=False, gpu_id=gpu_id) == ("cpu", "")


def test_without_a_gpu_the_default_is_the_cpu_and_a_name_is_refused(machine):
    machine()
    assert chosen()[0] == "cpu"
    assert chosen(gpu_id="0")[0] == chosen(gpu_id=0)[0] == "cpu"  # a file may repeat the default
    assert refused(gpu_id="3") == (
        "gpu_id: '3' names no GPU here, expected '' for the CPU, as torch finds none."
    )


def test_the_command_line_is_refused_too(machine, monkeypatch):
    machine("GPU-a")
    monkeypatch.setattr("sys.argv", ["run_recbole", "--gpu_id=3"])
    assert refused().startswith("gpu_id: '3' names no GPU here, expected 0 or")


def test_a_gpu_that_cuda_cannot_start_is_told(machine):
    machine("GPU-a", starts=False)
    assert "CUDA does not start" in refused(gpu_id="0")
    assert chosen()[0] == "cpu"


def test_the_users_variable_stays_as_recbole_sets_it(machine):
    machine("GPU-a")
    with pytest.raises(UsageError):
        chosen(gpu_id="3")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert gpu_choice.n_gpus() == 1
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_what_cuda_has_begun_with_stays(machine, monkeypatch):
    machine("GPU-a")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    chosen(gpu_id="3")  # CUDA does not read it, and nothing can be said of it


def test_a_checkpoint_of_another_machine_can_be_read(machine):
    machine("GPU-a", "GPU-b")
    plain = config_to_plain(Config(model="DNN", dataset="ml-100k", config_dict={"gpu_id": "1"}))
    machine("GPU-a")
    assert config_from_plain(plain, "checkpoint")["device"].type == "cpu"


def test_names_of_gpus():
    assert named_gpus("0") == ["0"]
    assert named_gpus(" 0 , GPU-a") == ["0", "GPU-a"]
    assert named_gpus("") == named_gpus("-1,0") == []
    assert named_gpus("0,,1") == ["0"]


def test_the_log_says_where_a_run_is(machine, monkeypatch):
    machine("GPU-a")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")

    def line(**values):
        return describe_device(Config(model="DNN", dataset="ml-100k", config_dict=values))

    assert line() == "The run is on cuda (NVIDIA H100 80GB HBM3, gpu_id: '0')."
    assert line(gpu_id="") == "The run is on the CPU (gpu_id: '')."
    machine()
    assert line() == "The run is on the CPU, as torch finds no GPU (gpu_id: '0')."
