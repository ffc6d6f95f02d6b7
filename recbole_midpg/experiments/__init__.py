"""Experiments over several runs: tables of models, tuning."""
