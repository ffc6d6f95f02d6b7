import logging

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_midpg.common.units import in_units
from recbole_midpg.integration.dataset import row_placement
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction
from recbole_midpg.integration.dataset.row_placement import ROWS_SHARE, fit, place_rows
from recbole_midpg.training.device_rows import DeviceRows
from tests.support.recbole_data import gaps_config, loaders_of

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Rows:
    """A dataset of 1,000 rows of 3 bytes, 2 users of a byte and an item of four."""

    uid_field, iid_field = "user", "item"
    inter_feat = CompactInteraction(
        {
            "user": torch.arange(1000) % 2,
            "item": torch.zeros(1000).long(),
            "hour": torch.arange(1000) % 24,
        }
    )
    user_feat = CompactInteraction({"user": torch.arange(2), "age": torch.tensor([18, 81])})
    item_feat = Interaction({"item": torch.arange(1), "price": torch.tensor([0.5])})


N_BYTES = 3 * 1000 + 2 + 4


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def placed(switch, device=CPU, n_order_bytes=0):
    config = {"data_on_device": switch, "device": device}
    return place_rows(Rows(), config, n_order_bytes, "training")


def test_true_puts_rows_on_the_device_and_logs_it(told):
    rows = placed(True, n_order_bytes=4000)
    assert isinstance(rows, DeviceRows)
    assert (len(rows), rows.device, rows.n_bytes) == (1000, CPU, N_BYTES)
    assert told() == ["1,000 rows for training, 7 kB, are on cpu."]


@pytest.mark.parametrize("switch", [False, "auto", None])  # None in a config from before the key
def test_nothing_is_put_on_the_cpu_for_speed(switch, told):
    assert placed(switch) is None
    assert told() == []


class OnCpu(DeviceRows):
    """Rows on a GPU that is not there."""

    def __init__(self, tables, device):
        super().__init__(tables, CPU)


@pytest.mark.parametrize(
    ("switch", "free", "fits"),
    [
        ("auto", N_BYTES / ROWS_SHARE + 1, True),
        ("auto", N_BYTES / ROWS_SHARE - 1, False),
        (True, N_BYTES, True),
        (True, N_BYTES - 1, False),
    ],
)
def test_rows_that_do_not_fit_are_streamed_with_a_line(switch, free, fits, told, monkeypatch):
    monkeypatch.setattr(row_placement, "free_bytes", lambda device: free)
    monkeypatch.setattr(row_placement, "DeviceRows", OnCpu)
    assert (placed(switch, GPU) is not None) == fits
    (line,) = told()
    if fits:
        assert line == "1,000 rows for training, 3 kB, are on cuda."
    else:
        limit = ", of which auto gives them 40%" if switch == "auto" else ""
        room = in_units(free)
        assert line == (
            f"1,000 rows for training, 3 kB, are streamed to cuda: {room} are free there{limit}."
        )


@pytest.mark.parametrize("switch", ["auto", True])
def test_a_device_that_is_full_meanwhile_has_them_streamed(switch, told, monkeypatch):
    class Full(DeviceRows):
        def __init__(self, tables, device):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(row_placement, "free_bytes", lambda device: 10**9)
    monkeypatch.setattr(row_placement, "DeviceRows", Full)
    assert placed(switch, GPU) is None
    assert told() == [
        "1,000 rows for training, 3 kB, are streamed to cuda: it ran out of memory for them."
    ]


def test_another_error_is_not_hidden(monkeypatch):
    class Broken(DeviceRows):
        def __init__(self, tables, device):
            raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(row_placement, "free_bytes", lambda device: 10**9)
    monkeypatch.setattr(row_placement, "DeviceRows", Broken)
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        placed(True, GPU)


def test_how_much_fits():
    # 108.6 million rows of 17 bytes on a card of 80 GB, and on one of 4 GB
    rows = 108_600_000 * 17
    assert fit(rows, 79_000_000_000, "auto")
    assert not fit(rows, 4_000_000_000, "auto")
    assert fit(rows, 4_000_000_000, True)
    assert not fit(rows, 1_800_000_000, True)
    assert fit(0, 0, "auto")


def test_free_memory_is_the_drivers_and_what_torch_keeps_unused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 250)
    assert row_placement.free_bytes(GPU) == 650
    assert row_placement.free_bytes(CPU) is None


def test_the_columns_are_those_of_the_dataset():
    train, _, _ = loaders_of(gaps_config("DNN"))
    tables = row_placement.row_tables(train._dataset)
    kept = train._dataset.inter_feat.narrow_columns
    assert all(column is kept[name] for name, column in tables.rows.items())
    assert [features.key for features in tables.features] == ["user_id", "item_id"]
    assert "user_id" not in tables.features[0].columns
    ids = train._dataset.user_feat["user_id"]
    assert torch.equal(ids, torch.arange(len(ids)))  # so that leaving it out changes nothing
