"""``python -m recbole_midpg``, the same command as ``run_recbole``."""

import sys

from recbole_midpg.cli import run_recbole_command

if __name__ == "__main__":
    sys.exit(run_recbole_command())
