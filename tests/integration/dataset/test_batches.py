import itertools
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recbole.data import dataloader
from recbole.data import utils as data_utils
from recbole.data.dataloader.general_dataloader import NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.utils import InputType, ModelType, init_seed
from tqdm import tqdm

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset import batches, row_placement
from recbole_midpg.integration.dataset.batches import (
    BlockEvalDataLoader,
    BlockTrainDataLoader,
    get_dataloader,
    pass_over_permutation,
)
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction
from recbole_midpg.integration.run import process_group
from recbole_midpg.training.device_rows import widen
from recbole_midpg.training.side_stream import Sent
from tests.support.recbole_data import GAPS, dataset_of, gaps_config, loaders_of

NO_SAMPLING = {"distribution": "none", "sample_num": "none"}


SHARES = {"RS": [0.8, 0.1, 0.1]}
RANKED = {"eval_args": {**GAPS["eval_args"], "mode": "full"}}


def plain_config(**values):
    return {
        "train_batch_size": 3,
        "eval_batch_size": 3,
        "benchmark_filename": None,
        "time_split": None,
        "epochs_per_pass": 1,
        "seed": 2020,
        "transform": None,
        "MODEL_TYPE": ModelType.CONTEXT,
        "MODEL_INPUT_TYPE": InputType.POINTWISE,
        "single_spec": True,
        "worker": 0,
        "data_on_device": False,
        "device": torch.device("cpu"),
        "train_neg_sample_args": NO_SAMPLING,
        "valid_neg_sample_args": NO_SAMPLING,
        "test_neg_sample_args": NO_SAMPLING,
        "eval_args": {"split": SHARES, "mode": {"valid": "labeled", "test": "labeled"}},
    } | values


class Rows:
    """RecBole's dataset, as far as a loader looks at it."""

    uid_field, iid_field = "user", "item"
    user_feat = item_feat = None

    def __init__(self, count, table=CompactInteraction):
        generator = torch.Generator().manual_seed(count)
        self.inter_feat = table(
            {
                "user": torch.randint(0, 500, (count,), generator=generator),
                "item": torch.arange(count),
                "tags": torch.randint(-9, 9, (count, 2), generator=generator),
                "price": torch.rand(count, 1, 2, generator=generator),
            }
        )

    def __len__(self):
        return len(self.inter_feat)

    def __getitem__(self, index):
        return self.inter_feat[index]


def assert_same_batches(ours, stock):
    for mine, theirs in zip(ours, stock, strict=True):
        assert mine.columns == theirs.columns
        assert len(mine) == len(theirs)
        for name in theirs:
            assert mine[name].dtype == theirs[name].dtype
            assert torch.equal(mine[name], theirs[name])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(batches, "_BLOCK_ROWS", 8)


@given(
    st.integers(1, 40),
    st.integers(1, 45),
    st.integers(0, 2**31),
    st.booleans(),
    st.sampled_from([Interaction, CompactInteraction]),
    st.booleans(),
)
@settings(max_examples=150)
def test_trains_on_recboles_batches_epoch_by_epoch(count, size, seed, shuffle, table, on_device):
    config = plain_config(train_batch_size=size, seed=seed, data_on_device=on_device)
    ours = BlockTrainDataLoader(config, Rows(count, table), None, shuffle=shuffle)
    stock = TrainDataLoader(config, Rows(count, Interaction), None, shuffle=shuffle)
    assert len(ours) == len(stock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_BLOCK_ROWS", 8)
        for _ in range(3):
            assert_same_batches(ours, stock)
            assert torch.equal(ours.generator.get_state(), stock.generator.get_state())


@given(st.integers(1, 40), st.integers(1, 45), st.booleans())
def test_evaluates_recboles_batches(count, size, on_device):
    config = plain_config(eval_batch_size=size, data_on_device=on_device)
    ours = BlockEvalDataLoader(config, Rows(count), None)
    stock = NegSampleEvalDataLoader(config, Rows(count, Interaction), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_BLOCK_ROWS", 8)
        mine, theirs = list(ours), list(stock)
    assert [entry[1:] for entry in mine] == [entry[1:] for entry in theirs]
    assert_same_batches([entry[0] for entry in mine], [entry[0] for entry in theirs])


@given(
    st.integers(1, 40),
    st.integers(1, 45),
    st.integers(0, 2**31),
    st.booleans(),
    st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_the_order_of_an_epoch_is_drawn_as_iterating_draws_it(count, size, seed, shuffle, drawn):
    config = plain_config(train_batch_size=size, seed=seed)
    ours = BlockTrainDataLoader(config, Rows(count), None, shuffle=shuffle)
    iterated = BlockTrainDataLoader(config, Rows(count), None, shuffle=shuffle)
    for is_drawn in drawn:
        items = torch.cat([batch["item"] for batch in iterated])  # an item is its row's number
        if is_drawn:
            order = ours.epoch_order()
            assert order.dtype == torch.int32
        else:
            order = torch.cat([batch["item"] for batch in ours])
        assert torch.equal(order.long(), items)
        assert torch.equal(ours.generator.get_state(), iterated.generator.get_state())


@given(
    st.integers(1, 60),
    st.integers(1, 9),
    st.integers(1, 7),
    st.integers(0, 2**31),
    st.booleans(),
    st.lists(st.booleans(), min_size=14, max_size=14),
)
def test_the_parts_of_a_pass_are_its_batches(count, size, parts, seed, shuffle, drawn):
    n_batches = -(-count // size)
    assume(parts <= n_batches)
    config = plain_config(train_batch_size=size, seed=seed)
    whole = BlockTrainDataLoader(config, Rows(count), None, shuffle=shuffle)
    config = config | {"epochs_per_pass": parts}
    ours = BlockTrainDataLoader(config, Rows(count), None, shuffle=shuffle)
    drawn = iter(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_BLOCK_ROWS", 8)
        for _ in range(2):
            found, lengths = [], []
            for _ in range(parts):
                lengths.append(len(ours))
                if next(drawn):
                    found += [numbers.tolist() for numbers in ours.epoch_order().split(size)]
                else:
                    found += [batch["item"].tolist() for batch in ours]
            assert found == [batch["item"].tolist() for batch in whole]
            assert sum(lengths) == n_batches and max(lengths) - min(lengths) <= 1
            assert torch.equal(ours.generator.get_state(), whole.generator.get_state())


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.booleans())
def test_all_rows_come_in_order_and_change_no_epoch(count, size, parts, on_device):
    parts = min(parts, -(-count // size))
    config = plain_config(train_batch_size=size, epochs_per_pass=parts, data_on_device=on_device)
    loaders = [BlockTrainDataLoader(config, Rows(count), None, shuffle=True) for _ in range(2)]
    next(iter(loaders[0]))
    whole = list(loaders[0].all_rows())
    expected = Rows(count)[:]
    for name in expected:
        assert torch.equal(torch.cat([part[name] for part in whole]), expected[name])
    next(iter(loaders[1]))
    for _ in range(parts):
        assert_same_batches(*loaders)


@given(st.integers(0, 7), st.booleans())
def test_parts_go_on_from_a_generator_and_the_number_of_an_epoch(n_epochs, shuffle):
    config = plain_config(epochs_per_pass=3)
    first, second = (BlockTrainDataLoader(config, Rows(20), None, shuffle=shuffle) for _ in "12")
    for _ in range(n_epochs):
        list(first)
    second.generator.set_state(first.generator.get_state())
    second.epoch = first.epoch
    for _ in range(4):
        assert_same_batches(second, first)


def test_a_pass_has_no_more_epochs_than_batches():
    for parts in (7, 8):
        config = plain_config(epochs_per_pass=parts)
        if parts == 7:
            assert len(BlockTrainDataLoader(config, Rows(20), None)) == 1
        else:
            with pytest.raises(
                UsageError, match=r"epochs_per_pass: 8 is not allowed, expected at most 7, the"
            ):
                BlockTrainDataLoader(config, Rows(20), None)


@pytest.mark.parametrize(
    ("model", "values", "problem"),
    [
        ("DNN", {"epochs_per_pass": 0}, "epochs_per_pass: 0 is not allowed, expected"),
        ("DNN", {"epochs_per_pass": 0.5}, "epochs_per_pass: 0.5 is not allowed, expected"),
        ("LightGBM", {}, "epochs_per_pass: 4 .* LightGBM takes all training rows at once"),
        ("BPR", RANKED, "epochs_per_pass: 4 .* RecBole makes the training batches of BPR here"),
        (
            "DNN",
            {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
            "epochs_per_pass: 4 .* RecBole makes the training batches of DNN here",
        ),
    ],
)
def test_parts_are_refused_where_there_would_be_none(model, values, problem):
    with pytest.raises(UsageError, match=problem):
        gaps_config(model, **{"epochs_per_pass": 4, **values})


@given(st.integers(1, 5000), st.integers(0, 2**31), st.sampled_from([1, 7, 1000, 16_384]))
def test_a_permutation_is_passed_over(count, seed, block_rows):
    drawn, passed_over = (torch.Generator().manual_seed(seed) for _ in range(2))
    torch.randperm(count, generator=drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_BLOCK_ROWS", block_rows)
        pass_over_permutation(count, passed_over)
    assert torch.equal(drawn.get_state(), passed_over.get_state())


@pytest.mark.parametrize("reason", ["too many rows", "another torch"])
def test_a_permutation_is_drawn_where_its_draws_are_not_known(monkeypatch, reason):
    if reason == "too many rows":
        monkeypatch.setattr(batches, "_WIDE_PERMUTATION", 100)
    else:
        monkeypatch.setattr(batches, "_permutation_takes_32_bits", lambda: False)
    asked = []
    stock = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: asked.append(a) or stock(*a, **k))
    pass_over_permutation(100, torch.Generator())
    assert asked == [(100,)]


def test_a_torch_that_draws_permutations_otherwise_is_noticed(monkeypatch):
    assert batches._permutation_takes_32_bits()
    batches._permutation_takes_32_bits.cache_clear()
    monkeypatch.setattr(torch, "randperm", lambda count, generator: torch.rand(3 * count))
    try:
        assert not batches._permutation_takes_32_bits()
    finally:
        batches._permutation_takes_32_bits.cache_clear()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize("n_batches", [1, 4, 5])
def test_an_epoch_left_early_changes_the_next_as_in_recbole(
    small_blocks, shuffle, on_device, n_batches
):
    ours = BlockTrainDataLoader(
        plain_config(data_on_device=on_device), Rows(20), None, shuffle=shuffle
    )
    stock = TrainDataLoader(plain_config(), Rows(20, Interaction), None, shuffle=shuffle)
    assert_same_batches(list(islice(ours, n_batches)), list(islice(stock, n_batches)))
    assert_same_batches(ours, stock)


def loaders(model, loader_classes, compact, **values):
    """Stock or block loaders of a dataset with user and item features and fields of all types."""
    config = gaps_config(model, **values)
    dataset = dataset_of(config)
    init_seed(config["seed"], config["reproducibility"])
    built = dataset.build()
    if compact:
        for part in built:
            part.inter_feat = CompactInteraction(part.inter_feat.interaction)
            part.user_feat = CompactInteraction(part.user_feat.interaction)
    train_class, eval_class = loader_classes
    return (
        train_class(config, built[0], None, shuffle=config["shuffle"]),
        eval_class(config, built[1], None, shuffle=False),
        eval_class(config, built[2], None, shuffle=False),
    )


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("on_device", [False, True])
def test_joins_users_and_items_as_recbole(compact, shuffle, on_device):
    values = {"train_batch_size": 2, "eval_batch_size": 2, "shuffle": shuffle}
    values["data_on_device"] = on_device
    ours = loaders("DNN", (BlockTrainDataLoader, BlockEvalDataLoader), compact, **values)
    stock = loaders("DNN", (TrainDataLoader, NegSampleEvalDataLoader), False, **values)
    for _ in range(2):
        assert_same_batches(ours[0], stock[0])
    for mine, theirs in zip(ours[1:], stock[1:], strict=True):
        assert_same_batches([entry[0] for entry in mine], [entry[0] for entry in theirs])
    assert {"price", "age", "genres"} <= set(next(iter(ours[0])).columns)


def test_a_batch_is_an_interaction_that_is_where_it_belongs():
    batch = next(iter(BlockTrainDataLoader(plain_config(), Rows(9), None)))
    assert isinstance(batch, Interaction)
    assert batch.to(torch.device("cpu")) is batch
    assert batch.to("meta")["user"].device.type == "meta"
    assert batch.to("meta", selected_field="user")["item"].device.type == "cpu"
    assert torch.equal(batch[1:]["item"], batch["item"][1:])
    assert type(batch[[True, False, True]]) is Interaction


def test_writing_into_a_batch_leaves_the_dataset_as_it_is():
    for shuffle, on_device in itertools.product((True, False), repeat=2):
        dataset = Rows(9, Interaction)
        config = plain_config(data_on_device=on_device)
        loader = BlockTrainDataLoader(config, dataset, None, shuffle=shuffle)
        before = {name: dataset.inter_feat[name].clone() for name in dataset.inter_feat}
        for batch in loader:
            for name in batch:
                batch[name].zero_()
        assert all(torch.equal(dataset.inter_feat[name], before[name]) for name in before)
        # What is on the device is as it was, too.
        again = torch.cat([batch["item"] for batch in loader])
        assert again.sort().values.tolist() == list(range(9))


def test_looks_like_recboles_loader():
    config = plain_config(worker=2)
    dataset, sampler = Rows(10), SimpleNamespace(phase="valid")
    ours = BlockTrainDataLoader(config, dataset, sampler, shuffle=True)
    stock = TrainDataLoader(config, dataset, sampler, shuffle=True)
    names = ("shuffle", "config", "_sampler", "_batch_size", "step", "batch_size", "model")
    for name in (*names, "num_workers", "sample_size", "is_sequential", "times", "dl_format"):
        assert getattr(ours, name) == getattr(stock, name), name
    assert ours.dataset is ours._dataset is dataset
    assert len(ours) == len(tqdm(ours, disable=True)) == 4
    assert [len(batch) for batch in tqdm(ours, disable=True)] == [3, 3, 3, 1]
    ours.update_config(plain_config(train_batch_size=5))
    stock.update_config(plain_config(train_batch_size=5))
    # torch fixes the size of batches when a loader is made, in RecBole's as well.
    assert (ours.step, ours._batch_size, len(ours)) == (stock.step, stock._batch_size, len(stock))
    ours.set_batch_size(7)
    assert ours._batch_size == 7
    assert len(next(iter(ours))) == 3


def test_evaluation_is_never_shuffled():
    loader = BlockEvalDataLoader(plain_config(), Rows(10), None, shuffle=True)
    assert torch.cat([batch["item"] for batch, *_ in loader]).tolist() == list(range(10))


def test_an_empty_dataset_is_refused_as_by_recbole():
    for loader_class in (TrainDataLoader, BlockTrainDataLoader):
        with pytest.raises(ValueError, match="num_samples"):
            loader_class(plain_config(), Rows(0), None, shuffle=True)


def dealt(loader_class, count, size, n_processes, seed=2020, on_device=False):
    """The batches that each of several processes has."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_BLOCK_ROWS", 8)
        patch.setattr(process_group, "n_processes", lambda: n_processes)
        for rank in range(n_processes):
            patch.setattr(process_group, "rank", lambda rank=rank: rank)
            config = plain_config(
                single_spec=False,
                train_batch_size=size,
                eval_batch_size=size,
                seed=seed,
                data_on_device=on_device,
            )
            loader = loader_class(
                config, Rows(count), None, shuffle="Train" in loader_class.__name__
            )
            found.append(list(loader))
            assert len(loader) == len(found[-1])
    return found


@given(
    st.integers(1, 40), st.integers(1, 45), st.integers(1, 5), st.integers(0, 2**31), st.booleans()
)
@settings(max_examples=50)
def test_processes_share_the_rows_of_every_training_batch(
    count, size, n_processes, seed, on_device
):
    whole = dealt(BlockTrainDataLoader, count, size, 1, seed)[0]
    shares = dealt(BlockTrainDataLoader, count, size, n_processes, seed, on_device)
    for batch, *parts in zip(whole, *shares, strict=True):
        for name in batch.columns:
            assert torch.equal(torch.cat([part[name] for part in parts]), batch[name])
        if n_processes > 1:
            counts = tuple(len(part) for part in parts)
            assert all(part.counts == counts for part in parts)
            assert max(counts) - min(counts) <= 1


@given(st.integers(1, 40), st.integers(1, 45), st.integers(1, 5), st.booleans())
@settings(max_examples=50)
def test_processes_take_evaluation_batches_in_turn(count, size, n_processes, on_device):
    whole = [batch for batch, *_ in dealt(BlockEvalDataLoader, count, size, 1)[0]]
    shares = dealt(BlockEvalDataLoader, count, size, n_processes, on_device=on_device)
    for rank, taken in enumerate(shares):
        own = [batch for batch, *_ in taken if batch.is_counted]
        assert_same_batches(own, whole[rank::n_processes])
        if not own:  # it scores the first one all the same
            assert_same_batches([batch for batch, *_ in taken], whole[:1])


def test_row_numbers_are_no_list():
    # RecBole's would take 36 bytes a row, here more than there is.
    class Endless(Rows):
        def __init__(self):
            super().__init__(1)

        def __len__(self):
            return 2**40

    assert len(BlockTrainDataLoader(plain_config(), Endless(), None)) == -(-(2**40) // 3)


class OneAhead:
    """Stands in for a GPU's side stream: blocks arrive when they are received, not before."""

    def __init__(self):
        self.waiting = []

    def send(self, columns):
        assert len(self.waiting) <= 1
        blank = {name: torch.zeros_like(widen(column)) for name, column in columns.items()}
        self.waiting.append((blank, columns))
        return Sent(blank, None)

    def receive(self, sent):
        blank, columns = self.waiting.pop(0)
        assert sent.columns is blank
        for name, column in columns.items():
            blank[name].copy_(column)
        return blank


@given(
    st.integers(1, 40), st.integers(1, 45), st.integers(0, 2**31), st.booleans(), st.integers(1, 9)
)
@settings(max_examples=50)
def test_blocks_that_are_sent_ahead_make_the_same_batches(count, size, seed, shuffle, n_batches):
    config = plain_config(train_batch_size=size, eval_batch_size=size, seed=seed)
    ours = BlockTrainDataLoader(config, Rows(count), None, shuffle=shuffle)
    stock = TrainDataLoader(config, Rows(count, Interaction), None, shuffle=shuffle)
    evaluated = BlockEvalDataLoader(config, Rows(count), None)
    all_but_last = min(n_batches, len(stock) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_BLOCK_ROWS", 8)
        patch.setattr(batches, "_carrier_of", lambda config: OneAhead())
        for _ in range(2):
            assert_same_batches(ours, stock)
            assert torch.equal(ours.generator.get_state(), stock.generator.get_state())
        # Left early, it has drawn no more than RecBole's, though a block more is on its way.
        assert_same_batches(list(islice(ours, all_but_last)), list(islice(stock, all_but_last)))
        assert_same_batches(ours, stock)
        in_order = torch.cat([batch["item"] for batch, *_ in evaluated])
    assert torch.equal(in_order, torch.arange(count))


def test_a_gpu_has_blocks_sent_ahead_where_rows_were_to_be_on_it(monkeypatch):
    monkeypatch.setattr(batches, "SideStream", lambda device: f"beside {device}")

    def carrier(device, switch):
        return batches._carrier_of({"device": torch.device(device), "data_on_device": switch})

    assert carrier("cuda", True) == carrier("cuda", "auto") == "beside cuda"
    assert carrier("cuda", False) is carrier("cpu", True) is carrier("cpu", "auto") is None


def test_rows_are_put_on_the_device_when_they_are_first_asked_for(monkeypatch):
    asked = []
    stock = batches.place_rows

    def place_rows(*arguments):
        asked.append(arguments[2:])
        return stock(*arguments)

    monkeypatch.setattr(batches, "place_rows", place_rows)
    config = plain_config(data_on_device=True)
    loader = BlockTrainDataLoader(config, Rows(20), None, shuffle=True)
    assert asked == []
    rows = loader.device_rows
    assert len(list(loader)) == len(list(loader)) == 7
    assert loader.device_rows is rows
    evaluated = BlockEvalDataLoader(config, Rows(20), None)
    assert len(list(evaluated)) == len(list(evaluated)) == 7
    # an order of four bytes a row, where there is one
    assert asked == [(80, "training"), (0, "evaluation")]


def test_a_device_without_room_has_its_rows_streamed(monkeypatch):
    def no_room(tables, device):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(row_placement, "DeviceRows", no_room)
    ours = BlockTrainDataLoader(plain_config(data_on_device=True), Rows(20), None, shuffle=True)
    stock = TrainDataLoader(plain_config(), Rows(20, Interaction), None, shuffle=True)
    assert_same_batches(ours, stock)
    assert ours.device_rows is None


@pytest.mark.parametrize(
    ("values", "train", "valid"),
    [
        ({}, BlockTrainDataLoader, BlockEvalDataLoader),
        ({"MODEL_TYPE": ModelType.DECISIONTREE}, BlockTrainDataLoader, BlockEvalDataLoader),
        ({"MODEL_TYPE": ModelType.GENERAL}, TrainDataLoader, NegSampleEvalDataLoader),
        ({"single_spec": False}, BlockTrainDataLoader, BlockEvalDataLoader),
        ({"transform": "user_defined"}, TrainDataLoader, NegSampleEvalDataLoader),
        (
            {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
            TrainDataLoader,
            BlockEvalDataLoader,
        ),
        (
            {"valid_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
            BlockTrainDataLoader,
            NegSampleEvalDataLoader,
        ),
        (
            {"test_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
            BlockTrainDataLoader,
            NegSampleEvalDataLoader,
        ),
        (
            {"eval_args": {"split": SHARES, "mode": {"valid": "full"}}},
            BlockTrainDataLoader,
            dataloader.FullSortEvalDataLoader,
        ),
    ],
)
def test_serves_labelled_rows_only(values, train, valid):
    config = plain_config(model="DeepFM", **values)
    assert get_dataloader(config, "train") is train
    assert get_dataloader(config, "valid") is valid


def test_recbole_prepares_data_with_block_loaders(monkeypatch):
    monkeypatch.setattr(data_utils, "get_dataloader", get_dataloader)
    train, valid, test = loaders_of(gaps_config("DNN"))
    assert [type(loader) for loader in (train, valid, test)] == [
        BlockTrainDataLoader,
        BlockEvalDataLoader,
        BlockEvalDataLoader,
    ]
    assert train.shuffle
    assert sum(len(batch) for batch in train) == len(train.dataset)
