"""Time of a whole training step of DPG and MIDPG, as a multiple of DNN's.

    python -m benchmarks.weighting_step [--rounds 200] [--threads 2] [--rows 512]

A step is forward, loss, backward and the fused Adam; batch, optimizer and small vocabularies are
those of every model. Models take turns in every round; a round's ratio is taken within it. With
``scenario`` the weights depend on the scenario alone (``generator_input: scenario``), with ten
scenarios alike and in proportion to 1/i. Then the 112 -> 128 layer by itself, forward and backward:
plain, weighted, and weighted by way of the weights of every sample.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.layers.tiled_product import fold, weighted_linear
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.midpg import MIDPG
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from tests.support.toy import SCENARIO, ToyDataset, toy_batch, toy_model

N_SCENARIOS, N_WARM_UP = 10, 20
FIELDS = dict.fromkeys(["user_id", "item_id", "shop_id", "brand_id", "city_id", "hour_id"], 2000)
SIZES = {"embedding_size": 16, "mlp_hidden_size": [128, 64, 32], "n": 8, "m": 8, "k": 4}
LIMITS = {"DPG": 2.5, "MIDPG": 3.2, "DPG, scenario": 1.5, "DPG, scenario, 1/i": 1.5}

Step = Callable[[], object]


def training_step(model: ScenarioRecommender, batch: Interaction) -> Step:
    """A step on a fixed batch."""
    optimizer = RowWiseAdam(model.parameters(), [])

    def step() -> None:
        optimizer.zero_grad()
        losses = model.calculate_loss(batch)
        loss = sum(losses) if isinstance(losses, tuple) else losses
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    return step


def model_steps(rows: int) -> dict[str, Step]:
    """Steps of every model; DNN first."""
    dataset = ToyDataset({**FIELDS, SCENARIO: N_SCENARIOS + 1})
    alike = toy_batch(rows, dataset=dataset)
    skewed = toy_batch(rows, dataset=dataset)
    shares = 1 / torch.arange(1, N_SCENARIOS + 1)
    generator = torch.Generator().manual_seed(0)
    skewed[SCENARIO] = 1 + torch.multinomial(shares, rows, True, generator=generator)

    def step(model_class: type[ScenarioRecommender], batch: Interaction, **settings: str) -> Step:
        return training_step(toy_model(model_class, dataset, **SIZES, **settings), batch)

    return {
        "DNN": step(DNN, alike),
        "DPG": step(DPG, alike),
        "MIDPG": step(MIDPG, alike),
        "DPG, scenario": step(DPG, alike, generator_input="scenario"),
        "DPG, scenario, 1/i": step(DPG, skewed, generator_input="scenario"),
        "MIDPG, scenario": step(MIDPG, alike, generator_input="scenario"),
    }


def layer_steps(rows: int) -> dict[str, Step]:
    """One layer's forward and backward; the plain layer first."""
    inputs = torch.randn(112, rows, requires_grad=True)
    weight = torch.randn(112, 128, requires_grad=True)
    bias = torch.randn(128, requires_grad=True)
    matrix = torch.rand(8, 8, rows, requires_grad=True)

    def plain() -> Tensor:
        return torch.addmm(bias, inputs.T, weight)

    def weighted() -> Tensor:
        return weighted_linear(inputs, weight, bias, matrix)

    def materialised() -> Tensor:
        return torch.bmm(inputs.T.unsqueeze(1), fold(weight, matrix)).squeeze(1) + bias

    def step(forward: Callable[[], Tensor]) -> Step:
        return lambda: forward().sum().backward()

    return {
        "plain": step(plain),
        "weighted": step(weighted),
        "materialised": step(materialised),
    }


def print_times(steps: Mapping[str, Step], rounds: int) -> None:
    """Let steps take turns; print milliseconds, and ratios to the first one."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(N_WARM_UP + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= N_WARM_UP:
                times[name].append(1000 * (time.perf_counter() - start))
    first = next(iter(times.values()))
    for name, own in times.items():
        ratios = [mine / base for mine, base in zip(own, first, strict=True)]
        low, middle, high = min(ratios), median(ratios), max(ratios)
        limit = f"   limit {LIMITS[name]:g}" if name in LIMITS else ""
        print(
            f"{name:20} {median(own):8.2f} ms   x {low:5.2f} / {middle:5.2f} / {high:5.2f}{limit}"
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_times(model_steps(options.rows), options.rounds)
    print("112 -> 128 layer, forward and backward")
    print_times(layer_steps(options.rows), options.rounds)


if __name__ == "__main__":
    main()
