"""Time of a lookup, its gradient and Adam's step, by the size of the table.

    python -m benchmarks.row_wise_adam [--rounds 200] [--threads 2] [--rows 512]
    python -m benchmarks.row_wise_adam --device=cuda [--rounds 200] [--rows 512 8192 65536]

A batch looks up seven tokens a sample, drawn as those of real fields are: one from the whole table,
one from a hundredth of it, five from a thousand rows. Optimizers take turns in every round. On a
GPU each step is a CUDA graph, as the trainer's is, and the last line of a batch size says from how
many rows of a table on Adam by the row is faster than torch's fused Adam.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor, nn

from recbole_midpg.layers.row_wise_embedding import make_row_wise
from recbole_midpg.training.adam import Adam
from recbole_midpg.training.row_wise_adam import RowWiseAdam

EMBEDDING_SIZE = 16
TABLES = {
    "cpu": (5_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_200_000),
    "cuda": (20_000, 100_000, 300_000, 1_200_000, 4_000_000, 12_000_000, 43_000_000),
}
Step = Callable[[Tensor], None]


def step_of(kind: str, table_rows: int, capturable: bool = False, device: str = "cpu") -> Step:
    """A training step with nothing but a table."""
    model = nn.Sequential(nn.Embedding(table_rows, EMBEDDING_SIZE, device=device))
    optimizer: torch.optim.Optimizer
    if kind in ("by the row", "lazy"):
        tables = make_row_wise(model, ["0"])
        optimizer = RowWiseAdam(
            model.parameters(), tables, catch_up=kind == "by the row", capturable=capturable
        )
    elif kind == "dense, fused":
        optimizer = Adam(model.parameters(), capturable=capturable)
    else:
        optimizer = torch.optim.Adam(model.parameters())

    def step(tokens: Tensor) -> None:
        optimizer.zero_grad()
        model(tokens).square().sum().backward()
        optimizer.step()
        if isinstance(optimizer, Adam) and not _is_capturing():
            optimizer.between_steps()

    return step


def _is_capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def replayed_step_of(kind: str, table_rows: int, samples: int) -> Step:
    """The same as a CUDA graph; what is done between steps, hardly ever, is left out."""
    step = step_of(kind, table_rows, capturable=True, device="cuda")
    batch = tokens_of(samples, table_rows).cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(batch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(batch)

    def replay(tokens: Tensor) -> None:
        batch.copy_(tokens)
        graph.replay()
        torch.cuda.synchronize()

    return replay


def tokens_of(samples: int, table_rows: int) -> Tensor:
    """Tokens of a batch, ``(samples, 7)``."""
    ranges = [table_rows, table_rows // 100, *[min(1000, table_rows)] * 5]
    return torch.stack([torch.randint(0, max(1, size), (samples,)) for size in ranges], dim=1)


def median_times(
    steps: dict[str, Step], samples: int, table_rows: int, rounds: int
) -> dict[str, float]:
    """Milliseconds of each step, which take turns."""
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(rounds):
        tokens = tokens_of(samples, table_rows)
        for kind, step in steps.items():
            start = time.perf_counter()
            step(tokens)
            times[kind].append(1000 * (time.perf_counter() - start))
    return {kind: median(values) for kind, values in times.items()}


def crossover(tables: Sequence[int], by_row: Sequence[float], dense: Sequence[float]) -> int | None:
    """From how many rows on Adam by the row is faster, on straight lines between what was measured.

    Args:
        tables: numbers of rows, ascending.
        by_row: times of Adam by the row.
        dense: times of Adam over whole tables.

    Returns:
        The number of rows; ``None`` where the largest table is faster as a whole.
    """
    gains = [whole - rows for whole, rows in zip(dense, by_row, strict=True)]
    if gains[-1] <= 0:
        return None
    place = max((place for place, gain in enumerate(gains) if gain <= 0), default=None)
    if place is None:
        return tables[0]
    share = -gains[place] / (gains[place + 1] - gains[place])
    return round(tables[place] + share * (tables[place + 1] - tables[place]))


def main() -> None:
    """Print the median milliseconds of each optimizer by table size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="+", help="samples of a batch")
    parser.add_argument("--device", choices=sorted(TABLES), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda"
    kinds = ["by the row", "lazy", "dense, fused", *([] if on_gpu else ["dense, RecBole's"])]
    if on_gpu:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for samples in options.rows or ((512, 8192, 65536) if on_gpu else (512,)):
        print(f"\nbatches of {samples:,}")
        print(f"{'table rows':>10} {'a sample':>9}", *(f"{kind:>18}" for kind in kinds))
        found = []
        for table_rows in TABLES[options.device]:
            if on_gpu:
                steps = {kind: replayed_step_of(kind, table_rows, samples) for kind in kinds}
            else:
                steps = {kind: step_of(kind, table_rows) for kind in kinds}
            rounds = options.rounds if on_gpu else min(options.rounds, 20_000_000 // table_rows)
            found.append(median_times(steps, samples, table_rows, max(20, rounds)))
            medians = (f"{found[-1][kind]:15.3f} ms" for kind in kinds)
            print(f"{table_rows:>10,} {table_rows // samples:>9,}", *medians)
        by_row, dense = (
            [times[kind] for times in found] for kind in ("by the row", "dense, fused")
        )
        least = crossover(TABLES[options.device], by_row, dense)
        words = "no table here" if least is None else f"tables of {least:,} rows or more"
        print(f"by the row is faster than dense, fused: {words}")


if __name__ == "__main__":
    main()
