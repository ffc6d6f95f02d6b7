"""Time of Triton's kernels and of plain torch, on a GPU, both on the same values.

    python -m benchmarks.kernels [--rounds 100] [--precision highest]

The layer: generator's values in, outputs and gates out, forward and backward. The rows: the missed
steps and one step of row-wise Adam. Both are captured in a CUDA graph, as in training, so that no
launch by the host is counted; they take turns, and medians of CUDA's events are printed. Blocks of
the kernels stand in ``recbole_midpg/layers/kernels/gated_linear.py`` (``NARROW_GATES``,
``WIDE_GATES``) and ``recbole_midpg/training/row_step_kernels.py`` (``VALUES``, ``WARPS``), to be
tuned by this table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from statistics import median

import torch

from recbole_midpg.layers import tiled_product
from recbole_midpg.training.row_steps import (
    IN_TORCH,
    AdamTable,
    RowSteps,
    ZeroGradientTails,
)

DEVICE = torch.device("cuda")
N_WARM_UP = 3
# (N, M, n, m, k): the layers of a default MIDPG on seven fields of width 16, and others.
LAYERS = [
    (112, 128, 8, 8, 4),
    (128, 64, 8, 8, 4),
    (64, 32, 8, 8, 4),
    (112, 128, 16, 16, 8),
    (112, 128, 1, 128, 4),
    (256, 256, 8, 8, 4),
]
BATCHES = [512, 8_192, 65_536]
TABLE_ROWS, COLUMNS, LOOKUPS_A_SAMPLE = 1_200_000, 16, 7

Work = Callable[[], object]


def graph_of(work: Work) -> torch.cuda.CUDAGraph:
    """Capture some work, after it has run a few times."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(N_WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def medians(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Median microseconds of each, which take turns."""
    graphs = {name: graph_of(work) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, graph in graphs.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(1000 * begin.elapsed_time(end))
    return {name: median(values) for name, values in times.items()}


def layer_works(sizes: tuple[int, ...], batch: int) -> dict[str, Work]:
    """A layer's forward and backward, by each way."""
    from recbole_midpg.layers.kernels.gated_linear import gated_linear

    n_inputs, n_outputs, n_rows, n_columns, rank = sizes
    shapes = [
        (n_inputs, batch),
        (n_inputs, n_outputs),
        (n_outputs,),
        (n_rows, rank, batch),
        (rank, n_columns),
    ]
    arguments = [torch.randn(shape, device=DEVICE, requires_grad=True) for shape in shapes]
    directions = [
        torch.randn(shape, device=DEVICE)
        for shape in ((n_outputs, batch), (n_rows, n_columns, batch))
    ]

    def work(function: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> Work:
        return lambda: torch.autograd.grad(function(*arguments, 1.0), arguments, directions)

    return {"torch": work(tiled_product.gated_linear), "Triton": work(gated_linear)}


def row_works(batch: int) -> dict[str, Work]:
    """Missed steps and a step of a batch's rows, by each way."""
    from recbole_midpg.training.row_step_kernels import IN_TRITON

    tails = ZeroGradientTails(0.9, 0.999, DEVICE)
    rows = torch.randint(0, TABLE_ROWS, (batch * LOOKUPS_A_SAMPLE,), device=DEVICE)
    gradient = torch.randn(TABLE_ROWS, COLUMNS, device=DEVICE)[rows]
    now = torch.tensor(1000, dtype=torch.int32, device=DEVICE)
    rate = torch.tensor(0.001, device=DEVICE)

    def work(functions: RowSteps) -> Work:
        weight, first, second = torch.rand(3, TABLE_ROWS, COLUMNS, device=DEVICE).unbind()
        last = torch.full((TABLE_ROWS,), 900, dtype=torch.int32, device=DEVICE)
        table = AdamTable(weight, first, second, last)

        def step() -> None:
            behind = table.last_step.index_select(0, rows)
            functions.take_missed_steps(table, rows, behind, now, rate, 1e-8, tails)
            functions.take_step(table, rows, gradient, now + 1, rate, (0.9, 0.999), 1e-8)

        return step

    return {"torch": work(IN_TORCH), "Triton": work(IN_TRITON)}


def main() -> None:
    """Print the median microseconds of each way, by size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--precision", choices=("highest", "high"), default="highest")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks.kernels needs a GPU, and torch finds none.")
    torch.set_float32_matmul_precision(options.precision)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.precision}")
    print(f"{'':>34} {'batch':>7} {'torch':>10} {'Triton':>10} {'ratio':>7}   (microseconds)")
    for batch in BATCHES:
        works = {
            f"layer N, M, n, m, k = {', '.join(map(str, sizes))}": layer_works(sizes, batch)
            for sizes in LAYERS
        } | {f"rows of {TABLE_ROWS:,} x {COLUMNS}": row_works(batch)}
        for name, ways in works.items():
            times = medians(ways, options.rounds)
            ratio = times["torch"] / times["Triton"]
            print(f"{name:>34} {batch:>7,} {times['torch']:>10.1f} {times['Triton']:>10.1f}"
                  f" {ratio:>7.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
