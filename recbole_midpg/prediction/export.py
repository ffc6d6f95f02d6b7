"""Trained models as programs of ``torch.export``, which run without this package.

Models with parameters of each scenario lay a batch out by scenario, and how many rows each one has
decides the shapes of what follows. A program cannot be traced through that: it is traced with
:meth:`~recbole_midpg.models.base.ScenarioRecommender.use_fixed_shapes`.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.integration.scoring.scoring import TOKEN_LIKE
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.prediction.scorer import Scorer

TOLERANCE = 1e-5
"""How far a program's score may be from the model's."""

# Two sizes of batch that are not those of any layer: one is traced, both are compared.
_TRACED_ROWS, _OTHER_ROWS = 7, 13
_LARGEST_BATCH = 1 << 31


def export_program(scorer: Scorer, path: str | os.PathLike[str]) -> None:
    """Write a scorer's model as a program: from encoded columns to probabilities.

    The program is called with the mapping that :meth:`Scorer.encode` makes, of any number of rows,
    and gives probabilities ``(B,)``. For a model with parameters of each scenario it copies a
    scenario's parameters for each of its tiles of rows, at most ``B`` times in a batch of ``B``
    rows (see :class:`~recbole_midpg.layers.scenario_grouping.ScenarioTiles`).

    Args:
        scorer: holds one of this package's models; the program runs on its device.
        path: the ``.pt2`` file to write, whole or not at all.

    Raises:
        UsageError: the model is not one of this package, or this torch cannot export it, or the
            file cannot be written.
    """
    model = scorer.scoring.model
    name = type(model).__name__
    if not isinstance(model, ScenarioRecommender):
        raise UsageError(f"export: {name} is a model of RecBole, expected one of this package.")
    # In memory first: where a disk is full, torch's writer ends the whole process.
    content = io.BytesIO()
    _compare(scorer, _written(scorer, content))
    with written_whole([Path(path)]) as (part,):
        part.write_bytes(content.getbuffer())


def _written(scorer: Scorer, file: BinaryIO) -> Any:
    """Trace a scorer's model, write the program and read it back.

    Raises:
        UsageError: this torch cannot do it.
    """
    try:
        torch.export.save(_traced(scorer), file)
        file.seek(0)
        return torch.export.load(file).module()
    except OSError:
        raise
    except Exception as error:  # torch raises errors of many kinds that have no ancestor
        name, reason = type(scorer.scoring.model).__name__, " ".join(str(error).split())
        raise UsageError(
            f"export: torch {torch.__version__} cannot export {name} ({reason[:200]})."
        ) from error


class _Program(nn.Module):
    """A model as a function of a mapping of tensors."""

    def __init__(self, model: ScenarioRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, columns: dict[str, Tensor]) -> Tensor:
        return self.model.predict(columns)


@torch.no_grad()
def _traced(scorer: Scorer) -> Any:
    columns = _example(scorer, _TRACED_ROWS)
    rows = torch.export.Dim("rows", max=_LARGEST_BATCH)
    shapes = {"columns": {name: {0: rows} for name in columns}}
    model = scorer.scoring.model
    before = model.fixed_shapes
    model.use_fixed_shapes(True)
    try:
        return torch.export.export(_Program(model), (columns,), dynamic_shapes=shapes, strict=True)
    finally:
        model.use_fixed_shapes(before)


@torch.no_grad()
def _compare(scorer: Scorer, program: Any) -> None:
    """Check that a program gives the model's scores.

    Raises:
        UsageError: it does not.
    """
    for rows in (_TRACED_ROWS, _OTHER_ROWS):
        columns = _example(scorer, rows)
        difference = (program(columns) - scorer.scoring.model.predict(columns)).abs().max()
        if not difference <= TOLERANCE:
            raise UsageError(
                f"export: torch {torch.__version__} exports {type(scorer.scoring.model).__name__} "
                f"with scores that differ by {difference:.1e}, expected at most {TOLERANCE:.0e}."
            )


def _example(scorer: Scorer, rows: int) -> dict[str, Tensor]:
    """Encoded rows of random tokens and numbers, on the model's device."""
    generator = torch.Generator().manual_seed(rows)
    columns = {}
    for name, scored in scorer.scoring.fields.scored.items():
        shape = scored.encoder.encode([None] * rows).shape
        if scored.type in TOKEN_LIKE:
            column = torch.randint(scored.size, shape, generator=generator)
        else:
            indices = torch.randint(scored.size, shape[:-1], generator=generator)
            column = torch.stack([torch.rand(shape[:-1], generator=generator), indices], dim=-1)
        columns[name] = column.to(scorer.scoring.config["device"])
    return columns
