"""Generated datasets whose best possible AUC and LogLoss are known.

The label model is described in :mod:`recbole_midpg.generated.label_model`.
"""

from __future__ import annotations

from recbole_midpg.generated.bayes import bayes_of_split, bayes_optimal, read_bayes, read_truth
from recbole_midpg.generated.generate import GENERATED, generate

__all__ = [
    "GENERATED",
    "bayes_of_split",
    "bayes_optimal",
    "generate",
    "read_bayes",
    "read_truth",
]
