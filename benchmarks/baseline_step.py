"""Time of a training step (forward and backward) of each model, as a multiple of DNN's.

Models take turns in every round, so that what else the machine does falls on all of them; a round's
ratio is taken within the round. Beside PLE and STAR stands a plain version of the same model that
computes every scenario's branch on every row and keeps the row's own.

Run from the repository's root:

    python -m benchmarks.baseline_step [--models STAR PLE] [--rows 512 4096] [--rounds 100]
        [--threads 2] [--processor-time] [--whole-step]

``--processor-time`` counts the process's own time on all threads, not the clock's: for a machine
that does other work beside. ``--whole-step`` takes Adam's step as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.ple import PLE
from recbole_midpg.models.star import STAR
from recbole_midpg.training.adam import Adam
from recbole_midpg.training.freed_memory import keep_freed_memory
from tests.support.toy import SCENARIO, ToyDataset, toy_batch, toy_model

# The most that a step may take, as a multiple of DNN's; models without an aim are measured too.
LIMITS = {
    "AdaSparse": 2.8,
    "AdaptDHM": 4.0,
    "APG": 2.5,
    "EPNet": 2.5,
    "HAMUR": 4.0,
    "HMoE": 6.0,
    "M2M": 9.0,
    "M2M group": 5.0,
    "M3oE": 8.0,
    "MMoE": 4.0,
    "PEPNet": 5.0,
    "PLE": 9.0,
    "PPNet": 4.0,
    "SARNet": 6.0,
    "SharedBottom": 2.0,
    "STAR": 3.0,
}
GROWTH_LIMIT = 1.5
# Their definition has each row read all scenarios' branches.
GROWING = {"HMoE", "M3oE"}
# Settings that change what a model costs, each measured beside the default.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "HAMUR": {"shared backbone": {"specific_backbone": False}},
    "M2M": {"group": {"meta_condition": "group"}},
    "PLE": {"one level": {"expert_levels": 1}},
}
N_WARM_UP = 10
SIZES = {"embedding_size": 16, "mlp_hidden_size": [128, 64, 32]}
FIELDS = dict.fromkeys(["user_id", "item_id", "shop_id", "brand_id", "city_id", "hour_id"], 50)

Step = Callable[[], None]


class MaskedSTAR(STAR):
    """STAR by a loop over scenarios, each on all rows; what is not a scenario's own is dropped."""

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        logits = torch.zeros(len(inputs), 1)
        for scenario in range(self.n_scenarios):
            own = (interaction[self.scenario_id_field] == scenario).unsqueeze(1)
            hidden = self._norm(inputs, own, scenario)
            for depth, layer in enumerate(self.backbone.layers):
                hidden = hidden if depth == 0 else torch.relu(hidden)
                weight = layer.shared_weight * (1 + layer.specific_weight[scenario])
                hidden = hidden @ weight + layer.shared_bias + layer.specific_bias[scenario]
            logits = torch.where(own, hidden, logits)
        return (logits + self.auxiliary(inputs)).squeeze(-1)

    def _norm(self, inputs: Tensor, own: Tensor, scenario: int) -> Tensor:
        norm, count = self.norm, own.sum()
        if count >= norm.min_rows:
            mean = (inputs * own).sum(0) / count
            variance = ((inputs - mean).square() * own).sum(0) / count
            with torch.no_grad():
                norm.running_mean[scenario].lerp_(mean, norm.momentum)
                norm.running_variance[scenario].lerp_(variance, norm.momentum)
        else:
            mean, variance = norm.running_mean[scenario], norm.running_variance[scenario]
        scale = norm.shared_scale * (1 + norm.specific_scale[scenario])
        shift = norm.shared_shift + norm.specific_shift[scenario]
        return scale * (inputs - mean) / (variance + norm.epsilon).sqrt() + shift


class MaskedPLE(PLE):
    """PLE of two levels by a loop over scenarios, each on all rows."""

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, _ = self.embed(interaction)
        (level,), last = self.levels, self.last_level
        experts = [
            torch.relu(inputs @ weight.T + bias)
            for weight, bias in zip(level.weight, level.bias, strict=True)
        ]
        shared = _mixture(level.shared_gate(inputs), experts)
        shared_experts = [torch.relu(expert(shared)) for expert in last.shared_experts]
        logits = torch.zeros(len(inputs), 1)
        for scenario in range(self.n_scenarios):
            own = _mixture(inputs @ level.gates[scenario].T, [experts[scenario], experts[-1]])
            (expert,) = last.own_experts
            mapped = torch.relu(own @ expert.weight[scenario] + expert.bias[scenario])
            hidden = _mixture(own @ last.gates.weight[scenario], [mapped, *shared_experts])
            for depth, layer in enumerate(self.towers.layers):
                hidden = hidden if depth == 0 else torch.relu(hidden)
                hidden = hidden @ layer.weight[scenario] + layer.bias[scenario]
            is_own = (interaction[self.scenario_id_field] == scenario).unsqueeze(1)
            logits = torch.where(is_own, hidden, logits)
        return logits.squeeze(-1)


def _mixture(gate_logits: Tensor, experts: Sequence[Tensor]) -> Tensor:
    weights = gate_logits.softmax(-1).unsqueeze(-1)
    return (weights * torch.stack(list(experts), dim=1)).sum(1)


MASKED: dict[type[ScenarioRecommender], type[ScenarioRecommender]] = {
    PLE: MaskedPLE,
    STAR: MaskedSTAR,
}


@dataclass(frozen=True)
class Measured:
    """A model as it is measured: its class, and what is set beside its defaults."""

    name: str
    model_class: type[ScenarioRecommender]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether it is there to be compared with: DNN, and the loops over all scenarios."""
        return self.model_class in (DNN, *MASKED.values())

    @property
    def limit(self) -> float | None:
        """The aim for its multiple of DNN's step: its own, or that of its model."""
        if self.is_plain:
            return None
        return LIMITS.get(self.name, LIMITS.get(self.model_class.__name__))

    @property
    def growth_limit(self) -> float | None:
        """The aim for its growth from 10 to 100 scenarios."""
        grows = self.is_plain or self.model_class.__name__ in GROWING
        return None if grows else GROWTH_LIMIT


def measured_models(names: Sequence[str]) -> list[Measured]:
    """Each of the named models, its variants, and its loop over all scenarios where it has one."""
    models = []
    for name in names:
        model_class = own_models()[name]
        models.append(Measured(name, model_class))
        for variant, settings in VARIANTS.get(name, {}).items():
            models.append(Measured(f"{name} {variant}", model_class, settings))
        if model_class in MASKED:
            models.append(Measured(f"{name} by masked loop", MASKED[model_class]))
    return models


def training_step(
    model_class: type[ScenarioRecommender],
    n_scenarios: int,
    rows: int,
    skewed: bool = False,
    settings: dict[str, Any] | None = None,
    whole: bool = False,
) -> Step:
    """A step on a fixed batch: gradients cleared, forward, backward.

    Args:
        model_class: the model; a masked version takes its model's defaults.
        n_scenarios: scenarios beside token 0.
        rows: rows of the batch.
        skewed: whether scenario ``i`` has rows in proportion to ``1 / i``; else all have alike.
        settings: config keys beside the model's defaults.
        whole: whether Adam's step follows.
    """
    dataset = ToyDataset({**FIELDS, SCENARIO: n_scenarios + 1})
    named = next((own for own, masked in MASKED.items() if masked is model_class), model_class)
    plain = toy_model(named, dataset, **SIZES, **(settings or {}))
    plain.__class__ = model_class
    batch = toy_batch(rows, dataset=dataset)
    if skewed:
        shares = 1 / torch.arange(1, n_scenarios + 1)
        generator = torch.Generator().manual_seed(0)
        batch[SCENARIO] = 1 + torch.multinomial(shares, rows, True, generator=generator)
    update = Adam(plain.parameters()).step if whole else lambda: None

    def step() -> None:
        plain.zero_grad()
        losses = plain.calculate_loss(batch)
        loss = sum(losses) if isinstance(losses, tuple) else losses
        loss.backward()
        update()

    return step


def take_turns(
    steps: dict[str, Step], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Run all steps in turn, and time each in milliseconds, a value a round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(N_WARM_UP + rounds):
        for name, step in steps.items():
            start = clock()
            step()
            if round_number >= N_WARM_UP:
                times[name].append(1000 * (clock() - start))
    return times


def spread(values: Sequence[float]) -> str:
    """Smallest, middle and largest value."""
    return f"{min(values):7.2f} {median(values):7.2f} {max(values):7.2f}"


def ratios(times: dict[str, list[float]], name: str, base: str) -> list[float]:
    """One step's time over another's, a value a round."""
    return [a / b for a, b in zip(times[name], times[base], strict=True)]


def aim(limit: float | None) -> str:
    """A limit, where there is one."""
    return "" if limit is None else f"   <= {limit}"


def report_multiples(
    models: Sequence[Measured], rows: int, rounds: int, whole: bool, clock: Callable[[], float]
) -> None:
    """Measure and print each model's step as a multiple of DNN's."""
    print(f"\nmultiple of DNN's step, {rows} rows, 10 scenarios: alike, skewed; min median max")
    for model in models:
        cells = []
        for skewed in (False, True):
            steps = {
                "DNN": training_step(DNN, 10, rows, skewed, whole=whole),
                "model": training_step(
                    model.model_class, 10, rows, skewed, model.settings, whole=whole
                ),
            }
            cells.append(spread(ratios(take_turns(steps, rounds, clock), "model", "DNN")))
        print(f"{model.name:22}{cells[0]}   {cells[1]}{aim(model.limit)}", flush=True)


def report_growth(
    models: Sequence[Measured], rows: int, rounds: int, whole: bool, clock: Callable[[], float]
) -> None:
    """Measure and print what a step takes with 10 and with 100 scenarios, the loops left out."""
    print(f"\n10 -> 100 scenarios, {rows} rows: ms, ms, growth")
    for model in models:
        if model.model_class in MASKED.values():
            continue
        steps = {
            str(n): training_step(model.model_class, n, rows, False, model.settings, whole)
            for n in (10, 100)
        }
        times = take_turns(steps, max(rounds // 3, 1), clock)
        growth = median(ratios(times, "100", "10"))
        cells = [spread(times[n]) for n in steps]
        print(
            f"{model.name:22}{cells[0]}   {cells[1]}   {growth:5.2f}{aim(model.growth_limit)}",
            flush=True,
        )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    known = list(own_models())
    parser.add_argument("--models", nargs="+", default=known, choices=known, metavar="MODEL")
    parser.add_argument("--rows", nargs="+", type=int, default=[512, 4096])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--whole-step", action="store_true", help="take Adam's step as well")
    arguments = parser.parse_args()
    keep_freed_memory()  # as a run does
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    print(f"{torch.get_num_threads()} threads, {arguments.rounds} rounds")
    models = measured_models(arguments.models)
    for rows in arguments.rows:
        report_multiples(models, rows, arguments.rounds, arguments.whole_step, clock)
        report_growth(models, rows, arguments.rounds, arguments.whole_step, clock)


if __name__ == "__main__":
    main()
