"""Faults of a GPU, with torch's own texts, as they were reported in public."""

import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments import tuning
from recbole_midpg.training import device_faults
from recbole_midpg.training.device_faults import (
    DeviceError,
    DeviceLostError,
    MemoryUsage,
    Occupants,
    reporting_faults,
)
from recbole_midpg.training.device_rows import DeviceRows, RowTables

CONFIG = {
    "device": torch.device("cuda"),
    "train_batch_size": 65536,
    "eval_batch_size": 4096,
    "embedding_size": 16,
}
NO_ROOM = (
    "CUDA out of memory. Tried to allocate 22.78 GiB. GPU 0 has a total capacity of 31.47 GiB of "
    "which 12.73 GiB is free. Including non-PyTorch memory, this process has 18.73 GiB memory in "
    "use. Of the allocated memory 9.08 GiB is allocated by PyTorch, and 9.35 GiB is reserved by "
    "PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation "
    "for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
)
TAIL = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
    "\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
LINK = (
    "\nSearch for `cudaErrorAssert' in https://docs.nvidia.com/cuda/cuda-runtime-api/"
    "group__CUDART__TYPES.html for more information."
)
TAKEN = "another process has it for itself; wait for it"
FULL = "no memory is left for CUDA itself"
WRONG_VALUE = "a computation met a value that it cannot work with"
GONE = "it is gone, or has stopped computing"


def raised(error, occupants=None):
    """What comes of an error."""
    with pytest.raises(Exception) as found, reporting_faults(occupants or Occupants(CONFIG)):
        raise error
    return found.value


@pytest.fixture(autouse=True)
def usage(monkeypatch):
    """The counters of a GPU that is not there."""
    numbers = SimpleNamespace(value=MemoryUsage(ours=70_000_000_000, others=1_500_000_000))
    monkeypatch.setattr(device_faults, "memory_usage", lambda device: numbers.value)
    return numbers


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("CUDA error: all CUDA-capable devices are busy or unavailable" + TAIL, TAKEN),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable" + TAIL, TAKEN),
        ("CUDA error: out of memory" + TAIL, FULL),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", FULL),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", FULL),
        ("CUDA error: device-side assert triggered" + LINK + TAIL, WRONG_VALUE),
        ("CUDA error: an illegal memory access was encountered" + TAIL, WRONG_VALUE),
        ("CUDA error: unspecified launch failure" + TAIL, GONE),
        ("CUDA error: uncorrectable ECC error encountered" + TAIL, GONE),
        ("CUDA error: no CUDA-capable device is detected" + TAIL, GONE),
        ("CUDA error: unknown error" + TAIL, GONE),
        ("No CUDA GPUs are available", GONE),
        ("CUDA driver error: out of memory", FULL),
        ("Triton Error [CUDA]: unspecified launch failure", GONE),
        ("CUDA error: no kernel image is available for execution on the device" + TAIL, "built"),
    ],
)
@pytest.mark.parametrize("is_new_type", [False, True])
def test_a_gpu_that_cannot_be_computed_on(text, meaning, is_new_type, monkeypatch):
    # torch makes an AcceleratorError of a number as well, which only CUDA knows.
    kind = type("AcceleratorError", (RuntimeError,), {}) if is_new_type else RuntimeError
    monkeypatch.setattr(device_faults, "_ACCELERATOR_ERROR", kind if is_new_type else None)
    error = kind(text)
    found = raised(error)
    assert type(found) is DeviceLostError
    assert found.__cause__ is error
    first_line = text.partition("\n")[0]
    assert str(found).startswith(f"preparing the model: cuda failed ({first_line}): ")
    assert meaning in str(found)
    assert "\n" not in str(found) and str(found).endswith(".") and ".." not in str(found)


def test_an_accelerator_error_needs_no_known_beginning(monkeypatch):
    kind = type("AcceleratorError", (RuntimeError,), {})
    monkeypatch.setattr(device_faults, "_ACCELERATOR_ERROR", kind)
    assert "cuda failed (GPU is lost)" in str(raised(kind("GPU is lost")))
    assert type(raised(RuntimeError("GPU is lost"))) is RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
        RuntimeError("The size of tensor a (3) must match ... CUDA error"),
        RuntimeError("CUDA error: operation not permitted when stream is capturing" + TAIL),
        RuntimeError("CUDA error: operation failed due to a previous error during capture" + TAIL),
        RuntimeError("CUDA error: invalid configuration argument" + TAIL),
        RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( ... )`"),
        RuntimeError("Triton Error [CUDA]: invalid argument"),
        ValueError("CUDA error: out of memory"),
        KeyboardInterrupt(),
        UsageError("training: the loss of epoch 1 is not finite"),
        OSError(28, "No space left on device"),
    ],
)
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)) as found, reporting_faults(Occupants(CONFIG)):
        raise error
    assert found.value is error


def occupants(training=True):
    """A model of 3 x 4 weights with its gradient, its moments, and a loader with rows."""
    model = nn.Linear(4, 3, bias=False).train(training)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    loader = SimpleNamespace(
        device_rows=DeviceRows(RowTables({"hour": torch.zeros(5000, dtype=torch.int8)}), "cpu")
    )
    return Occupants(CONFIG, model, optimizer, [loader, SimpleNamespace()])


def test_out_of_memory_names_what_takes_it_by_size():
    error = torch.cuda.OutOfMemoryError(NO_ROOM)
    found = raised(error, occupants())
    assert type(found) is DeviceError
    assert found.__cause__ is error
    # 12 weights and gradients of 4 bytes, twice as many moments and a count of steps
    assert str(found) == (
        "training: cuda has no memory for 22.78 GiB more, with a batch and its layers 70.0 GB, "
        "other processes 1.5 GB, rows of the data 5 kB, the optimizer's moments 100 bytes, "
        "weights 48 bytes, gradients 48 bytes; what helps, by size: "
        "a lower train_batch_size (65536), another GPU (gpu_id), data_on_device: False, "
        "a lower embedding_size (16), sparse_updates: on."
    )


def test_out_of_memory_in_evaluation_names_its_batch_size():
    found = raised(torch.cuda.OutOfMemoryError(NO_ROOM), occupants(training=False))
    assert str(found).startswith("evaluation: ")
    assert "a lower eval_batch_size (4096)" in str(found)
    assert "train_batch_size" not in str(found)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 264000000000000 bytes. Error code 12 (Cannot "
                "allocate memory)"
            ),
            " for 264000000000000 bytes more",
        ),
        (
            RuntimeError(
                "[enforce fail at C:\\alloc_cpu.cpp:81] data. DefaultCPUAllocator: not enough "
                "memory: you tried to allocate 100 bytes."
            ),
            " for 100 bytes more",
        ),
        (
            RuntimeError("Storage size calculation overflowed with sizes=[33, 1000000000000000]"),
            "",
        ),
        (MemoryError("Unable to allocate 7.28 TiB for an array with shape (1,)"), " for 7.28 TiB"),
        (MemoryError(), ""),
    ],
    ids=["Linux", "Windows", "too large a number", "numpy", "Python"],
)
def test_a_host_without_memory(error, wanted, usage, monkeypatch):
    monkeypatch.setattr(device_faults, "memory_usage", lambda _: None)
    config = {**CONFIG, "device": torch.device("cpu")}
    found = raised(error, Occupants(config))
    assert type(found) is DeviceError
    assert str(found).startswith(f"preparing the model: cpu has no memory{wanted}")
    assert str(found).endswith(
        "what helps, by size: a lower embedding_size (16), a lower train_batch_size (65536)."
    )


def test_what_takes_nothing_is_not_named(usage):
    usage.value = MemoryUsage(ours=100, others=0)  # less than what is known
    found = str(raised(torch.cuda.OutOfMemoryError("CUDA out of memory."), occupants()))
    assert "batch" not in found and "processes" not in found
    assert found.startswith("training: cuda has no memory, with rows of the data 5 kB, ")


def test_a_sparse_gradient_counts_the_rows_that_it_has(usage):
    usage.value = None
    embedding = nn.Embedding(1000, 2, sparse=True)
    embedding(torch.tensor([3, 5])).sum().backward()
    sentence = str(raised(torch.cuda.OutOfMemoryError(""), Occupants(CONFIG, embedding)))
    # two numbers of 8 bytes for the rows, two times two values of 4
    assert "weights 8 kB, gradients 32 bytes" in sentence


def test_out_of_memory_that_torch_fails_to_word():
    text = (
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":1090, '
        "please report a bug to PyTorch. "
    )
    assert "cuda has no memory" in str(raised(RuntimeError(text)))


def test_a_loader_that_was_not_asked_puts_no_rows_there_now():
    class Loader:
        @property
        def device_rows(self):
            raise AssertionError("it would need memory")

    found = raised(torch.cuda.OutOfMemoryError(NO_ROOM), Occupants(CONFIG, loaders=[Loader()]))
    assert type(found) is DeviceError


def test_a_gpu_that_is_gone_ends_a_search_and_one_that_is_full_a_trial(monkeypatch):
    def search(error):
        def train(*_):
            raise error

        monkeypatch.setattr(tuning, "_validate", train)
        plan = tuning.SearchPlan("DNN", "some", Path("record.jsonl"))
        return tuning._run_trial(plan, [2020], {"embedding_size": 4096})

    assert search(DeviceError("training: cuda has no memory.")).problem == (
        "training: cuda has no memory."
    )
    with pytest.raises(DeviceLostError):
        search(DeviceLostError("training: cuda failed."))


def test_a_fault_of_a_process_reaches_the_command_that_started_it():
    for kind in (DeviceError, DeviceLostError):
        received = pickle.loads(pickle.dumps(raised_from(kind)))
        assert (type(received), str(received)) == (kind, "training: cuda:1 failed.")


def raised_from(kind):
    try:
        raise kind("training: cuda:1 failed.") from RuntimeError("CUDA error: unknown error")
    except DeviceError as error:
        return error


def test_a_sentence_is_one_line_for_every_stage():
    for stage in ("", "prediction"):
        found = str(raised(torch.cuda.OutOfMemoryError(NO_ROOM), Occupants(CONFIG, stage=stage)))
        assert re.match(r"(preparing the model|prediction): cuda has no memory", found)
        assert "\n" not in found
