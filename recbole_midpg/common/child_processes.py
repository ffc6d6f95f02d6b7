"""Processes that this one starts to work for it, and that end when it does."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

START_METHOD = "forkserver" if hasattr(os, "fork") else "spawn"


def worker_context(module: str) -> Any:
    """What starts processes that hold nothing of this one's, which may have touched a GPU.

    Where there is fork, they come in a moment from a server that has imported a module.

    Args:
        module: the module that holds what they run.

    Returns:
        A context of :mod:`multiprocessing`.
    """
    context: Any = multiprocessing.get_context(START_METHOD)
    context.set_forkserver_preload([module])  # which is of no effect to other methods
    return context


def end_with_parent() -> None:
    """End this process, from now on, when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
