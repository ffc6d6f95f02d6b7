import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.training.device_rows import DeviceRows, Features, RowTables, widen

CPU = torch.device("cpu")


def tables():
    """Three rows of fields of all types, one with a column of every table of features."""
    return RowTables(
        {
            "user": torch.tensor([2, 0, 1], dtype=torch.int8),
            "hour": torch.tensor([23, -128, 127], dtype=torch.int8),
            "tags": torch.tensor([[1, 2], [3, 4], [5, 6]], dtype=torch.int16),
            "item": torch.tensor([0, 300, 1], dtype=torch.int16),
            "price": torch.tensor([0.5, 1.5, 2.5]),
            "clicked": torch.tensor([True, False, True]),
        },
        [
            Features("user", {"age": torch.tensor([10, 11, 12], dtype=torch.int32)}),
            Features("item", {"maker": torch.arange(301).to(torch.int16) * 2}),
        ],
    )


def test_takes_rows_by_number_wide_and_joined():
    taken = DeviceRows(tables(), CPU).take(torch.tensor([2, 0, 2], dtype=torch.int32))
    assert {name: column.tolist() for name, column in taken.items()} == {
        "user": [1, 2, 1],
        "hour": [127, 23, 127],
        "tags": [[5, 6], [1, 2], [5, 6]],
        "item": [1, 0, 1],
        "price": [2.5, 0.5, 2.5],
        "clicked": [True, True, True],
        "age": [11, 12, 11],
        "maker": [2, 0, 2],
    }
    assert list(taken) == list(tables().take(torch.tensor([0])))
    assert taken["price"].dtype == torch.float32
    assert taken["clicked"].dtype == torch.bool
    integers = ("user", "hour", "tags", "item", "age", "maker")
    assert all(taken[name].dtype == torch.int64 for name in integers)
    assert all(column.is_contiguous() for column in taken.values())


def test_knows_its_size():
    rows = DeviceRows(tables(), CPU)
    assert len(rows) == len(tables()) == 3
    # per row: 2 int8, 2 + 1 int16, a float32 and a bool; 3 int32 ages and 301 int16 makers
    assert rows.n_bytes == tables().n_bytes == 3 * (2 + 6 + 4 + 1) + 3 * 4 + 301 * 2


def test_is_a_copy():
    kept = tables()
    rows = DeviceRows(kept, CPU)
    before = rows.take(torch.arange(3))
    for column in (*kept.rows.values(), *kept.features[0].columns.values()):
        column.zero_()
    for name, column in rows.take(torch.arange(3)).items():
        assert torch.equal(column, before[name])


@pytest.mark.parametrize("count", [0, 1])
def test_takes_no_row_and_one(count):
    taken = DeviceRows(tables(), CPU).take(torch.full((count,), 1))
    assert [len(column) for column in taken.values()] == [count] * len(taken)
    assert taken["tags"].shape == (count, 2)


@given(st.data())
def test_equals_a_gather_of_each_column(data):
    count = data.draw(st.integers(1, 20))
    kinds = [torch.int8, torch.int16, torch.int32, torch.int64, torch.float32]
    columns = {"key": torch.randint(0, 7, (count,), dtype=torch.int8)}
    for number in range(data.draw(st.integers(0, 6))):
        shape = (count, *data.draw(st.lists(st.integers(1, 3), max_size=2)))
        kind = data.draw(st.sampled_from(kinds))
        columns[f"field{number}"] = torch.randint(-99, 99, shape).to(kind)
    features = Features("key", {"feature": torch.randint(-99, 99, (7, 2), dtype=torch.int16)})
    kept = RowTables(columns, [features])
    rows = torch.tensor(data.draw(st.lists(st.integers(0, count - 1), max_size=30)))
    rows = rows.to(data.draw(st.sampled_from([torch.int32, torch.int64])))
    taken = DeviceRows(kept, CPU).take(rows)
    expected = {name: widen(column) for name, column in kept.take(rows).items()}
    assert list(taken) == list(expected)
    for name, column in expected.items():
        assert taken[name].dtype == column.dtype
        assert torch.equal(taken[name], column)


def test_takes_rows_without_a_look_at_their_values():
    # On the meta device there are no values: whatever depended on one would raise.
    rows = DeviceRows(tables(), torch.device("meta"))
    taken = rows.take(torch.empty(5, dtype=torch.int32, device="meta"))
    assert {column.shape for name, column in taken.items() if name != "tags"} == {(5,)}
    assert taken["tags"].shape == (5, 2)


def test_a_batch_takes_two_kernels_a_type():
    kept = {f"field{number}": torch.arange(9, dtype=torch.int8) for number in range(30)}
    rows = DeviceRows(RowTables(kept), CPU)
    calls = []

    class Counted(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    with Counted():
        rows.take(torch.arange(4))
    computed = [name for name in calls if name not in ("unbind", "arange")]
    assert computed == ["index_select", "_to_copy"]
