"""Damaged and invented input for every reader: what comes out is a result or one sentence.

A few examples run with the suite. For more, ``python -m tests.fuzz --seconds 600``.
"""
