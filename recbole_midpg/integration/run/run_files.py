"""Names of the files that a run leaves, which no other run has.

Cause: RecBole names checkpoints, logs and TensorBoard folders by the second, so that two runs of a
model that start in the same second write over each other's, and one evaluates the other's weights.
It also ends the TensorBoard folder's name at the first dot, as that of a dataset.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from logging import FileHandler, Logger
from pathlib import Path
from typing import Any

from recbole.utils import get_local_time as _stock_get_local_time
from recbole.utils import utils as recbole_utils

_BOARDS = Path("log_tensorboard")


def get_local_time() -> str:
    """Stand in for ``recbole.utils.get_local_time``, by which it names files.

    Returns:
        The time, as ``Nov-26-2026_14-00-05``, and eight random digits, so that of a thousand runs
        that start in one second two have the same name once in ten thousand such seconds.
    """
    return f"{_stock_get_local_time()}-{secrets.token_hex(4)}"


def get_tensorboard(logger: Logger) -> Any:
    """Stand in for ``recbole.utils.get_tensorboard``: a folder of the log's name, and of no other.

    Args:
        logger: whose log file names the folder; the time does where it has none.

    Returns:
        A ``SummaryWriter`` into a new folder below ``log_tensorboard``.
    """
    logs = [Path(h.baseFilename) for h in logger.handlers if isinstance(h, FileHandler)]
    name = logs[0].stem if logs else f"model-{get_local_time()}"
    return recbole_utils.SummaryWriter(str(_new_folder(_BOARDS, name)))


def _new_folder(parent: Path, name: str) -> Path:
    """Make a folder, with a number behind its name where that is taken, as by another benchmark."""
    parent.mkdir(exist_ok=True)
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("count() does not end")
