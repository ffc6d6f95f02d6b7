r"""The best AUC and LogLoss that any model can reach, from the true probabilities of rows.

The Bayes-optimal score of a row is its true probability. With labels that are drawn by it, pairs of
a positive and a negative row are ranked right as often as

.. math::
    \text{AUC}^* = \frac{\sum_{i \ne j} p_i (1 - p_j)\, ([p_i > p_j] + \tfrac12 [p_i = p_j])}
        {\sum_{i \ne j} p_i (1 - p_j)}, \qquad
    \text{LogLoss}^* = \frac1N \sum_i -p_i \ln p_i - (1 - p_i) \ln(1 - p_i).

Beside these expected values stand those on the labels as drawn: on a small split chance moves a
model's AUC as it moves the best possible one, so that the two compare better.

``NAME.truth.npy`` lies beside the atomic files: for each row of ``NAME.inter``, in its order, the
true probability and the label. No config can load it as a feature: RecBole reads only files whose
ending it knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import write_text

BAYES_FILE = "bayes.json"
TRUTH = np.dtype([("probability", "<f4"), ("label", "u1")])
PARTS = ("train", "valid", "test")
DIGITS = 7
"""Digits after the point of the scores, and of the similarity, in ``bayes.json``."""

_BINS = 1 << 20
_LARGEST_LOGIT = 16.0
_CHUNK_ROWS = 1 << 20


class BayesScores:
    """Sums up rows, chunk by chunk, in constant memory.

    Rows whose logits fall into the same of 1,048,576 bins from -16 to 16 count as ties. That moves
    an AUC by less than 0.00001.
    """

    def __init__(self) -> None:
        self._mass = np.zeros((4, _BINS))  # expected and drawn, positive and negative
        self._squares = 0.0
        self._losses = np.zeros(2)
        self._rows = 0

    def add(self, probability: NDArray[Any], label: NDArray[Any]) -> None:
        """Add rows: their true probabilities and labels, ``(rows,)`` each."""
        chances = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
        logits = np.log(chances) - np.log1p(-chances)
        places = ((logits / _LARGEST_LOGIT + 1) * (_BINS / 2)).astype(np.int64)
        places = np.clip(places, 0, _BINS - 1)
        positive = label.astype(np.float64)
        for kind, weights in enumerate((chances, 1 - chances, positive, 1 - positive)):
            self._mass[kind] += np.bincount(places, weights=weights, minlength=_BINS)
        self._squares += float((chances * (1 - chances)).sum())
        self._rows += len(chances)
        log_odds = (np.log(chances), np.log1p(-chances))
        self._losses -= [
            (chances * log_odds[0] + (1 - chances) * log_odds[1]).sum(),
            (positive * log_odds[0] + (1 - positive) * log_odds[1]).sum(),
        ]

    def result(self) -> dict[str, float | int | None]:
        """The scores; an AUC is ``None`` where all labels are equal.

        Returns:
            ``rows``; ``positives``, expected; ``auc`` and ``logloss``, expected;
            ``auc_of_drawn_labels`` and ``logloss_of_drawn_labels``.
        """
        rows = max(self._rows, 1)
        scores = {
            "positives": float(self._mass[0].sum()),
            "auc": _auc(self._mass[0], self._mass[1], self._squares),
            "logloss": float(self._losses[0]) / rows,
            "auc_of_drawn_labels": _auc(self._mass[2], self._mass[3], 0.0),
            "logloss_of_drawn_labels": float(self._losses[1]) / rows,
        }
        # Further digits differ from one version of numpy to the next.
        rounded = {
            name: None if score is None else round(score, DIGITS) for name, score in scores.items()
        }
        return {"rows": self._rows, **rounded}


def _auc(positive: NDArray[Any], negative: NDArray[Any], itself: float) -> float | None:
    """The AUC of binned masses; ``itself`` is the mass of the pairs of a row with itself."""
    pairs = float(positive.sum() * negative.sum()) - itself
    if pairs <= 0:
        return None
    below = np.cumsum(negative) - negative / 2
    return (float((positive * below).sum()) - itself / 2) / pairs


def bayes_optimal(
    folder: str | Path, rows: NDArray[np.integer] | None = None
) -> dict[str, float | int | None]:
    """Compute the best possible scores on some rows of a generated dataset.

    Args:
        folder: the dataset's folder.
        rows: positions in ``NAME.inter``, from 0; all by default.

    Returns:
        See :meth:`BayesScores.result`.

    Raises:
        UsageError: the folder holds no generated dataset.
    """
    truth = read_truth(folder)
    scores = BayesScores()
    for start in range(0, len(truth) if rows is None else len(rows), _CHUNK_ROWS):
        places = slice(start, start + _CHUNK_ROWS)
        chunk = truth[places] if rows is None else truth[rows[places]]
        scores.add(chunk["probability"], chunk["label"])
    return scores.result()


def bayes_of_split(
    folder: str | Path, ratios: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 2020
) -> dict[str, dict[str, float | int | None]]:
    """Compute the best possible scores on the parts of a random split.

    Args:
        folder: the dataset's folder.
        ratios: the config's ``split: {RS: ratios}``.
        seed: the config's ``seed``.

    Returns:
        The scores of ``train``, ``valid`` and ``test``.

    Raises:
        UsageError: the folder holds no generated dataset.
    """
    n_rows = len(read_truth(folder))
    parts = zip(PARTS, split_rows(n_rows, ratios, seed), strict=True)
    return {part: bayes_optimal(folder, rows) for part, rows in parts}


def split_rows(n_rows: int, ratios: Sequence[float], seed: int) -> Iterator[NDArray[np.integer]]:
    """Repeat RecBole's split ``RS`` in random order, without groups.

    RecBole seeds torch, permutes all rows, and cuts; each part but the first is rounded down.

    Args:
        n_rows: rows of the dataset.
        ratios: of the parts, the first being the training set.
        seed: the config's ``seed``.

    Yields:
        The positions of each part's rows, in RecBole's order.
    """
    import torch  # noqa: PLC0415 - it takes a second, and the names of sets need none of it

    generator = torch.Generator().manual_seed(seed)
    # The same permutation as of RecBole's 64-bit integers, in half the memory.
    order = torch.randperm(n_rows, generator=generator, dtype=torch.int32).numpy()
    shares = [ratio / sum(ratios) for ratio in ratios]
    sizes = [int(share * n_rows) for share in shares]
    sizes[0] = n_rows - sum(sizes[1:])
    for part in range(len(sizes) - 1, 0, -1):
        if sizes[0] <= 1:
            break
        if 0 < shares[part] * n_rows < 1:
            sizes[part] += 1
            sizes[0] -= 1
    ends = np.cumsum(sizes)
    for end, size in zip(ends, sizes, strict=True):
        yield order[end - size : end]


def read_truth(folder: str | Path) -> NDArray[Any]:
    """Open the true probabilities and labels of a generated dataset's rows.

    Args:
        folder: the dataset's folder.

    Returns:
        ``(rows,)`` of ``probability`` and ``label``, in the order of ``NAME.inter``; read from the
        disk as they are used.

    Raises:
        UsageError: the folder holds no generated dataset.
    """
    path = truth_file(Path(folder))
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file, expected the folder of a generated set.")
    truth = np.load(path, mmap_mode="r", allow_pickle=False)
    if truth.dtype != TRUTH:
        raise UsageError(f"{path}: holds {truth.dtype}, expected true probabilities and labels.")
    return truth


def truth_file(folder: Path) -> Path:
    """Where the true probabilities of a dataset's rows lie."""
    return folder / f"{folder.name}.truth.npy"


def read_bayes(folder: str | Path) -> dict[str, Any] | None:
    """Read ``bayes.json``; ``None`` where a finished generation did not leave one."""
    path = Path(folder) / BAYES_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: is not JSON text; remove it to generate anew.") from error
    return content if isinstance(content, dict) else None


def write_bayes(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``bayes.json``, whole or not at all."""
    write_text(folder / BAYES_FILE, json.dumps(content, indent=1) + "\n")
