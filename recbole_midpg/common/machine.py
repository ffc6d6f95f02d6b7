"""What a report says of its circumstances: the time, the memory and the state of the checkout."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_GIT_SECONDS = 5.0
KIB_PER_MIB = 1024


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
    return round(peak / (KIB_PER_MIB**2 if sys.platform == "darwin" else KIB_PER_MIB), 1)
