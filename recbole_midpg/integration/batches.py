"""The batches of RecBole's loaders, gathered a block of batches at a time.

RecBole makes each batch row by row: a Python list of row numbers, turned into a tensor anew for
each column, then joined with the features of its users and items. Here the rows of many batches are
gathered at once, one ``index_select`` a column, and batches are slices of that block. The same
seed gives the same batches in the same order, epoch by epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from recbole.data import utils as data_utils
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.dataloader.general_dataloader import NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from recbole.utils import ModelType
from torch import Tensor
from torch.utils.data import DataLoader

from recbole_midpg.integration import process_group
from recbole_midpg.integration.compact_interaction import kept_columns, widen

# Below the 32,768 values from which torch wakes a second thread for a conversion, which on a busy
# machine costs more than the conversion.
_BLOCK_ROWS = 16_384

stock_get_dataloader = data_utils.get_dataloader


def get_dataloader(config: Any, phase: str) -> type[AbstractDataLoader]:
    """Stand in for ``recbole.data.utils.get_dataloader``: block loaders where they can serve.

    They serve context-aware and decision-tree models that train and evaluate on labelled rows,
    without a transform; all else stays with RecBole.

    Args:
        config: RecBole's ``Config``.
        phase: ``"train"``, ``"valid"`` or ``"test"``.

    Returns:
        The class of the phase's loader.
    """
    if not serves(config, phase):
        return stock_get_dataloader(config, phase)
    return BlockTrainDataLoader if phase == "train" else BlockEvalDataLoader


def serves(config: Any, phase: str) -> bool:
    """Whether the block loaders can serve a phase; see :func:`get_dataloader`."""
    # Without a sampler RecBole's loader takes the arguments of the test phase for validation too.
    sampled = {"train"} if phase == "train" else {phase, "test"}
    return (
        phase in {"train", "valid", "test"}
        and config["MODEL_TYPE"] in {ModelType.CONTEXT, ModelType.DECISIONTREE}
        and config["transform"] is None
        and all(config[f"{name}_neg_sample_args"]["distribution"] == "none" for name in sampled)
        and (phase == "train" or config["eval_args"]["mode"][phase] == "labeled")
    )


class Batch(Interaction):
    """An ``Interaction`` whose columns are all on one device.

    Args:
        columns: tensors by name, each ``(B,)`` or ``(B, ...)``; at least one.
        device: where they are.
        counts: how many of the whole batch's rows each process has, in training with several.
        is_counted: whether its rows are this process's to evaluate.
    """

    def __init__(
        self,
        columns: dict[str, Tensor],
        device: torch.device,
        counts: tuple[int, ...] | None = None,
        is_counted: bool = True,
    ) -> None:
        # Not RecBole's constructor: it would look at each column of each batch again.
        self.interaction = columns
        self.length = len(next(iter(columns.values())))
        self._device = device
        self.counts, self.is_counted = counts, is_counted

    def to(
        self, device: torch.device | str, selected_field: str | Iterable[str] | None = None
    ) -> Interaction:
        """Copy to a device; the batch itself where it is there already."""
        if device == self._device:
            return self
        return super().to(device, selected_field)


class _Hand(NamedTuple):
    """What a process has of a batch; the attributes are those of :class:`Batch`."""

    rows: Tensor
    counts: tuple[int, ...] | None = None
    is_counted: bool = True


class _BlockLoader(AbstractDataLoader):
    """What the loaders for training and evaluation share.

    In the order of resolution it stands between RecBole's loaders and their ancestor: it takes the
    place of the ancestor's constructor, which makes a list of all row numbers, and of its iterator.

    The loader reads the dataset's rows when it is iterated. ``config["worker"]`` starts no
    processes: a block is gathered faster than it could be sent. An epoch that is left at its very
    last batch, before the loader has said that there are no more, leaves the next one in another
    order than RecBole's; left at any other batch it does not.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.shuffle = shuffle
        self.config = config
        self._dataset = dataset
        self._sampler = sampler
        self._batch_size = self.step = self.model = None
        self._init_batch_size_and_step()
        self.generator = torch.Generator()
        self.generator.manual_seed(config["seed"])
        self.transform = construct_transform(config)
        self.is_sequential = False
        alone = config["single_spec"]
        self.rank = 0 if alone else process_group.rank()
        self.n_processes = 1 if alone else process_group.n_processes()
        DataLoader.__init__(
            self,
            dataset=range(self.sample_size),
            batch_size=self.step,
            collate_fn=self.collate_fn,
            num_workers=config["worker"],
            shuffle=shuffle,
            generator=self.generator,
        )

    def __iter__(self) -> Iterator[Any]:
        # torch draws a seed for its workers before anything else.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        device = torch.device(self.config["device"])
        numbers = itertools.count()
        for rows in self._row_blocks():
            taken = [self._take(next(numbers), batch) for batch in rows.split(self.batch_size)]
            own = [hand for hand in taken if hand is not None]
            if not own:
                continue
            block = _gather(self._dataset, torch.cat([hand.rows for hand in own]), device)
            sizes = [len(hand.rows) for hand in own]
            # One call of split a column makes the slices of all batches.
            slices = zip(*(column.split(sizes) for column in block.values()), strict=True)
            for hand, columns in zip(own, slices, strict=True):
                batch = Batch(
                    dict(zip(block, columns, strict=True)), device, hand.counts, hand.is_counted
                )
                yield self._present(batch)

    def _take(self, number: int, rows: Tensor) -> _Hand | None:
        """What this process has of a batch, ``None`` where that is nothing.

        Args:
            number: the batch's, from 0.
            rows: the numbers of its rows.
        """
        raise NotImplementedError

    def _row_blocks(self) -> Iterator[Tensor]:
        """The numbers of an epoch's rows, in order, as many as make whole batches at a time."""
        count = self.sample_size
        block_rows = max(1, _BLOCK_ROWS // self.batch_size) * self.batch_size
        if not self.shuffle:
            for start in range(0, count, block_rows):
                yield torch.arange(start, min(start + block_rows, count))
            return
        dtype = torch.int32 if count <= torch.iinfo(torch.int32).max else torch.int64
        permutation = torch.randperm(count, generator=self.generator, dtype=dtype)
        yield from permutation.split(block_rows)
        # torch's sampler draws a permutation more when it is exhausted, and uses none of it.
        torch.randperm(count, generator=self.generator, out=permutation)

    def _present(self, batch: Batch) -> Any:
        """Give a batch the form that the trainer takes."""
        raise NotImplementedError


class BlockTrainDataLoader(TrainDataLoader, _BlockLoader):
    """Yields the batches of RecBole's ``TrainDataLoader`` without negative sampling.

    Of several processes each has about as many rows of every batch, rank 0 the first ones.
    """

    def _take(self, number: int, rows: Tensor) -> _Hand:
        if self.n_processes == 1:
            return _Hand(rows)
        bounds = [len(rows) * rank // self.n_processes for rank in range(self.n_processes + 1)]
        counts = tuple(end - start for start, end in pairwise(bounds))
        return _Hand(rows[bounds[self.rank] : bounds[self.rank + 1]], counts)

    def _present(self, batch: Batch) -> Batch:
        return batch


class BlockEvalDataLoader(NegSampleEvalDataLoader, _BlockLoader):
    """Yields the batches of RecBole's ``NegSampleEvalDataLoader`` without negative sampling.

    Each comes as ``(batch, None, None, None)``: there are no rows, users or items to sample for.

    Several processes take whole batches in turn, so that each is scored as one process would score
    it, to the last bit. A process for which there is none scores the first one, which is not
    counted: so it has read all that it must, and knows what there is to exchange.
    """

    def __len__(self) -> int:
        n_batches = super().__len__()
        return len(range(self.rank, n_batches, self.n_processes)) or min(n_batches, 1)

    def _take(self, number: int, rows: Tensor) -> _Hand | None:
        if number % self.n_processes == self.rank:
            return _Hand(rows)
        n_batches = -(-self.sample_size // self.batch_size)
        if number == 0 and self.rank >= n_batches:
            return _Hand(rows, is_counted=False)
        return None

    def _present(self, batch: Batch) -> tuple[Batch, None, None, None]:
        return batch, None, None, None


def _gather(dataset: Any, rows: Tensor, device: torch.device) -> dict[str, Tensor]:
    """Gather rows of a dataset, with the features of their users and items, on a device.

    Args:
        dataset: RecBole's ``Dataset``.
        rows: row numbers, ``(R,)``.
        device: where the columns go. To a GPU they travel narrow, and without a wait for it.

    Returns:
        Columns ``(R, ...)`` by name, int64 and float32, in the order of ``Dataset.join``.
    """
    columns = _take(dataset.inter_feat, rows)
    for field, features in (
        (dataset.uid_field, dataset.user_feat),
        (dataset.iid_field, dataset.item_feat),
    ):
        if features is not None and field in columns:
            columns.update(_take(features, columns[field].long()))
    if device.type == "cuda":
        columns = {name: column.pin_memory() for name, column in columns.items()}
    return {name: widen(column.to(device, non_blocking=True)) for name, column in columns.items()}


def _take(table: Interaction, rows: Tensor) -> dict[str, Tensor]:
    return {name: column.index_select(0, rows) for name, column in kept_columns(table).items()}
