"""A run's report: a table of its scenarios for the reader, and all of it as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from recbole_midpg.common.machine import KIB_PER_MIB, git_state, peak_memory_mib
from recbole_midpg.common.report_files import RUN_FORMAT
from recbole_midpg.common.version import versions
from recbole_midpg.common.whole_files import write_text
from recbole_midpg.evaluation.scenario_table import ScenarioTable


@dataclass
class Epoch:
    """An epoch.

    Attributes:
        epoch: its number, from 0.
        loss: the training loss by term, the mean of a sample for our models and the sum over
            batches for RecBole's.
        training_seconds: how long it trained.
        valid: the results on the validation split; empty where it was not evaluated.
        scenario_auc: the validation AUC of each scenario that has rows of both classes.
    """

    epoch: int
    loss: dict[str, float]
    training_seconds: float
    valid: dict[str, float] = field(default_factory=dict)
    scenario_auc: dict[str, float] = field(default_factory=dict)


def find_best_epoch(history: Sequence[Epoch], results: Mapping[str, float] | None) -> Epoch | None:
    """Find the epoch with the best validation results.

    Args:
        history: the epochs.
        results: those results; empty or ``None`` where no epoch was validated.

    Returns:
        The last epoch with them, whose weights RecBole keeps; ``None`` where there is none.
    """
    latest_first = reversed(history)
    return next((epoch for epoch in latest_first if results and epoch.valid == results), None)


@dataclass(frozen=True)
class RunTimes:
    """When a run began, and how long its parts took, in seconds."""

    started: str
    loading: float
    training: float
    testing: float


@dataclass(frozen=True)
class RunReport:
    """What is reported of a finished run.

    Attributes:
        config: the model's and the dataset's name and the ``values`` of the config, all plain.
        device: the device, as ``cuda:0``.
        parameters: trainable parameters.
        parameters_without_embeddings: those that are not embeddings.
        epochs: the training, epoch by epoch.
        valid: the results of the best epoch on the validation split.
        test: its results on the test split.
        table: the scenarios of the test split, ``None`` where rows have no scenario.
        tasks: the same for each task of a model of several.
        times: how long it took.
        identity: what identifies a run that can be resumed, see
            :attr:`~recbole_midpg.integration.run.progress.Progress.identity`; ``None`` of others.
    """

    config: Mapping[str, Any]
    device: str
    parameters: int
    parameters_without_embeddings: int
    epochs: Sequence[Epoch]
    valid: Mapping[str, float]
    test: Mapping[str, float]
    table: ScenarioTable | None
    tasks: Mapping[str, ScenarioTable]
    times: RunTimes
    identity: Mapping[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it, with what is needed to repeat the run, as plain values."""
        scenarios = self.table.scenarios if self.table else ()
        return {
            "format": RUN_FORMAT,
            "model": self.config["model"],
            "dataset": self.config["dataset"],
            "seed": self.config["values"]["seed"],
            "run": self.identity and dict(self.identity),
            "valid": dict(self.valid),
            "test": dict(self.test),
            "scenarios": [asdict(row) for row in scenarios],
            "all_rows": asdict(self.table.everything) if self.table else None,
            "scenarios_without_auc": self.table.without_auc if self.table else 0,
            "tasks": {
                task: {
                    "all": asdict(table.everything),
                    "scenarios": [asdict(row) for row in table.scenarios],
                }
                for task, table in self.tasks.items()
            },
            "parameters": self.parameters,
            "parameters_without_embeddings": self.parameters_without_embeddings,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "times": asdict(self.times),
            "peak_memory_mib": peak_memory_mib(),
            "peak_gpu_memory_mib": peak_gpu_memory_mib(),
            "device": self.device,
            "machine": {
                "system": platform.platform(),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
            },
            "versions": versions(),
            "git": git_state(Path(__file__).parent),
            "config": self.config["values"],
        }

    def write(self, path: Path) -> None:
        """Write the JSON text, whole or not at all."""
        plain = json.loads(
            json.dumps(self.as_json(), default=_json_value), parse_constant=_no_value
        )
        text = json.dumps(plain, indent=1, allow_nan=False)
        write_text(path, text + "\n")


def _no_value(_: str) -> None:
    """What stands for NaN and infinity, which JSON does not have."""


def _json_value(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    return value.tolist() if isinstance(value, torch.Tensor) else str(value)


def peak_gpu_memory_mib() -> float | None:
    """The most memory that tensors have held on a GPU, in MiB; ``None`` without one."""
    if not torch.cuda.is_available():
        return None
    return round(torch.cuda.max_memory_allocated() / KIB_PER_MIB**2, 1)
