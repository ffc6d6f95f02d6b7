"""Training DPG and MIDPG alike, so that their weighting matrices compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole.utils import init_logger

from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.run.run import Run

PAIR = ("DPG", "MIDPG")


def train_pair(
    dataset: str,
    folder: Path,
    seed: int,
    config_files: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
) -> list[Path]:
    """Train both models with the same seed and settings; they differ in the regularisation only.

    Args:
        dataset: the dataset.
        folder: where checkpoints go, with a report beside each.
        seed: of both trainings.
        config_files: RecBole config files.
        settings: further config values.

    Returns:
        The checkpoints, of DPG and of MIDPG.

    Raises:
        UsageError: something is wrong with the configuration or the data.
    """
    fixed = {**(settings or {}), "seed": seed, "checkpoint_dir": str(folder)}
    # Both before the first is trained: a mistake in one is reported at once.
    configs = [build_config(model, dataset, config_files, fixed) for model in PAIR]
    return [_train(config) for config in configs]


def _train(config: Any) -> Path:
    init_logger(config)
    run = Run.prepare(config)
    run.train(saved=True)
    run.test(saved=True)
    run.trainer.tensorboard.close()
    checkpoint = Path(run.trainer.saved_model_file)
    run.report().write(checkpoint.with_suffix(".json"))
    return checkpoint
