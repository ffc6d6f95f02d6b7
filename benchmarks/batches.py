"""Time of an epoch's batches: RecBole's loader against block loaders, on RecBole's and narrow rows.

On a GPU there are two more: blocks that are sent ahead, and rows that are on it. There the time is
that of batches without a step between them.

The loaders take turns in every round; a round's ratio is taken within the round. Before that an
epoch of each is compared batch by batch.

Run from the repository's root:

    python -m benchmarks.batches [--rows 1000000] [--batch-size 512] [--rounds 7] [--threads 2]
                                 [--device cuda]
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import torch
from recbole.data.dataloader.general_dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.utils import InputType, ModelType
from torch import Tensor

from recbole_midpg.integration.dataset.batches import BlockTrainDataLoader
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction

SIZES = {"user_id": 300_000, "item_id": 50_000, "shop": 5_000, "brand": 2_000}
SIZES |= {"city": 300, "hour": 24, "age": 8}


class SentAhead(BlockTrainDataLoader):
    """A loader that streams its rows where they would fit the GPU, too."""

    device_rows = None


class Rows:
    """RecBole's dataset, as far as a loader looks at it."""

    uid_field, iid_field = "user_id", "item_id"
    user_feat = item_feat = None

    def __init__(self, rows: Interaction) -> None:
        self.inter_feat = rows

    def __len__(self) -> int:
        return len(self.inter_feat)

    def __getitem__(self, index: Any) -> Interaction:
        return self.inter_feat[index]


def random_columns(rows: int) -> dict[str, Tensor]:
    """Seven columns of tokens and a label."""
    columns = {name: torch.randint(0, size, (rows,)) for name, size in SIZES.items()}
    return columns | {"label": torch.randint(0, 2, (rows,)).float()}


def seconds_an_epoch(loader: Any, device: torch.device) -> float:
    """Iterate once as the trainer does."""
    start = time.perf_counter()
    for batch in loader:
        batch.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    """Compare the loaders and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=torch.device, default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    config = {
        "train_batch_size": arguments.batch_size,
        "seed": 2020,
        "transform": None,
        "MODEL_TYPE": ModelType.CONTEXT,
        "MODEL_INPUT_TYPE": InputType.POINTWISE,
        "single_spec": True,
        "worker": 0,
        "data_on_device": False,
        "device": arguments.device,
        "train_neg_sample_args": {"distribution": "none", "sample_num": "none"},
    }
    columns = random_columns(arguments.rows)
    wide, narrow = Rows(Interaction(columns)), Rows(CompactInteraction(columns))
    loaders = {
        "RecBole": TrainDataLoader(config, wide, None, shuffle=True),
        "blocks": BlockTrainDataLoader(config, wide, None, shuffle=True),
        "blocks, narrow": BlockTrainDataLoader(config, narrow, None, shuffle=True),
    }
    place = f"{arguments.threads} threads"
    if arguments.device.type == "cuda":
        on_device = config | {"data_on_device": True}
        loaders |= {
            "sent ahead": SentAhead(on_device, narrow, None, shuffle=True),
            "on the device": BlockTrainDataLoader(on_device, narrow, None, shuffle=True),
        }
        place += f", {torch.cuda.get_device_name(arguments.device)}"
    for stock, *ours in zip(*loaders.values(), strict=True):
        expected = stock.to(arguments.device)
        assert all(torch.equal(batch[name], expected[name]) for batch in ours for name in stock)

    rounds = [
        {name: seconds_an_epoch(loader, arguments.device) for name, loader in loaders.items()}
        for _ in range(arguments.rounds)
    ]
    print(f"{arguments.rows} rows, batches of {arguments.batch_size}, {place}")
    print(f"{'loader':16}{'min ms':>10}{'median':>10}{'max':>10}{'RecBole / it':>14}")
    for name in loaders:
        times = [1e3 * taken[name] for taken in rounds]
        ratio = median(taken["RecBole"] / taken[name] for taken in rounds)
        print(f"{name:16}{min(times):10.1f}{median(times):10.1f}{max(times):10.1f}{ratio:14.1f}")


if __name__ == "__main__":
    main()
