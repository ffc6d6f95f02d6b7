"""Time of a lookup, its gradient and Adam's step, by the size of the table.

    python -m benchmarks.row_wise_adam [--rounds 200] [--threads 2] [--rows 512]

A batch looks up seven tokens a sample, drawn as those of real fields are: one from the whole table,
one from a hundredth of it, five from a thousand rows. Optimizers take turns in every round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from recbole_midpg.layers.row_wise_embedding import make_row_wise
from recbole_midpg.training.row_wise_adam import RowWiseAdam

EMBEDDING_SIZE = 16
Step = Callable[[torch.Tensor], None]


def step_of(kind: str, table_rows: int) -> Step:
    """A training step with nothing but a table."""
    model = nn.Sequential(nn.Embedding(table_rows, EMBEDDING_SIZE))
    optimizer: torch.optim.Optimizer
    if kind in ("by the row", "lazy"):
        tables = make_row_wise(model, ["0"])
        optimizer = RowWiseAdam(model.parameters(), tables, catch_up=kind == "by the row")
    else:
        optimizer = torch.optim.Adam(model.parameters(), fused=kind == "dense, fused")

    def step(tokens: torch.Tensor) -> None:
        optimizer.zero_grad()
        model(tokens).square().sum().backward()
        optimizer.step()

    return step


def tokens_of(samples: int, table_rows: int) -> torch.Tensor:
    """Tokens of a batch, ``(samples, 7)``."""
    ranges = [table_rows, table_rows // 100, *[min(1000, table_rows)] * 5]
    return torch.stack([torch.randint(0, max(1, size), (samples,)) for size in ranges], dim=1)


def main() -> None:
    """Print the median milliseconds of each optimizer by table size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=512, help="samples of a batch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kinds = ["by the row", "lazy", "dense, fused", "dense, RecBole's"]
    print(f"{'table rows':>10} {'a sample':>9}", *(f"{kind:>18}" for kind in kinds))
    for table_rows in (5_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_200_000):
        steps = {kind: step_of(kind, table_rows) for kind in kinds}
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(max(20, min(options.rounds, 20_000_000 // table_rows))):
            tokens = tokens_of(options.rows, table_rows)
            for kind, step in steps.items():
                start = time.perf_counter()
                step(tokens)
                times[kind].append(1000 * (time.perf_counter() - start))
        medians = (f"{median(times[kind]):15.2f} ms" for kind in kinds)
        print(f"{table_rows:>10,} {table_rows // options.rows:>9,}", *medians)


if __name__ == "__main__":
    main()
