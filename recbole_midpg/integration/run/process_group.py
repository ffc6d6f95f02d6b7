"""The processes of a run: what each computes on, how it joins the others, what rank 0 alone does.

Cause: RecBole joins them in ``Config._init_device``, over NCCL even where there is no GPU, and lets
every process write logs and event files. It writes ``gpu_id``, ``"0"`` by default, over the
environment's ``CUDA_VISIBLE_DEVICES``, and so uses a GPU that the user has hidden.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from torch import Tensor, distributed

from recbole_midpg.integration.run.gpu_choice import check_gpus, prepare_choice
from recbole_midpg.layers.across_processes import gather_rows

# Processes wait for the one that loads the data, or writes. A process that has died is not waited
# for: the run ends where it is noticed, see processes.py.
PATIENCE = timedelta(days=7)
# Values for all ranks but 0, which alone logs and saves.
_OF_OTHER_RANKS = {
    "state": "error",
    "show_progress": False,
    "verbose": False,
    "save_dataset": False,
    "log_wandb": False,
}

# Read before RecBole writes into the same variable.
_GPUS_ARE_HIDDEN = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}

_host_group: Any = None


# --------------------------------------------------------------------------------------------------
# Joining


def is_on_gpus(values: Mapping[str, Any]) -> bool:
    """Whether the processes of a config have a GPU each, rather than the CPU."""
    return values["device"].type == "cuda"


def with_joining(stock: Any) -> Any:
    """Wrap ``Config._init_device``: keep hidden GPUs hidden, join the other processes."""

    @functools.wraps(stock)
    def init_device(self: Config) -> None:
        values = self.final_config_dict
        if _GPUS_ARE_HIDDEN:
            values["gpu_id"] = ""
        local_rank = values.pop("local_rank", None)
        prepare_choice(values)
        stock(self)
        check_gpus(self)
        if local_rank is None:
            return
        values["local_rank"], values["single_spec"] = local_rank, False
        if is_on_gpus(values):
            values["device"] = torch.device("cuda", local_rank)
            torch.cuda.set_device(local_rank)
        _join(values)
        if rank() != 0:
            values.update(_OF_OTHER_RANKS)

    return init_device


def _join(values: Mapping[str, Any]) -> None:
    """Join the other processes: for tensors on their device, and for numbers of the host."""
    global _host_group  # noqa: PLW0603 - torch's default group is one of the process, too
    store = distributed.TCPStore(values["ip"], int(values["port"]), timeout=PATIENCE)
    distributed.init_process_group(
        "nccl" if is_on_gpus(values) else "gloo",
        store=store,
        rank=values["local_rank"] + values["offset"],
        world_size=values["world_size"],
        timeout=PATIENCE,
    )
    _host_group = distributed.new_group(backend="gloo", timeout=PATIENCE)


def leave() -> None:
    """Leave the other processes, once all are here."""
    global _host_group  # noqa: PLW0603
    distributed.barrier(group=_host_group)
    distributed.destroy_process_group()
    _host_group = None


def rank() -> int:
    """The number of this process among all, from 0; 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def n_processes() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def host_group() -> Any:
    """The group that exchanges what is in the host's memory, whatever the device is."""
    return _host_group


@contextmanager
def first_of_machine(config: Any) -> Iterator[None]:
    """Let the first process of each machine do something before the others, as to fill a cache."""
    if config["single_spec"]:
        yield
        return
    if config["local_rank"] != 0:
        distributed.barrier(group=_host_group)
    yield
    if config["local_rank"] == 0:
        distributed.barrier(group=_host_group)


# --------------------------------------------------------------------------------------------------
# What rank 0 alone does


def ensure_dir(dir_path: str) -> None:
    """Stand in for RecBole's ``ensure_dir``, which fails where another process is as fast."""
    Path(dir_path).mkdir(parents=True, exist_ok=True)


class _NoBoard:
    """An event writer that writes nothing."""

    def add_scalar(self, *_: Any, **__: Any) -> None:
        """Write no scalar."""

    def add_hparams(self, *_: Any, **__: Any) -> None:
        """Write no hyperparameters."""


_has_board = True


@contextmanager
def without_board() -> Iterator[None]:
    """Build trainers that write no events, and make no folder for them."""
    global _has_board  # noqa: PLW0603 - RecBole's constructor takes no argument for it
    before, _has_board = _has_board, False
    try:
        yield
    finally:
        _has_board = before


def for_rank_0(get_tensorboard: Any) -> Any:
    """Wrap ``get_tensorboard``: other ranks have a writer that writes nothing."""

    @functools.wraps(get_tensorboard)
    def get(logger: Any) -> Any:
        return get_tensorboard(logger) if rank() == 0 and _has_board else _NoBoard()

    return get


# --------------------------------------------------------------------------------------------------
# Exchange of what is in the host's memory


def gather_objects(value: Any) -> list[Any]:
    """Give all processes' values, by rank; this one's alone where it is alone.

    Args:
        value: something small.
    """
    if not distributed.is_initialized():
        return [value]
    gathered: list[Any] = [None] * n_processes()
    distributed.all_gather_object(gathered, value, group=_host_group)
    return gathered


def gather_batches(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Gather the rows of batches that were dealt out in turn, in the order of the batches.

    Args:
        rows: of this process's batches, those numbered rank, rank + W, and so on; they travel
            through the host's memory.
        sizes: how many rows each of them has.

    Returns:
        The rows of all batches, on the CPU; ``rows`` themselves where this process is alone.
    """
    if not distributed.is_initialized():
        return rows
    everyones = gather_objects(list(sizes))
    parts = gather_rows(rows.cpu(), [sum(of_rank) for of_rank in everyones], _host_group)
    dealt = [part.split(of_rank) for part, of_rank in zip(parts, everyones, strict=True)]
    rounds = itertools.zip_longest(*dealt)
    return torch.cat([batch for turn in rounds for batch in turn if batch is not None])
