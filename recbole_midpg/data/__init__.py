"""Generated datasets whose best possible AUC and LogLoss are known.

The label model is described in :mod:`recbole_midpg.data.label_model`.
"""

from __future__ import annotations

from .bayes import bayes_of_split, bayes_optimal, read_bayes, read_truth
from .generate import GENERATED, generate

__all__ = [
    "GENERATED",
    "bayes_of_split",
    "bayes_optimal",
    "generate",
    "read_bayes",
    "read_truth",
]
