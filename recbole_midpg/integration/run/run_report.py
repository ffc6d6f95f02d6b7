"""A run's report: a table of its scenarios for the reader, and all of it as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from recbole_midpg.common.report_files import RUN_FORMAT
from recbole_midpg.common.version import versions
from recbole_midpg.common.whole_files import write_text
from recbole_midpg.evaluation.scenario_table import ScenarioTable
from recbole_midpg.integration.run.checkpoint import config_to_plain
from recbole_midpg.integration.run.history import Epoch

_GIT_SECONDS = 5.0
_KIB_PER_MIB = 1024


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
        config: RecBole's ``Config``.
        parameters: trainable parameters.
        parameters_without_embeddings: those that are not embeddings.
        epochs: the training, epoch by epoch.
        valid: the results of the best epoch on the validation split.
        test: its results on the test split.
        table: the scenarios of the test split, ``None`` where rows have no scenario.
        times: how long it took.
        identity: what identifies a run that can be resumed, see
            :attr:`~recbole_midpg.integration.run.progress.Progress.identity`; ``None`` of others.
    """

    config: Any
    parameters: int
    parameters_without_embeddings: int
    epochs: Sequence[Epoch]
    valid: Mapping[str, float]
    test: Mapping[str, float]
    table: ScenarioTable | None
    times: RunTimes
    identity: Mapping[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it, with what is needed to repeat the run, as plain values."""
        plain = config_to_plain(self.config)
        scenarios = self.table.scenarios if self.table else ()
        return {
            "format": RUN_FORMAT,
            "model": plain["model"],
            "dataset": plain["dataset"],
            "seed": self.config["seed"],
            "run": self.identity and dict(self.identity),
            "valid": dict(self.valid),
            "test": dict(self.test),
            "scenarios": [asdict(row) for row in scenarios],
            "scenarios_without_auc": self.table.without_auc if self.table else 0,
            "parameters": self.parameters,
            "parameters_without_embeddings": self.parameters_without_embeddings,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "times": asdict(self.times),
            "peak_memory_mib": peak_memory_mib(),
            "peak_gpu_memory_mib": peak_gpu_memory_mib(),
            "device": str(self.config["device"]),
            "machine": {
                "system": platform.platform(),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
            },
            "versions": versions(),
            "git": git_state(Path(__file__).parent),
            "config": plain["values"],
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


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of a checkout and whether files were changed since; ``None`` outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
        return done.stdout.strip()

    try:
        # A folder that merely lies in someone's repository, as site-packages may, is not ours.
        git("ls-files", "--error-unmatch", ".")
        changed = git("status", "--porcelain", "--untracked-files=no") != ""
        return {"commit": git("rev-parse", "HEAD"), "changed": changed}
    except (OSError, subprocess.SubprocessError):
        return None


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def peak_memory_mib() -> float | None:
    """The most memory that this process has held, in MiB; ``None`` where no one counts it."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (_KIB_PER_MIB**2 if sys.platform == "darwin" else _KIB_PER_MIB), 1)


def peak_gpu_memory_mib() -> float | None:
    """The most memory that tensors have held on a GPU, in MiB; ``None`` without one."""
    if not torch.cuda.is_available():
        return None
    return round(torch.cuda.max_memory_allocated() / _KIB_PER_MIB**2, 1)
