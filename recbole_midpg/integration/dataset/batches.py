"""The batches of RecBole's loaders, gathered a block of batches at a time.

RecBole makes each batch row by row: a Python list of row numbers, turned into a tensor anew for
each column, then joined with the features of its users and items. Here the rows of many batches are
gathered at once, one ``index_select`` a column, and batches are slices of that block. The same
seed gives the same batches in the same order, epoch by epoch.

With ``data_on_device`` the rows are where the model computes; those that have no room there stay in
the host's memory, and a GPU has the next block copied while it works on this one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from recbole.data import utils as data_utils
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.dataloader.general_dataloader import NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from torch import Tensor
from torch.utils.data import DataLoader

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.row_placement import place_rows, row_tables
from recbole_midpg.integration.models.decision_trees import TREE_MODELS
from recbole_midpg.integration.models.model_types import OF_ROWS
from recbole_midpg.integration.run import process_group
from recbole_midpg.integration.run.validation import has_validation
from recbole_midpg.training.device_rows import DeviceRows
from recbole_midpg.training.side_stream import Carrier, SideStream, copy_to, one_ahead

# Below the 32,768 values from which torch wakes a second thread for a conversion, which on a busy
# machine costs more than the conversion.
_BLOCK_ROWS = 16_384

stock_get_dataloader = data_utils.get_dataloader


def get_dataloader(config: Any, phase: str) -> Callable[..., AbstractDataLoader | None]:
    """Stand in for ``recbole.data.utils.get_dataloader``: block loaders where they can serve.

    They serve context-aware and decision-tree models that train and evaluate on labelled rows,
    without a transform; all else stays with RecBole.

    Args:
        config: RecBole's ``Config``.
        phase: ``"train"``, ``"valid"`` or ``"test"``.

    Returns:
        The class of the phase's loader; of validation, where there is none, what makes ``None``,
        with which RecBole's trainers do without.
    """
    if phase == "valid" and not has_validation(config):
        return _no_loader
    if not serves(config, phase):
        return stock_get_dataloader(config, phase)
    return BlockTrainDataLoader if phase == "train" else BlockEvalDataLoader


def _no_loader(_config: Any, _dataset: Any, _sampler: Any, shuffle: bool = False) -> None:
    """Make no loader of a split without rows."""


def serves(config: Any, phase: str) -> bool:
    """Whether the block loaders can serve a phase; see :func:`get_dataloader`."""
    # Without a sampler RecBole's loader takes the arguments of the test phase for validation too.
    sampled = {"train"} if phase == "train" else {phase, "test"}
    return (
        phase in {"train", "valid", "test"}
        and config["MODEL_TYPE"] in OF_ROWS
        and config["transform"] is None
        and not any(_asks_for_samples(config[f"{name}_neg_sample_args"]) for name in sampled)
        and (phase == "train" or config["eval_args"]["mode"][phase] == "labeled")
    )


def _asks_for_samples(arguments: Any) -> bool:
    """Whether a value of ``train_neg_sample_args`` and its like, as given or as kept, samples."""
    distribution = arguments["distribution"] if isinstance(arguments, dict) else arguments
    return distribution not in (None, "None", "none")


def check_epochs_per_pass(config: Any) -> None:
    """Refuse parts of a pass where the loader for training makes none.

    Args:
        config: RecBole's ``Config``.

    Raises:
        UsageError: ``epochs_per_pass`` is not 1, and the model takes all rows at once, or RecBole
            itself makes its batches.
    """
    obstacle = obstacle_to_parts(config)
    if config["epochs_per_pass"] != 1 and obstacle is not None:
        raise UsageError(
            f"epochs_per_pass: {config['epochs_per_pass']} is not allowed, since {obstacle}, "
            "expected 1."
        )


def obstacle_to_parts(config: Any) -> str | None:
    """Why a pass over the training rows cannot be cut into epochs; ``None`` where it can."""
    if config["model"] in TREE_MODELS:
        return f"{config['model']} takes all training rows at once"
    if not serves(config, "train"):
        return (
            f"RecBole makes the training batches of {config['model']} here, as it does for "
            "negative sampling, a transform and models that are not context-aware"
        )
    return None


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


class _Share(NamedTuple):
    """A process's share of a batch; the attributes are those of :class:`Batch`."""

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

    _use: str  # what its rows are for, as the log names it

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

    @functools.cached_property
    def device_rows(self) -> DeviceRows | None:
        """The rows on the device, ``None`` where they are streamed to it.

        They are put there when they are first asked for, after the model.
        """
        order_bytes = self.sample_size * self._order_type.itemsize if self.shuffle else 0
        return place_rows(self._dataset, self.config, order_bytes, self._use)

    def __iter__(self) -> Iterator[Any]:
        generator = self._generator_of_epoch()
        _draw_workers_seed(generator)
        return self._batches(generator)

    def _batches(self, generator: torch.Generator) -> Iterator[Any]:
        device = torch.device(self.config["device"])
        order = self._draw_order(generator) if self.shuffle else None
        for own, block in self._blocks(order, device):
            sizes = [len(share.rows) for share in own]
            # One call of split a column makes the slices of all batches.
            slices = zip(*(column.split(sizes) for column in block.values()), strict=True)
            for share, columns in zip(own, slices, strict=True):
                batch = Batch(
                    dict(zip(block, columns, strict=True)), device, share.counts, share.is_counted
                )
                yield self._present(batch)
        if order is not None:
            pass_over_permutation(self.sample_size, generator)

    def _generator_of_epoch(self) -> torch.Generator:
        """What draws an epoch's order."""
        return self.generator

    def _rows_of_epoch(self) -> range:
        """Which places of the order of all rows an epoch takes."""
        return range(self.sample_size)

    def _blocks(
        self, order: Tensor | None, device: torch.device
    ) -> Iterator[tuple[list[_Share], dict[str, Tensor]]]:
        """This process's shares of an epoch's batches, as many at a time as make a block.

        Args:
            order: all rows in their order, ``None`` for the order in which they stand.
            device: where the blocks go.
        """
        here = self.device_rows
        if here is not None:
            on_device = None if order is None else order.to(device)
            for own in self._shares(on_device, device):
                yield own, here.take(torch.cat([share.rows for share in own]))
            return
        tables = row_tables(self._dataset)
        shares = self._shares(order, torch.device("cpu"))
        gathered = ((own, tables.take(torch.cat([share.rows for share in own]))) for own in shares)
        carrier = _carrier_of(self.config)
        if carrier is not None:
            yield from one_ahead(gathered, carrier)
            return
        for own, columns in gathered:
            yield own, copy_to(device, columns)

    def _shares(self, order: Tensor | None, device: torch.device) -> Iterator[list[_Share]]:
        """This process's shares of each block's batches, where it has any."""
        numbers = itertools.count()
        for rows in self._row_blocks(order, device):
            shares = [self._share_of(next(numbers), batch) for batch in rows.split(self.batch_size)]
            own = [share for share in shares if share is not None]
            if own:
                yield own

    def _share_of(self, number: int, rows: Tensor) -> _Share | None:
        """This process's share of a batch, ``None`` where it has none.

        Args:
            number: the batch's, from 0.
            rows: the numbers of its rows.
        """
        raise NotImplementedError

    def _row_blocks(self, order: Tensor | None, device: torch.device) -> Iterator[Tensor]:
        """The numbers of an epoch's rows, in order, as many as make whole batches at a time."""
        rows = self._rows_of_epoch()
        block_rows = max(1, _BLOCK_ROWS // self.batch_size) * self.batch_size
        for start in range(rows.start, rows.stop, block_rows):
            end = min(start + block_rows, rows.stop)
            yield torch.arange(start, end, device=device) if order is None else order[start:end]

    @property
    def _order_type(self) -> torch.dtype:
        """The type of row numbers in an order, which holds one of each row."""
        return torch.int32 if self.sample_size <= torch.iinfo(torch.int32).max else torch.int64

    def _draw_order(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self.sample_size, generator=generator, dtype=self._order_type)

    def _present(self, batch: Batch) -> Any:
        """Give a batch the form that the trainer takes."""
        raise NotImplementedError


class BlockTrainDataLoader(TrainDataLoader, _BlockLoader):
    """Yields the batches of RecBole's ``TrainDataLoader`` without negative sampling.

    Of several processes each has about as many rows of every batch, rank 0 the first ones.

    With ``epochs_per_pass`` an epoch is a part of a pass over the rows, of whole batches: the parts
    of a pass one after another are the batches that the pass has in one piece, in the same order.

    Attributes:
        epoch: the number of the next epoch, from 0.

    Raises:
        UsageError: ``epochs_per_pass`` is larger than the number of batches.
    """

    _use = "training"
    epoch = 0

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        super().__init__(config, dataset, sampler, shuffle)
        # None in a checkpoint of an earlier version.
        self._epochs_per_pass: int = config["epochs_per_pass"] or 1
        if self._epochs_per_pass > self.batches_per_pass:
            raise UsageError(
                f"epochs_per_pass: {self._epochs_per_pass} is not allowed, expected at most "
                f"{self.batches_per_pass}, the number of batches of a pass over the training rows."
            )

    def __len__(self) -> int:
        return len(self._batches_of_epoch())

    @property
    def batches_per_pass(self) -> int:
        """How many batches a pass over the training rows has."""
        return int(super().__len__())

    @property
    def _part(self) -> int:
        """Which part of its pass the next epoch is, from 0."""
        return self.epoch % self._epochs_per_pass

    def _batches_of_epoch(self) -> range:
        """Which batches of its pass the next epoch has."""
        n_batches, n_parts = self.batches_per_pass, self._epochs_per_pass
        return range(n_batches * self._part // n_parts, n_batches * (self._part + 1) // n_parts)

    def _rows_of_epoch(self) -> range:
        batches = self._batches_of_epoch()
        end = min(batches.stop * self.batch_size, self.sample_size)
        return range(batches.start * self.batch_size, end)

    def _generator_of_epoch(self) -> torch.Generator:
        """What draws an epoch's order: before the last part of a pass a copy, so that all draw it.

        So the loader's own generator says, between any two epochs, which pass is under way.
        """
        if self._part == self._epochs_per_pass - 1:
            return self.generator
        copy = torch.Generator()
        copy.set_state(self.generator.get_state())
        return copy

    def _batches(self, generator: torch.Generator) -> Iterator[Any]:
        yield from super()._batches(generator)
        self.epoch += 1

    def epoch_order(self) -> Tensor:
        """Draw the order of the next epoch, in the place of iterating through it.

        The loader ends as if the epoch had been iterated through.

        Returns:
            The epoch's row numbers in their order, ``(N,)``, int32 up to 2^31 rows, on the CPU;
            those of batch ``i`` are ``order[i * batch_size : (i + 1) * batch_size]``, of all
            processes.
        """
        rows, generator = self._rows_of_epoch(), self._generator_of_epoch()
        self.epoch += 1
        _draw_workers_seed(generator)
        if not self.shuffle:
            return torch.arange(rows.start, rows.stop, dtype=self._order_type)
        order = self._draw_order(generator)
        pass_over_permutation(self.sample_size, generator)
        return order[rows.start : rows.stop]

    def all_rows(self) -> Iterator[Batch]:
        """All training rows in the order in which they stand, of all processes; draws nothing."""
        device, tables = torch.device(self.config["device"]), row_tables(self._dataset)
        for start in range(0, self.sample_size, _BLOCK_ROWS):
            rows = torch.arange(start, min(start + _BLOCK_ROWS, self.sample_size))
            yield Batch(copy_to(device, tables.take(rows)), device)

    def _share_of(self, number: int, rows: Tensor) -> _Share:
        if self.n_processes == 1:
            return _Share(rows)
        bounds = [len(rows) * rank // self.n_processes for rank in range(self.n_processes + 1)]
        counts = tuple(end - start for start, end in pairwise(bounds))
        return _Share(rows[bounds[self.rank] : bounds[self.rank + 1]], counts)

    def _present(self, batch: Batch) -> Batch:
        return batch


class BlockEvalDataLoader(NegSampleEvalDataLoader, _BlockLoader):
    """Yields the batches of RecBole's ``NegSampleEvalDataLoader`` without negative sampling.

    Each comes as ``(batch, None, None, None)``: there are no rows, users or items to sample for.

    Several processes take whole batches in turn, so that each is scored as one process would score
    it, to the last bit. A process for which there is none scores the first one, which is not
    counted: so it has read all that it must, and knows what there is to exchange.
    """

    _use = "evaluation"

    def __len__(self) -> int:
        n_batches = super().__len__()
        return len(range(self.rank, n_batches, self.n_processes)) or min(n_batches, 1)

    def _share_of(self, number: int, rows: Tensor) -> _Share | None:
        if number % self.n_processes == self.rank:
            return _Share(rows)
        n_batches = -(-self.sample_size // self.batch_size)
        if number == 0 and self.rank >= n_batches:
            return _Share(rows, is_counted=False)
        return None

    def _present(self, batch: Batch) -> tuple[Batch, None, None, None]:
        return batch, None, None, None


def _carrier_of(config: Any) -> Carrier | None:
    """What copies the next block to a GPU while it computes, ``None`` where nothing does.

    With ``data_on_device: False`` a GPU has blocks copied between its computations.
    """
    device = torch.device(config["device"])
    return SideStream(device) if device.type == "cuda" and config["data_on_device"] else None


def _draw_workers_seed(generator: torch.Generator) -> None:
    """Draw the seed that torch draws for its workers before anything else."""
    torch.empty((), dtype=torch.int64).random_(generator=generator)


def pass_over_permutation(count: int, generator: torch.Generator) -> None:
    """Leave a generator as drawing a permutation would.

    torch's sampler draws one more at the end of an epoch, and uses none of it. A permutation takes
    32 bits for each of its numbers but the last; taking them alone is 13 times as fast.

    Args:
        count: how many numbers are permuted.
        generator: on the CPU.
    """
    if count >= _WIDE_PERMUTATION or not _permutation_takes_32_bits():
        torch.randperm(count, generator=generator)
        return
    draws = torch.empty(min(count - 1, _BLOCK_ROWS), dtype=torch.int32)
    for start in range(0, count - 1, _BLOCK_ROWS):
        draws[: count - 1 - start].random_(generator=generator)


# From here on torch takes 64 bits a number.
_WIDE_PERMUTATION = 2**32 // 20


@functools.cache
def _permutation_takes_32_bits() -> bool:
    """Whether this torch draws permutations as all have done so far."""
    count = 1000
    drawn, passed_over = (torch.Generator().manual_seed(2023) for _ in range(2))
    torch.randperm(count, generator=drawn)
    torch.empty(count - 1, dtype=torch.int32).random_(generator=passed_over)
    return torch.equal(drawn.get_state(), passed_over.get_state())
