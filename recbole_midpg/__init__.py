"""Multi-scenario CTR/CVR prediction for RecBole: MI-DPG and the models it is compared with.

Importing the package is all that is needed: it makes RecBole run on today's packages and registers
the models and trainers. Nothing in an installed package is edited.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_midpg.common.own_command import is_own_command as _is_own_command
from recbole_midpg.common.version import __version__
from recbole_midpg.common.wait_policy import wait_asleep as _wait_asleep

if TYPE_CHECKING:
    from recbole_midpg.integration.models.outside_models import register


def enter_recbole() -> None:
    """Repair RecBole for today's packages, then put our parts where it looks for its own.

    The import of this package does so, and its own commands once their words are read. A second
    call does nothing.
    """
    # Whoever imported RecBole first may hold its functions by name.
    imported_before = frozenset(sys.modules) if "recbole" in sys.modules else frozenset[str]()

    from recbole_midpg.integration import compat

    compat.apply_before_recbole()

    compat.apply_after_recbole()

    from recbole_midpg.integration import seams

    seams.install(also_in=imported_before)


def __getattr__(name: str) -> Any:
    """Give ``register``, which needs RecBole."""
    if name != "register":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    enter_recbole()
    from recbole_midpg.integration.models.outside_models import register

    return register


# In a checkout two folders of the package stand beside it; an installation maps them into it.
_beside = Path(__file__).parents[1]
if not Path(__file__).with_name("dataset_configs").is_dir() and (_beside / "setup.py").is_file():
    __path__.append(str(_beside))

_wait_asleep()  # before torch is loaded
if not _is_own_command():
    enter_recbole()

__all__ = ["__version__", "enter_recbole", "register"]
