"""The batches of RecBole's loaders, gathered a block of batches at a time.

RecBole makes each batch row by row: a Python list of row numbers, turned into a tensor anew for
each column, then joined with the features of its users and items. Here the rows of many batches are
gathered at once, one ``index_select`` a column, and batches are slices of that block. The same
seed gives the same batches in the same order, epoch by epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from recbole.data import utils as data_utils
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.dataloader.general_dataloader import NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from recbole.utils import ModelType
from torch import Tensor
from torch.utils.data import DataLoader

from recbole_midpg.integration.compact_interaction import kept_columns, widen

# Below the 32,768 values from which torch wakes a second thread for a conversion, which on a busy
# machine costs more than the conversion.
_BLOCK_ROWS = 16_384

stock_get_dataloader = data_utils.get_dataloader


def get_dataloader(config: Any, phase: str) -> type[AbstractDataLoader]:
    """Stand in for ``recbole.data.utils.get_dataloader``: block loaders where they can serve.

    They serve context-aware and decision-tree models that train and evaluate on labelled rows, in
    one process and without a transform; all else stays with RecBole.

    Args:
        config: RecBole's ``Config``.
        phase: ``"train"``, ``"valid"`` or ``"test"``.

    Returns:
        The class of the phase's loader.
    """
    if not _serves(config, phase):
        return stock_get_dataloader(config, phase)
    return BlockTrainDataLoader if phase == "train" else BlockEvalDataLoader


def _serves(config: Any, phase: str) -> bool:
    # Without a sampler RecBole's loader takes the arguments of the test phase for validation too.
    sampled = {"train"} if phase == "train" else {phase, "test"}
    return (
        phase in {"train", "valid", "test"}
        and config["MODEL_TYPE"] in {ModelType.CONTEXT, ModelType.DECISIONTREE}
        and config["single_spec"]
        and config["transform"] is None
        and all(config[f"{name}_neg_sample_args"]["distribution"] == "none" for name in sampled)
        and (phase == "train" or config["eval_args"]["mode"][phase] == "labeled")
    )


class Batch(Interaction):
    """An ``Interaction`` whose columns are all on one device.

    Args:
        columns: tensors by name, each ``(B,)`` or ``(B, ...)``; at least one.
        device: where they are.
    """

    def __init__(self, columns: dict[str, Tensor], device: torch.device) -> None:
        # Not RecBole's constructor: it would look at each column of each batch again.
        self.interaction = columns
        self.length = len(next(iter(columns.values())))
        self._device = device

    def to(
        self, device: torch.device | str, selected_field: str | Iterable[str] | None = None
    ) -> Interaction:
        """Copy to a device; the batch itself where it is there already."""
        if device == self._device:
            return self
        return super().to(device, selected_field)


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
        for rows in self._row_blocks():
            block = _gather(self._dataset, rows, device)
            # One call of split a column makes the slices of all batches.
            slices = zip(*(column.split(self.batch_size) for column in block.values()), strict=True)
            for columns in slices:
                yield self._present(Batch(dict(zip(block, columns, strict=True)), device))

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
    """Yields the batches of RecBole's ``TrainDataLoader`` without negative sampling."""

    def _present(self, batch: Batch) -> Batch:
        return batch


class BlockEvalDataLoader(NegSampleEvalDataLoader, _BlockLoader):
    """Yields the batches of RecBole's ``NegSampleEvalDataLoader`` without negative sampling.

    Each comes as ``(batch, None, None, None)``: there are no rows, users or items to sample for.
    """

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
