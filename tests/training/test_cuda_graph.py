import pytest
import torch
from torch import nn

from recbole_midpg.training.cuda_graph import (
    WARM_UP_RUNS,
    CopiedInput,
    RecordedWork,
    RowInput,
)
from recbole_midpg.training.device_rows import DeviceRows, RowTables
from tests.support.recorded_operations import RecordedOperations

CPU = torch.device("cpu")


def recorded(work):
    reasons = []
    return RecordedWork(work, RecordedOperations(CPU), reasons.append), reasons


def test_recorded_work_runs_once_a_call_and_no_python_when_replayed():
    total, runs = torch.zeros(()), []

    def work():
        runs.append(1)
        total.add_(2)
        return total * 10

    call, reasons = recorded(work)
    results = [float(call()) for _ in range(WARM_UP_RUNS + 4)]
    assert results == [20.0 * n for n in range(1, WARM_UP_RUNS + 5)]
    assert len(runs) == WARM_UP_RUNS + 1  # the recording is a run of Python, and nothing else
    assert not reasons


def test_random_draws_are_those_of_the_same_work_run_as_it_is():
    values = torch.zeros(5)

    def work():
        values.add_(nn.functional.dropout(torch.ones(5), 0.5))

    torch.manual_seed(3)
    for _ in range(9):
        work()
    expected = values.clone()
    values.zero_()
    torch.manual_seed(3)
    call, _ = recorded(work)
    for _ in range(9):
        call()
    assert torch.equal(values, expected)


@pytest.mark.parametrize(
    "reads",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0].sum(),
        lambda x: x.nonzero().sum(),
        lambda x: torch.unique(x).sum(),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    ],
)
def test_work_that_cannot_be_recorded_goes_on_as_it_is_and_says_why(reads):
    total, given = torch.zeros(()), torch.tensor([1.0, 0.0, 2.0])

    def work():
        total.add_(1)
        reads(given)

    call, reasons = recorded(work)
    for _ in range(WARM_UP_RUNS + 3):
        call()
    assert float(total) == WARM_UP_RUNS + 3  # the attempt to record leaves no trace
    (reason,) = reasons
    assert "test_cuda_graph.py:" in reason
    assert "not permitted when stream is capturing" in reason


def test_errors_of_the_work_itself_are_not_taken_for_a_failed_recording():
    def work():
        raise KeyError("a fault of the model")

    call, reasons = recorded(work)
    with pytest.raises(KeyError, match="a fault of the model"):
        call()
    assert not reasons


def test_the_first_of_several_errors_is_the_reason():
    class FailsTwice(RecordedOperations):
        def record(self, work):
            try:
                raise RuntimeError("the line that reads")
            except RuntimeError:
                raise RuntimeError("ending the capture failed as well") from None

    reasons = []
    call = RecordedWork(lambda: None, FailsTwice(CPU), reasons.append)
    for _ in range(WARM_UP_RUNS + 1):
        call()
    assert "the line that reads" in reasons[0]


def test_a_copied_input_fits_batches_of_its_shapes_only():
    inputs = CopiedInput({"a": torch.zeros(3, dtype=torch.long), "b": torch.zeros(3, 2)})
    batch = {"a": torch.tensor([1, 2, 3]), "b": torch.ones(3, 2)}
    assert inputs.fits(batch)
    assert not inputs.fits({name: column[:2] for name, column in batch.items()})
    assert not inputs.fits({"a": batch["a"]})
    places = {name: column.data_ptr() for name, column in inputs.take().items()}
    inputs.load(batch)
    assert {name: column.data_ptr() for name, column in inputs.take().items()} == places
    assert torch.equal(inputs.take()["a"], batch["a"])
    batch["a"].zero_()
    assert inputs.take()["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_row_input_gathers_the_batches_of_each_epoch(dtype):
    tables = RowTables({"a": torch.arange(100, 108, dtype=torch.int8)})
    order = torch.arange(8, dtype=dtype)
    inputs = RowInput(DeviceRows(tables, CPU), len(order), dtype, 3, CPU)
    total = torch.zeros(3, dtype=torch.long)
    call, reasons = recorded(lambda: total.copy_(inputs.take_next()["a"]))
    for epoch in range(4):  # recorded in the second one
        epoch_order = order.roll(epoch).flip(0)
        inputs.begin(epoch_order)
        assert inputs.n_full_batches == 2
        for batch in range(2):
            call()
            expected = 100 + epoch_order[3 * batch : 3 * batch + 3]
            assert total.tolist() == expected.tolist()
        assert inputs.take_rest()["a"].tolist() == (100 + epoch_order[6:]).tolist()
    assert not reasons


def test_rows_that_fill_their_batches_leave_no_rest():
    rows = DeviceRows(RowTables({"a": torch.zeros(6)}), CPU)
    inputs = RowInput(rows, 8, torch.int64, 3, CPU)
    inputs.begin(torch.arange(6))
    assert inputs.n_full_batches == 2 and inputs.take_rest() is None


def test_a_row_input_gathers_epochs_of_several_lengths():
    tables = RowTables({"a": torch.arange(100, 108, dtype=torch.int8)})
    inputs = RowInput(DeviceRows(tables, CPU), 8, torch.int32, 2, CPU)
    total = torch.zeros(2, dtype=torch.long)
    call, reasons = recorded(lambda: total.copy_(inputs.take_next()["a"]))
    order = torch.arange(8, dtype=torch.int32).flip(0)
    for places in (range(0, 4), range(4, 7), range(0, 2), range(2, 8)):
        part = order[places.start : places.stop]
        inputs.begin(part)
        for batch in range(len(part) // 2):
            call()
            assert total.tolist() == (100 + part[2 * batch : 2 * batch + 2]).tolist()
        rest = inputs.take_rest()
        left = [] if rest is None else rest["a"].tolist()
        assert left == (100 + part[len(part) // 2 * 2 :]).tolist()
    assert not reasons
