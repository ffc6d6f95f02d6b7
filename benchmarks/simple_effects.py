r"""How far do simple effects go: an average of each user, item, and user in a scenario?

    python -m benchmarks.simple_effects --dataset=ciao --effects user_id item_id user_id:category

The score of a row is a sum of one number for each of its ids, or pairs of ids, and nothing else:

.. math:: \hat y = \mu + \sum_t b^t_{g_t}, \qquad
          \min_b \sum (y - \hat y)^2 + \sum_t \lambda_t \sum_g (b^t_g)^2

with :math:`g_t` the row's group of effect :math:`t`. It is fitted effect by effect, each at its
exact minimum given the others (backfitting), until none moves. Each :math:`\lambda_t` is chosen by
the AUC on the validation split, which the seed draws as a benchmark's trials do; the test split is
read once. A model of the table that is below these effects has not learned what they hold.

Prints a line of CSV a seed, and the mean.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.arguments import require_trials
from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import auc
from recbole_midpg.experiments.statistics import Spread
from recbole_midpg.experiments.table_files import spread_text
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.run.run import Run
from recbole_midpg.integration.run.validation import require_validation

STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_SWEEPS, _STILL = 50, 1e-4
_START = 8.0

Floats = NDArray[np.float64]
Groups = list[NDArray[np.int64]]


@dataclass(frozen=True)
class Rows:
    """The rows of a split.

    Attributes:
        labels: ``(B,)``, 0 or 1.
        groups: of each effect, the group of each row, ``(B,)``.
    """

    labels: Floats
    groups: Groups


def fit(rows: Rows, sizes: Sequence[int], strengths: Sequence[float]) -> tuple[float, list[Floats]]:
    r"""Fit the effects.

    Args:
        rows: the training split.
        sizes: how many groups each effect has.
        strengths: :math:`\lambda_t`, above 0.

    Returns:
        :math:`\mu`, the mean label, and the effects, one value a group: 0 of an unseen one.
    """
    mean = float(rows.labels.mean())
    residuals = rows.labels - mean
    effects = [np.zeros(size) for size in sizes]
    counts = [np.bincount(g, minlength=n) for g, n in zip(rows.groups, sizes, strict=True)]
    for _ in range(_SWEEPS):
        moved = 0.0
        for place, groups in enumerate(rows.groups):
            old = effects[place]
            sums = np.bincount(groups, residuals, minlength=len(old)) + counts[place] * old
            effects[place] = sums / (counts[place] + strengths[place])
            change = effects[place] - old
            residuals -= change[groups]
            moved = max(moved, float(np.abs(change).max()))
        if moved < _STILL:
            break
    return mean, effects


def scores(fitted: tuple[float, list[Floats]], groups: Groups) -> Floats:
    """The scores of rows, ``(B,)``."""
    mean, effects = fitted
    return mean + sum(effect[of_rows] for effect, of_rows in zip(effects, groups, strict=True))


def choose(train: Rows, valid: Rows, sizes: Sequence[int]) -> tuple[list[float], float]:
    """Choose the strengths by validation AUC, one after the other, twice.

    Returns:
        The strengths and their AUC.
    """

    def score(strengths: Sequence[float]) -> float:
        return auc(valid.labels, scores(fit(train, sizes, strengths), valid.groups))

    best, best_auc = [_START] * len(sizes), -1.0
    for place in (*range(len(sizes)), *range(len(sizes))):
        for strength in STRENGTHS:
            tried = [*best[:place], strength, *best[place + 1 :]]
            if (found := score(tried)) > best_auc:
                best, best_auc = tried, found
    return best, best_auc


def read_splits(dataset: str, effects: Sequence[str], seed: int) -> tuple[list[Rows], list[int]]:
    """Read the three splits that a seed draws.

    Args:
        dataset: the dataset.
        effects: each a field of tokens, or several joined by colons.
        seed: of the split.

    Returns:
        Training, validation and test rows, and how many groups each effect has.

    Raises:
        UsageError: an effect has no such field, or there is no validation split.
    """
    config = build_config("DNN", dataset, values={"seed": seed, "show_progress": False})
    require_validation(config, "choosing the strengths")
    run = Run.prepare(config)
    parts = [run.train_data, run.valid_data, run.test_data]
    tables = [data._dataset.join(data._dataset.inter_feat) for data in parts]
    groups, sizes = [], []
    for effect in effects:
        fields = effect.split(":")
        for name in fields:
            if name not in run.dataset.field2id_token:
                known = ", ".join(run.dataset.field2id_token)
                raise UsageError(f"--effects: {name!r} is no field of tokens, expected {known}.")
        keys = np.concatenate([_joined(table, fields, run.dataset) for table in tables])
        values, of_rows = np.unique(keys, return_inverse=True)
        groups.append(of_rows.reshape(-1))
        sizes.append(len(values))
    ends = np.cumsum([len(table) for table in tables])
    starts = [0, *ends[:-1]]
    return [
        Rows(
            table[config["LABEL_FIELD"]].cpu().numpy().astype(np.float64),
            [of_effect[start:end] for of_effect in groups],
        )
        for table, start, end in zip(tables, starts, ends, strict=True)
    ], sizes


def _joined(table: Any, fields: Sequence[str], dataset: Any) -> NDArray[np.int64]:
    """One number for the values of several fields in a row."""
    keys = np.zeros(len(table), np.int64)
    for name in fields:
        keys = keys * dataset.num(name) + table[name].cpu().numpy()
    return keys


def measure(dataset: str, effects: Sequence[str], seed: int) -> list[Any]:
    """Fit, choose and test with one seed: a line of the table."""
    splits, sizes = read_splits(dataset, effects, seed)
    for name, rows in zip(("training", "validation", "test"), splits, strict=True):
        _require_both_classes(rows.labels, f"{dataset}, seed {seed}", name)
    train, valid, test = splits
    strengths, valid_auc = choose(train, valid, sizes)
    test_auc = auc(test.labels, scores(fit(train, sizes, strengths), test.groups))
    return [" + ".join(effects), seed, round(valid_auc, 6), round(test_auc, 6), *strengths]


def _require_both_classes(labels: Floats, place: str, split: str) -> None:
    classes = np.unique(labels)
    if len(classes) < 2:
        found = f"the {split} split has no rows"
        if len(labels):
            found = f"all {len(labels)} labels of the {split} split are {classes[0]:g}"
        raise UsageError(f"{place}: {found}, where AUC is not defined, expected both 0 and 1.")


def main(arguments: Sequence[str]) -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument(
        "--effects", nargs="+", required=True, metavar="FIELD[:FIELD]", help="fields of tokens"
    )
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=2020)
    options = parser.parse_args(arguments)
    lines = csv.writer(sys.stdout, lineterminator="\n")
    strengths = [f"lambda of {effect}" for effect in options.effects]
    found = []
    try:
        require_trials(options.trials, options.seed, jobs=1)
        lines.writerow(["model", "seed", "valid auc", "test auc", *strengths])
        for seed in range(options.seed, options.seed + options.trials):
            found.append(measure(options.dataset, options.effects, seed))
            lines.writerow(found[-1])
            sys.stdout.flush()
    except UsageError as error:
        parser.error(str(error))
    spread = spread_text(Spread.of([line[3] for line in found]), 4)
    print(f"test AUC, mean ± sd over seeds: {spread}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
