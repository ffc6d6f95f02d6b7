"""Atomic files read fast, encoded, and kept in a cache."""
