"""Figures and numbers of what training has learned: ``recbole-midpg analyze``."""
