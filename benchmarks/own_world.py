"""What keeps a model from learning a world of DPG's own form: start it at the truth, part by part.

    python -m benchmarks.own_world [--rows 450000] [--epochs 6] [--seed 1]

On ``teacher_dpg_synth``, whose labels are drawn from a network of DPG's form, DPG starts at the
teacher's own weights, or with some of them drawn as in any training: the embeddings of the tokens,
the backbone, or what makes the weighting matrices. With "held" the tokens' embeddings stay at the
truth, so that what is left to learn is the function of the scenario alone; there other models and
wider layers run beside it. Prints the validation AUC before training and after each epoch, and the
best possible one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_midpg.generated.generate import DEFAULT_SEED
from recbole_midpg.generated.teacher_synth import EMBEDDING_SIZE, N_SCENARIOS, make, sources
from recbole_midpg.generated.teachers import (
    WIDTHS,
    WeightingFactors,
    draw_network,
    draw_weighting_factors,
)
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.run.run import Run

DATASET = "teacher_dpg_synth"
FIELDS = {"user_id": "user", "item_id": "item", "hour": "hour", "page": "page", "device": "device"}
# DPG of the teacher's sizes: gates from 0 to 2, matrices a function of the scenario alone.
TEACHER_SIZES: dict[str, Any] = {
    "mlp_hidden_size": list(WIDTHS),
    "gate_scale": 2.0,
    "generator_input": "scenario",
}
WIDE: dict[str, Any] = {"mlp_hidden_size": [512, 256, 128]}


@dataclass(frozen=True)
class Start:
    """A training.

    Attributes:
        name: what it is called.
        model: the model.
        parts: what starts at the truth: some of ``tokens``, ``backbone``, ``matrices``.
        held: whether the tokens' embeddings stay there.
        settings: config values.
    """

    name: str
    model: str
    parts: Sequence[str]
    held: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


STARTS = (
    Start("all at the truth", "DPG", ("tokens", "backbone", "matrices"), settings=TEACHER_SIZES),
    Start("matrices drawn", "DPG", ("tokens", "backbone"), settings=TEACHER_SIZES),
    Start("tokens drawn", "DPG", ("backbone", "matrices"), settings=TEACHER_SIZES),
    Start("tokens held", "DPG", ("tokens",), held=True, settings=TEACHER_SIZES),
    Start("tokens held, defaults", "DPG", ("tokens",), held=True),
    Start("tokens held, gates to 2", "DPG", ("tokens",), held=True, settings={"gate_scale": 2.0}),
    Start("tokens held, wide", "DPG", ("tokens",), held=True, settings=WIDE),
    Start("tokens held", "DNN", ("tokens",), held=True),
    Start("tokens held, wide", "DNN", ("tokens",), held=True, settings=WIDE),
    Start("tokens held", "STAR", ("tokens",), held=True),
    Start("tokens held", "PLE", ("tokens",), held=True),
)


class World:
    """The teacher's weights, as a model has them."""

    def __init__(self, rows: int) -> None:
        self.model = make("dpg", rows, DEFAULT_SEED).model
        source = sources(DEFAULT_SEED)[1]
        self.network = draw_network(source, EMBEDDING_SIZE * len(FIELDS))
        self.factors: WeightingFactors = draw_weighting_factors(source, N_SCENARIOS)

    @torch.no_grad()
    def set_tokens(self, run: Run) -> None:
        """Give each token the teacher's embedding, in the first of the model's numbers."""
        for name, rows in _rows_of_fields(run):
            if name in FIELDS:
                values = [int(token) for token in run.dataset.field2id_token[name][1:]]
                rows[1:] = 0.0
                truth = self.model.embeddings[FIELDS[name]][values]
                rows[1:, :EMBEDDING_SIZE] = torch.from_numpy(truth).float()

    @torch.no_grad()
    def set_backbone(self, run: Run) -> None:
        """Give the layers the teacher's weights, with its logits' spread and base rate."""
        model, size = run.model, run.model.embedding_size
        first, second = model.backbone.layers
        weights = [torch.from_numpy(weight).float() for weight in self.network.weights]
        first.weight.zero_()
        places = [name for name, _ in _rows_of_fields(run) if name in FIELDS]
        for place, name in enumerate(places):
            start = EMBEDDING_SIZE * list(FIELDS).index(name)
            own = weights[0][start : start + EMBEDDING_SIZE]
            first.weight[place * size : place * size + EMBEDDING_SIZE] = own
        second.weight.copy_(weights[1])
        model.backbone.output.weight.copy_(weights[2].T * self.model.scale)
        model.backbone.output.bias.fill_(self.model.intercept)

    @torch.no_grad()
    def set_matrices(self, run: Run) -> None:
        """Make each scenario's embedding choose its own factor, and give V the teacher's."""
        rows = dict(_rows_of_fields(run))["scenario"]
        numbers = [int(token) for token in run.dataset.field2id_token["scenario"][1:]]
        rows[1:] = torch.eye(N_SCENARIOS, rows.shape[1])[numbers]
        for depth, layer in enumerate(run.model.backbone.layers):
            layer.weighting.column_factor.copy_(torch.from_numpy(self.factors.shared[depth]))
            (generator,) = layer.weighting.generator.layers
            generator.weight.zero_()
            generator.bias.zero_()
            own = np.stack([factors[depth].ravel() for factors in self.factors.of_scenarios])
            generator.weight[:, :N_SCENARIOS] = torch.from_numpy(own.T)


def _rows_of_fields(run: Run) -> list[tuple[str, Tensor]]:
    """The embeddings of each field's tokens, in the order of the model's inputs."""
    table = run.model.token_embedding_table.embedding.weight.detach()
    offsets = run.model.token_offsets.tolist()
    names = run.model._ordered_tokens
    return [
        (name, table[offset : offset + run.dataset.num(name)])
        for name, offset in zip(names, offsets, strict=True)
    ]


def areas(world: World, start: Start, rows: int, epochs: int, seed: int) -> list[float]:
    """Train, and give the validation AUC before training and after each epoch."""
    settings = {
        "synthetic_rows": rows,
        "synthetic_seed": DEFAULT_SEED,
        "train_batch_size": 2048,
        "learning_rate": 0.002,
        "epochs": epochs,
        "stopping_step": epochs,
        "seed": seed,
        "show_progress": False,
        "metric_decimal_place": 6,
        **start.settings,
    }
    run = Run.prepare(build_config(start.model, DATASET, values=settings))
    setters: dict[str, Callable[[Run], None]] = {
        "tokens": world.set_tokens,
        "backbone": world.set_backbone,
        "matrices": world.set_matrices,
    }
    for part in start.parts:
        setters[part](run)
    if start.held:
        _hold_tokens(run)
    found: list[float] = []
    validate = run.trainer._valid_epoch

    def watched(*arguments: Any, **options: Any) -> Any:
        result = validate(*arguments, **options)
        found.append(result[1]["auc"])
        return result

    run.trainer._valid_epoch = watched
    watched(run.valid_data, show_progress=False)
    run.train(saved=False, verbose=False)
    return found


def _hold_tokens(run: Run) -> None:
    """Put the tokens' embeddings back after every step."""
    held = [(rows, rows.clone()) for name, rows in _rows_of_fields(run) if name in FIELDS]
    step = run.trainer.optimizer.step

    def stepped(*arguments: Any, **options: Any) -> Any:
        result = step(*arguments, **options)
        for rows, truth in held:
            rows.copy_(truth)
        return result

    run.trainer.optimizer.step = stepped


def main() -> None:
    """Print the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=450_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.argv[1:] = []  # RecBole reads them

    world = World(arguments.rows)
    print(f"{arguments.rows:,} rows, seed {arguments.seed}; validation AUC before training and "
          "after each epoch")  # fmt: skip
    for start in STARTS:
        began = time.perf_counter()
        found = areas(world, start, arguments.rows, arguments.epochs, arguments.seed)
        curve = " ".join(f"{area:.4f}" for area in found)
        print(f"{start.model:5} {start.name:24} {curve}  {time.perf_counter() - began:.0f} s",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
