"""Running Python and the command line in a process of its own, as a user would."""

import os
import subprocess
import sys
from pathlib import Path

import recbole_midpg

COMPAT = Path(recbole_midpg.__file__).parent / "integration" / "compat.py"


def run_python(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, "-c", code], cwd, environment)


def run_module(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m recbole_midpg``, which is ``run_recbole``."""
    return _run([sys.executable, "-m", "recbole_midpg", *arguments], cwd, {})


def run_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``recbole-midpg``."""
    code = "import sys; from recbole_midpg.cli import main; sys.exit(main())"
    return _run([sys.executable, "-c", code, *arguments], cwd, {})


def _run(
    command: list[str], cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
