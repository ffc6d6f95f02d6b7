"""Threads that sleep while they wait: OpenMP's passive wait policy, set before torch is loaded.

By default the threads of a parallel loop spin until the next one begins, and each waits for the
slowest. Beside another program on the same cores they keep each other from the processor, and
training becomes many times slower. The OpenMP library reads the policy once, when it is loaded, and
torch loads it: so this module imports nothing but the standard library and is called first.
"""

from __future__ import annotations

import os
import sys
from logging import getLogger

# The variables by which users choose how threads wait: OpenMP's own, GNU's, and LLVM's and Intel's.
_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_asleep() -> None:
    """Let torch's threads sleep while they wait, unless the environment says how they wait.

    The variable is set in any case, as it serves processes that this one starts. Where torch is
    loaded already, this process goes on spinning, and a warning says so, once.
    """
    if any(name in os.environ for name in _CHOICES):
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        getLogger(__name__).warning(
            "recbole_midpg was imported after torch, whose threads spin while they wait: beside "
            "another busy program, training is many times slower. Import recbole_midpg first, or "
            "set OMP_WAIT_POLICY=PASSIVE before Python starts."
        )
