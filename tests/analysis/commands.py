"""``recbole-midpg analyze`` in the test's own process."""

import argparse

from recbole_midpg.commands.analysis import add_analyze


def analyze(*arguments):
    """Run a part of ``analyze`` as ``recbole-midpg`` does; errors come through."""
    parser = argparse.ArgumentParser()
    add_analyze(parser.add_subparsers(required=True))
    known, others = parser.parse_known_args(["analyze", *(str(word) for word in arguments)])
    options = vars(known)
    action = options.pop("action")
    if "settings" in options:
        options["settings"] = others
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    action(**options)
