"""A field of pairs: one token for each user in each category, as a linear model needs it.

    python -m benchmarks.crossed_field --dataset=ciao --fields user_id category

Of a dataset makes ``DATASET_crossed``, whose rows have a further field ``crossed``: the tokens of
the named fields, joined. A sum of one number for each token of each field (RecBole's ``LR``) has
there what ``benchmarks.simple_effects`` fits by ``user_id:category``.

Writes ``dataset/DATASET_crossed/`` and ``dataset_configs/DATASET_crossed.yaml``, beside the files
that ``recbole-midpg prepare DATASET`` has made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.datasets_with_a_field import Source
from recbole_midpg.common.errors import UsageError

CROSSED = "crossed"
_BETWEEN = "+"


def make(dataset: str, fields: Sequence[str]) -> Path:
    """Write the dataset with the crossed field, and its config file.

    Args:
        dataset: the dataset; its ``.inter`` file has the fields.
        fields: two fields of tokens, or more.

    Returns:
        The config file.

    Raises:
        UsageError: there is no such dataset or field, or the config file cannot take a further one.
    """
    source = Source.read(dataset)
    first, *others = (source.column(field) for field in fields)
    pairs = first.str.cat(others, sep=_BETWEEN)
    return source.write_with(CROSSED, pairs, source.loading(CROSSED))


def main(arguments: Sequence[str]) -> None:
    """Make the dataset that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--fields", nargs="+", required=True, help="two or more, of tokens")
    options = parser.parse_args(arguments)
    if len(set(options.fields)) < max(2, len(options.fields)):
        parser.error(f"--fields: {' '.join(options.fields)!r}: expected two or more, each once.")
    try:
        print(make(options.dataset, options.fields))
    except UsageError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
