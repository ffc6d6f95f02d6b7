"""Scores of new rows: in Python, on the command line, and by an exported program."""

from recbole_midpg.prediction.scorer import Scorer

__all__ = ["Scorer"]
