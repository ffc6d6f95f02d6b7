"""The weighting matrices that a trained DPG or MIDPG gives to rows of its dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_midpg.analysis.diversity import Floats, Integers
from recbole_midpg.common.choices import SPLITS
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.evaluation.grouped_metrics import rows_by_group
from recbole_midpg.generated import read_bayes
from recbole_midpg.integration.dataset.split_columns import column_of
from recbole_midpg.integration.dataset.trust import data_preparation
from recbole_midpg.integration.run.checkpoint import load_data_and_model
from recbole_midpg.models.base import flatten_matrices
from recbole_midpg.models.dpg import DPG

_BATCH_ROWS = 1024


@dataclass(frozen=True)
class MatrixSample:
    """Weighting matrices of some rows of each scenario.

    Attributes:
        model: the model's name.
        dataset: the dataset's name.
        split: where the rows are from, one of :data:`SPLITS`.
        names: the scenarios' names, ``S`` of them.
        scenarios: the place of each row's scenario among ``names``, ``(R,)``.
        values: the matrices before tiling, flattened over the layers, ``(R, F)``.
        planted: the similarity that the dataset was generated with, ``(S, S)``; ``None`` where it
            is real data, or the scenarios are not those of the generator.
    """

    model: str
    dataset: str
    split: str
    names: list[str]
    scenarios: Integers
    values: Floats
    planted: Floats | None

    def rows_of_scenarios(self) -> list[int]:
        """How many rows each scenario has in the sample."""
        return np.bincount(self.scenarios, minlength=len(self.names)).tolist()


def collect_matrices(
    checkpoint: str | os.PathLike[str],
    *,
    split: str = "test",
    rows_per_scenario: int = 200,
    seed: int = 2020,
    chosen: Sequence[str] = (),
) -> MatrixSample:
    """Compute the weighting matrices of a random sample of rows.

    The sample depends on the dataset, the split and the seed only: checkpoints of two models that
    were trained on the same split are asked for the same rows.

    Args:
        checkpoint: a file written by the training of DPG or MIDPG.
        split: where rows are taken from, one of :data:`SPLITS`.
        rows_per_scenario: the most rows of a scenario; those that have fewer give all.
        seed: of the sample.
        chosen: names of the scenarios that are wanted, in this order; by default all of the split.

    Returns:
        The matrices.

    Raises:
        UsageError: the checkpoint cannot be read or its model has no weighting matrices, a value is
            not allowed, or a scenario has no row in the split.
    """
    if split not in SPLITS:
        raise UsageError(f"split: {split!r} is not allowed, expected one of {', '.join(SPLITS)}.")
    if rows_per_scenario < 1:
        raise UsageError(
            f"rows_per_scenario: {rows_per_scenario} is not allowed, expected at least 1."
        )
    config, model, _, *loaders = load_data_and_model(os.fspath(checkpoint))
    if not isinstance(model, DPG):
        raise UsageError(
            f"checkpoint {os.fspath(checkpoint)!r}: it holds a {type(model).__name__}, which has "
            "no weighting matrices, expected a DPG or MIDPG."
        )
    loader = loaders[SPLITS.index(split)]
    field = model.scenario_id_field
    rows_by_name = _rows_by_scenario(loader, field, split, chosen)
    names = list(rows_by_name)
    generator = np.random.default_rng(seed)
    rows = [_sample(own, rows_per_scenario, generator) for own in rows_by_name.values()]
    return MatrixSample(
        model=config["model"],
        dataset=config["dataset"],
        split=split,
        names=names,
        scenarios=np.repeat(np.arange(len(rows)), [len(some) for some in rows]),
        values=_matrices_of_rows(model, loader, np.concatenate(rows), config["device"]),
        planted=_planted_similarity(config["data_path"], field, names),
    )


def scenarios_to_show(config: Any, split: str, chosen: Sequence[str] = ()) -> list[str]:
    """The names of the scenarios whose matrices :func:`collect_matrices` would compute.

    Args:
        config: RecBole's ``Config`` of a DPG or MIDPG, which need not be trained.
        split: where rows are taken from, one of :data:`SPLITS`.
        chosen: names of the scenarios that are wanted; by default all of the split.

    Raises:
        UsageError: a scenario has no row in the split, or there is no such split.
    """
    init_seed(config["seed"], config["reproducibility"])  # the seed draws the split
    loaders = data_preparation(config, create_dataset(config))
    loader = loaders[SPLITS.index(split)]
    return list(_rows_by_scenario(loader, config["scenario_id_field"], split, chosen))


def _rows_by_scenario(
    loader: Any, field: str | None, split: str, chosen: Sequence[str]
) -> dict[str, Integers]:
    """The rows of the scenarios that are wanted, in their order; see :func:`collect_matrices`."""
    if loader is None or not len(loader.dataset):
        raise UsageError(f"--split: there is no {split} split, expected another one.")
    assert field is not None  # DPG is not built without scenarios
    column = column_of(loader.dataset, field)
    assert column is not None  # nor without a column of theirs
    tokens, rows_of_tokens = rows_by_group(column.numpy())
    names = [str(name) for name in loader.dataset.id2token(field, tokens)]
    rows_by_name = dict(zip(names, rows_of_tokens, strict=True))
    for name in chosen:
        if name not in rows_by_name:
            raise UsageError(
                f"scenarios: no row of the {split} split has {field} = {name!r}"
                f"{expected_some_of(names, name)}"
            )
    return {name: rows_by_name[name] for name in chosen or names}


def _sample(rows: Integers, size: int, generator: np.random.Generator) -> Integers:
    if len(rows) <= size:
        return rows
    return np.sort(generator.choice(rows, size, replace=False))


def _matrices_of_rows(model: DPG, loader: Any, rows: Integers, device: Any) -> Floats:
    """The matrices of rows of a loader's dataset, ``(R, F)``."""
    model.eval()
    batches = []
    with torch.no_grad():
        for numbers in torch.from_numpy(rows).split(_BATCH_ROWS):
            batch = loader.transform(loader.dataset, loader.dataset[numbers]).to(device)
            batches.append(flatten_matrices(model.weighting_matrices(batch)).double().cpu())
    return torch.cat(batches).numpy()


def _planted_similarity(folder: str, field: Any, names: Sequence[str]) -> Floats | None:
    """See :attr:`MatrixSample.planted`.

    Raises:
        UsageError: the generator knows no scenario of a name.
    """
    bayes = read_bayes(folder)
    if bayes is None or bayes.get("scenario_field") != field:
        return None
    unknown = sorted(set(names) - set(bayes["scenarios"]))
    if unknown:
        raise UsageError(
            f"{folder}: its bayes.json knows no scenario {unknown[0]!r}, "
            f"expected some of {', '.join(bayes['scenarios'])}."
        )
    places = [bayes["scenarios"].index(name) for name in names]
    return np.array(bayes["similarity"])[np.ix_(places, places)]
