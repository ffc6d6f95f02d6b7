"""Whether this process is one of the package's own commands, seen by how Python was started.

A command answers ``--help`` and a misspelt word at once, and so puts off the import of torch and
RecBole until it has something to do. Every other process that imports the package wants RecBole
mended at once: a program, a notebook, and the workers that a command starts. A worker is known by
the words that started it, ``sys.orig_argv``, as ``sys.argv`` is its parent's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

_SCRIPTS = frozenset({"run_recbole", "recbole-midpg", "run_recbole.exe", "recbole-midpg.exe"})
_PACKAGE = "recbole_midpg"
# In the text of a script that an installer has made, and in the archive behind a Windows one.
_MARK = b"recbole_midpg.cli"


def is_own_command(words: Sequence[str] | None = None) -> bool:
    """Whether Python was started for ``run_recbole``, ``recbole-midpg`` or ``-m recbole_midpg``.

    Where it was started in another way, as with options of Python, the answer is no, which costs
    the command a few seconds and nothing else. A user's own ``run_recbole`` is no command of ours.

    Args:
        words: the words that started Python, those of this process by default.
    """
    started = sys.orig_argv if words is None else words
    if list(started[1:3]) == ["-m", _PACKAGE]:
        return True
    script = Path(started[1]) if len(started) > 1 else Path()
    return script.name in _SCRIPTS and _was_installed(script)


def _was_installed(script: Path) -> bool:
    try:
        return _MARK in script.read_bytes()
    except OSError:
        return False
