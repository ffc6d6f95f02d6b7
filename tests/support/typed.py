"""Commands as a user types them, in this process: without the seconds of a new one's imports."""

import contextlib
import io
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recbole_midpg import cli
from recbole_midpg.integration.config import config


def run_recbole(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``run_recbole``."""
    return _typed(cli.run_recbole_command, arguments, cwd)


def midpg(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``recbole-midpg``."""
    return _typed(cli.main, arguments, cwd)


def _typed(
    command: Callable[[list[str]], int], arguments: tuple[Any, ...], cwd: Path
) -> subprocess.CompletedProcess[str]:
    words = [str(argument) for argument in arguments]
    cwd.mkdir(parents=True, exist_ok=True)
    output, errors = io.StringIO(), io.StringIO()
    with (
        _as_in_a_new_process(),
        _in_folder(cwd),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            status = command(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return subprocess.CompletedProcess(words, status, output.getvalue(), errors.getvalue())


@contextlib.contextmanager
def _as_in_a_new_process() -> Iterator[None]:
    """Without pytest's log handlers, and what was said once already."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers[:] = []
    logger.setLevel(logging.WARNING)
    config._warn_once.cache_clear()
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
