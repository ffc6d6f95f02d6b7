"""Freed memory that stays with the process: the next step takes it again instead of new pages.

A step makes and frees the same large tensors as the one before. The C library gives large blocks
back to the system as they are freed, and the system hands out each page of new ones filled with
zeros: with PLE of 100 scenarios that is a third of the step.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping

# Blocks up to this size, and as much free memory behind the last block in use, are kept: the
# largest number that the C library reads.
KEPT_BYTES = (1 << 31) - 1
# What glibc's malloc.h calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
_TRIM_THRESHOLD, _OWN_PAGES_THRESHOLD = -1, -3
# The variables by which users choose for themselves.
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep up to :data:`KEPT_BYTES` of memory that it has freed.

    A step needs no more memory by this, but the process stays at what the largest one needed.
    Other C libraries than glibc are left as they are, and so is glibc where the environment says
    how much it keeps.

    Args:
        environment: its variables.

    Returns:
        Whether the library was told so.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in environment for name in _VARIABLES):
        return False
    # Each call gives 1 where the value is taken; older versions take no threshold above 32 MiB.
    set_option = ctypes.CDLL(None).mallopt
    kept = set_option(_TRIM_THRESHOLD, KEPT_BYTES)
    own_pages = set_option(_OWN_PAGES_THRESHOLD, KEPT_BYTES) or set_option(
        _OWN_PAGES_THRESHOLD, 1 << 25
    )
    return bool(kept and own_pages)
