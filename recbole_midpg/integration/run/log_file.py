"""RecBole's log file, of rank 0 alone, on a disk that may be full.

Cause: RecBole lets each of several processes have a log file. A handler of ``logging`` that cannot
write prints a traceback for every line; the log also goes to the terminal, and a run is worth more
than its log: its loss is reported once. And each ``init_logger`` wraps the terminal's streams
once more, for colours: some 450 runs in one process ended in a recursion of wrappers.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

from recbole.utils import init_logger as _stock_init_logger

from recbole_midpg.integration.run.process_group import rank
from recbole_midpg.integration.run.terminal import show_digest


def init_logger(config: Any) -> None:
    """Stand in for ``recbole.utils.init_logger``: the same log, given up where its disk is full.

    The terminal shows a digest of it, or all of it with ``verbose: True``.

    Other ranks than 0 have no file, and log errors only.

    Args:
        config: RecBole's ``Config``.
    """
    if rank() != 0:
        logging.basicConfig(level=logging.ERROR)
        return
    _stock_init_logger(config)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = functools.partial(_give_up, handler)  # type: ignore[method-assign]
    show_digest(config["verbose"])


def _give_up(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        logging.FileHandler.handleError(handler, record)
        return
    logging.getLogger().removeHandler(handler)
    logging.getLogger().warning(
        f"Log: {handler.baseFilename} ends here ({error.strerror}); the run goes on without it."
    )
