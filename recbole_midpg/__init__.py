"""Multi-scenario CTR/CVR prediction for RecBole: MI-DPG and the models it is compared with.

Importing the package is all that is needed: it makes RecBole run on today's packages and registers
the models and trainers. Nothing in an installed package is edited.
"""

import sys
from pathlib import Path

from recbole_midpg.common.version import __version__
from recbole_midpg.common.wait_policy import wait_asleep as _wait_asleep


def _register() -> None:
    """Repair RecBole for today's packages, then put our parts where it looks for its own."""
    # Whoever imported RecBole first may hold its functions by name.
    imported_before = frozenset(sys.modules) if "recbole" in sys.modules else frozenset[str]()

    from recbole_midpg.integration import compat

    compat.apply_before_recbole()

    compat.apply_after_recbole()

    from recbole_midpg.integration import seams

    seams.install(also_in=imported_before)


# In a checkout two folders of the package stand beside it; an installation maps them into it.
_beside = Path(__file__).parents[1]
if not Path(__file__).with_name("dataset_configs").is_dir() and (_beside / "setup.py").is_file():
    __path__.append(str(_beside))

_wait_asleep()  # before torch is loaded
_register()

from recbole_midpg.integration.models.outside_models import register  # noqa: E402 - RecBole is mended now

__all__ = ["__version__", "register"]
