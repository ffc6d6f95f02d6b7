"""The rows on which a finished run was tested, scored once more by its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.utils import FeatureType, ModelType

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.evaluation.binary_metrics import auc
from recbole_midpg.integration.dataset.compact_interaction import kept_columns
from recbole_midpg.integration.dataset.datasets import atomic_files_exist
from recbole_midpg.integration.dataset.split_columns import column_of
from recbole_midpg.integration.run.checkpoint import load_checkpoint, restore
from recbole_midpg.training.device_faults import Occupants, reporting_faults

# Another device rounds otherwise, and reports are rounded to four digits; other rows differ more.
_AUC_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TokenColumn:
    """A token field's values.

    Attributes:
        ids: of each row, ``(B,)``.
        tokens: the token of each id; id 0 is a missing one.
    """

    ids: NDArray[np.int64]
    tokens: NDArray[np.str_]

    def first_difference(self, other: TokenColumn) -> int | None:
        """The first row that has another token than in a column of as many rows."""
        ids = other.ids
        if not np.array_equal(self.tokens, other.tokens):
            ids = pd.Index(self.tokens).get_indexer(pd.Index(other.tokens))[ids]
        different = np.flatnonzero(ids != self.ids)
        return int(different[0]) if len(different) else None


@dataclass(frozen=True)
class ScoredRows:
    """The rows of a run's test split, scored.

    Attributes:
        labels: ``(B,)``, 0 or 1.
        scores: the probability of label 1 that the run's best epoch gives, ``(B,)``.
        tokens: the token fields, those of users and items too.
        of_rows: which of these stand in the rows themselves, as the ids of user and item.
        scenario_field: the field that names a row's scenario, if there is one.
    """

    labels: NDArray[np.float32]
    scores: NDArray[np.float32]
    tokens: Mapping[str, TokenColumn]
    of_rows: tuple[str, ...]
    scenario_field: str | None

    def column(self, field: str) -> TokenColumn:
        """A token field's values.

        Raises:
            UsageError: there is no such field.
        """
        if field not in self.tokens:
            raise UsageError(
                f"{field!r} is not a token field of the test rows"
                f"{expected_some_of(self.tokens, field)}"
            )
        return self.tokens[field]


def read_scored_rows(report_path: Path, report: Mapping[str, Any]) -> ScoredRows:
    """Load the test split of a finished run, and score it with the checkpoint beside its report.

    Args:
        report_path: the run's report.
        report: its content.

    Raises:
        UsageError: the checkpoint or its dataset is missing or another one, or the run was not a
            context-aware model's on labelled rows.
    """
    path = report_path.with_suffix(".pth")
    place = f"checkpoint {str(path)!r}"
    if not path.is_file():
        raise UsageError(
            f"{place}: there is no such file, expected the one that the run left beside "
            f"{report_path}; its scores of single rows are needed."
        )
    checkpoint = load_checkpoint(path)
    config = checkpoint["config"]
    mode = config["eval_args"]["mode"]
    test_mode = mode["test"] if isinstance(mode, dict) else mode
    if config["MODEL_TYPE"] is not ModelType.CONTEXT or test_mode != "labeled":
        raise UsageError(
            f"{place}: it holds a {config['model']}, tested in mode {test_mode!r}, expected a "
            "context-aware model tested on labelled rows."
        )
    if not atomic_files_exist(config):
        raise UsageError(
            f"{place}: the dataset {config['dataset']} is not in {config['data_path']}, expected "
            "the files that the model was trained on."
        )
    config, model, _, _, _, loader = restore(checkpoint, str(path))
    rows = _rows_of(config, loader.dataset, _scores_of(config, model, loader))
    _check_results(rows, report, place)
    return rows


@torch.no_grad()
def _scores_of(config: Any, model: Any, loader: Any) -> NDArray[np.float32]:
    """What the model predicts for a split's rows, in the batches of their evaluation, ``(B,)``."""
    model.eval()
    with reporting_faults(Occupants(config, model, stage="prediction")):
        parts = [
            model.predict(batch.to(config["device"])).reshape(-1).float().cpu()
            for batch, *_ in loader
        ]
    return torch.cat(parts).numpy()


def _rows_of(config: Any, split: Any, scores: NDArray[np.float32]) -> ScoredRows:
    tokens = {}
    for field, kind in split.field2type.items():
        column = column_of(split, field) if kind is FeatureType.TOKEN else None
        if column is not None:
            names = np.asarray(split.field2id_token[field]).astype(np.str_)
            tokens[str(field)] = TokenColumn(column.numpy().astype(np.int64), names)
    labels = column_of(split, config["LABEL_FIELD"])
    assert labels is not None  # checked when the data was prepared
    of_rows = tuple(field for field in tokens if field in kept_columns(split.inter_feat))
    return ScoredRows(labels.float().numpy(), scores, tokens, of_rows, config["scenario_id_field"])


def _check_results(rows: ScoredRows, report: Mapping[str, Any], place: str) -> None:
    """Check that the rows are those that the run reports on.

    Raises:
        UsageError: their number is another, or the AUC is.
    """
    reported = report["test"].get("auc")
    counted = sum(scenario["rows"] for scenario in report["scenarios"])
    here = auc(rows.labels, rows.scores)
    if counted and counted != len(rows.labels):
        problem = f"{len(rows.labels):,} test rows, and the report {counted:,}"
    elif reported is not None and not abs(here - reported) <= _AUC_TOLERANCE:
        problem = f"a test AUC of {here:.4f}, and the report {reported:.4f}"
    else:
        return
    raise UsageError(
        f"{place}: it gives {problem}, expected the files of the dataset that the model was "
        "trained on, unchanged since."
    )
