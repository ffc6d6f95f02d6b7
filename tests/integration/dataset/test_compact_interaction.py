import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction, cat_interactions

from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction, narrow

BOUNDS = [
    (torch.int8, -128, 127),
    (torch.int16, -(2**15), 2**15 - 1),
    (torch.int32, -(2**31), 2**31 - 1),
    (torch.int64, -(2**63), 2**63 - 1),
]


@st.composite
def tables(draw, least_rows=0):
    """Columns as RecBole makes them: int64 and float32 vectors, and sequences."""
    rows = draw(st.integers(least_rows, 12))
    greatest = draw(st.sampled_from([1, 3, 127, 128, 40_000, 2**40]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))

    def random(*shape):
        return torch.randint(-greatest, greatest + 1, shape, generator=generator)

    return {
        "user": random(rows),
        "item": torch.randint(0, 3, (rows,), generator=generator),
        "time": torch.randint(0, 4, (rows,), generator=generator).float(),
        "tags": random(rows, 2),
        "levels": torch.rand(rows, 2, generator=generator),
    }


def both(columns):
    return CompactInteraction(columns), Interaction(dict(columns))


def assert_same(ours, stock):
    assert len(ours) == ours.length == stock.length
    assert ours.columns == list(ours) == stock.columns
    for name in stock:
        assert ours[name].dtype == stock[name].dtype
        assert torch.equal(ours[name], stock[name])
        assert torch.equal(getattr(ours, name), stock[name])


@pytest.mark.parametrize(("dtype", "least", "greatest"), BOUNDS)
def test_integers_are_kept_in_the_smallest_type_that_holds_them(dtype, least, greatest):
    for value in (least, greatest):
        assert narrow(torch.tensor([0, value])).dtype == dtype
    if dtype != torch.int64:
        for value in (least - 1, greatest + 1):
            column = narrow(torch.tensor([0, value]))
            assert column.dtype != dtype
            assert column.tolist() == [0, value]


def test_other_types():
    assert narrow(torch.tensor([0.1], dtype=torch.float64)).dtype == torch.float32
    assert narrow(torch.tensor([True])).dtype == torch.bool
    assert narrow(torch.empty(0, dtype=torch.int64)).dtype == torch.int8
    assert narrow(torch.tensor([200], dtype=torch.uint8)).dtype == torch.int16
    floats = torch.tensor([0.1])
    assert narrow(floats) is floats


@given(tables())
def test_reads_as_recboles(columns):
    ours, stock = both(columns)
    assert_same(ours, stock)
    assert str(ours) == str(stock)
    assert "user" in ours
    assert "none" not in ours
    assert_same(ours.widen(), stock)
    assert type(ours.widen()) is Interaction
    for name, array in ours.numpy().items():
        assert array.dtype == stock.numpy()[name].dtype
        np.testing.assert_array_equal(array, stock.numpy()[name])


def test_keeps_few_bytes():
    ours = CompactInteraction({"user": torch.arange(100), "item": torch.arange(100) * 300})
    assert [column.dtype for column in ours.narrow_columns.values()] == [torch.int8, torch.int16]


@given(tables(least_rows=1), st.data())
@settings(max_examples=200)
def test_rows_as_recboles(columns, data):
    ours, stock = both(columns)
    rows = len(stock)
    position = st.integers(-rows, rows - 1)
    positions = data.draw(st.lists(position, max_size=15))
    mask = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, rows), st.integers(0, rows))))
    step = data.draw(st.integers(1, 3))
    integers = np.array(positions, dtype=np.int64)
    for index in (
        data.draw(position),
        slice(*data.draw(st.tuples(position, position)), step),
        range(start, stop),
        range(start, stop, step),
        range(-rows, 0),
        range(rows - 1, -1, -1),
        positions,
        integers,
        integers.astype(np.int8),
        integers[::-1],
        torch.from_numpy(integers),
        torch.from_numpy(integers).int(),
        torch.tensor(start if start < rows else 0),
        np.array(0),
        mask,
        np.array(mask),
        torch.tensor(mask),
    ):
        some = ours[index]
        assert type(some) is CompactInteraction
        assert_same(some, stock[index])


@pytest.mark.parametrize("index", [slice(2, 5), range(2, 5)])
def test_contiguous_rows_are_views(index):
    ours = CompactInteraction({"user": torch.arange(100), "price": torch.rand(100)})
    for name, column in ours[index].narrow_columns.items():
        assert column.data_ptr() == ours.narrow_columns[name][2:].data_ptr()


@pytest.mark.parametrize("index", [[3], range(2, 4), np.array([-4]), torch.tensor([5]), [True] * 2])
def test_rows_that_are_not_there_are_refused(index):
    with pytest.raises(IndexError):
        CompactInteraction({"user": torch.arange(3)})[index]


@given(tables(), st.integers(0, 2**16))
def test_shuffles_as_recboles(columns, seed):
    ours, stock = both(columns)
    for table in (ours, stock):
        torch.manual_seed(seed)
        table.shuffle()
    assert_same(ours, stock)


@given(
    tables(least_rows=1),
    st.lists(st.sampled_from(["item", "time", "user", "tags"]), min_size=1, max_size=3),
    st.data(),
)
def test_sorts_as_recboles(columns, by, data):
    ours, stock = both(columns)
    ascending = data.draw(st.one_of(st.booleans(), st.lists(st.booleans(), min_size=len(by))))
    if isinstance(ascending, list):
        ascending = ascending[: len(by)]
    order = list(range(len(stock)))
    ups = ascending if isinstance(ascending, list) else [ascending] * len(by)
    for key, up in reversed(list(zip(by, ups, strict=True))):
        values = stock[key].flatten(1)[:, 0] if key == "tags" else stock[key]
        order.sort(key=lambda row, values=values: values[row].item())
        order = order if up else order[::-1]
    expected = stock[order]
    ours.sort(by, ascending)
    assert_same(ours, expected)
    if all(ups):
        stock.sort(by, ascending)
        assert_same(ours, stock)


def test_sorting_keeps_the_columns_narrow():
    ours = CompactInteraction({"user": torch.tensor([300, 1]), "item": torch.tensor([2, 1])})
    ours.sort("item")
    assert [column.dtype for column in ours.narrow_columns.values()] == [torch.int16, torch.int8]
    assert ours["user"].tolist() == [1, 300]


@pytest.mark.parametrize(
    ("by", "ascending", "error"),
    [
        ("none", True, ValueError),
        (["user", "none"], True, ValueError),
        (None, True, TypeError),
        ("user", "yes", TypeError),
        ("user", [1], TypeError),
        (["user"], [True, False], ValueError),
    ],
)
def test_wrong_sorting_is_refused_as_by_recbole(by, ascending, error):
    for table in both({"user": torch.arange(3)}):
        with pytest.raises(error):
            table.sort(by, ascending)


@given(tables(), st.integers(1, 3))
def test_repeats_as_recboles(columns, times):
    ours, stock = both(columns)
    assert_same(ours.repeat(times), stock.repeat(times))
    assert_same(ours.repeat_interleave(times), stock.repeat_interleave(times))


def test_a_repeated_table_can_be_written_into():
    # Negative sampling writes the items that it drew into the second half.
    repeated = CompactInteraction({"item": torch.tensor([1, 2])}).repeat(2)
    repeated["item"][2:] = torch.tensor([7, 300])
    assert repeated["item"].tolist() == [1, 2, 7, 300]


@given(tables(), tables())
def test_columns_come_and_go_as_recboles(columns, others):
    rows = len(columns["user"])
    new = {f"new_{name}": column for name, column in others.items()}
    for table in (Interaction(dict(new)), CompactInteraction(new)):
        ours, stock = both(columns)
        ours.update(table)
        stock.update(Interaction(dict(new)))
        for each in (ours, stock):
            each["item"] = torch.arange(rows) + 2**20
            each.drop("tags")
            del each["time"]
            each.add_prefix("neg_")
        assert_same(ours, stock)
        assert type(ours) is CompactInteraction
    plain = Interaction({})
    plain.update(CompactInteraction(columns))
    assert {column.dtype for column in plain.interaction.values()} == {torch.int64, torch.float32}


def test_wrong_columns_are_refused_as_by_recbole():
    ours = CompactInteraction({"user": torch.arange(3)})
    with pytest.raises(ValueError, match="'user'"):
        CompactInteraction({"user": [1, 2]})
    with pytest.raises(ValueError, match="none"):
        ours.drop("none")
    with pytest.raises(KeyError):
        del ours["none"]
    with pytest.raises(KeyError):
        ours[3] = torch.arange(3)
    with pytest.raises(AttributeError, match="none"):
        _ = ours.none


@given(st.lists(tables(), min_size=1, max_size=3))
def test_is_concatenated_as_recboles(parts):
    ours = cat_interactions([CompactInteraction(columns) for columns in parts])
    stock = cat_interactions([Interaction(columns) for columns in parts])
    assert_same(ours, stock)


@given(tables())
def test_copies_as_recboles(columns):
    ours, stock = both(columns)
    for copied in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(copied) is CompactInteraction
        assert_same(copied, stock)
    deep = copy.deepcopy(ours)
    deep["item"] = torch.zeros(len(stock), dtype=torch.int64)
    deep.drop("user")
    assert_same(ours, stock)
    shallow = copy.copy(ours)
    shallow.drop("user")
    assert "user" not in ours


@given(tables())
def test_moves_as_recboles(columns):
    ours, stock = both(columns)
    for moved in (ours.to("cpu"), ours.cpu(), ours.to(torch.device("cpu"), "user")):
        assert type(moved) is CompactInteraction
        assert_same(moved, stock)
    partly = ours.to("meta", ["user", "tags"])
    devices = {name: partly[name].device.type for name in partly}
    assert devices == {
        **dict.fromkeys(["item", "time", "levels"], "cpu"),
        **dict.fromkeys(["user", "tags"], "meta"),
    }


def test_no_columns():
    ours, stock = both({})
    assert len(ours.columns) == 0
    assert ours.length == stock.length == -1
