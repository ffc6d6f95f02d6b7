"""Trained models as programs of ``torch.export``, which run without this package.

Models with parameters of each scenario lay a batch out by scenario, and how many rows each one has
decides the shapes of what follows. A program cannot be traced through that: it is traced with
:meth:`~recbole_midpg.models.base.ScenarioRecommender.use_fixed_shapes`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.integration.scoring.scoring import TOKEN_LIKE
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.prediction.scorer import Scorer

TOLERANCE = 1e-5
"""How far a program's score may be from the model's."""

Program = Callable[[Mapping[str, Tensor]], Tensor]
"""From encoded columns, as :meth:`Scorer.encode` makes them, to probabilities ``(B,)``."""

# Sizes of batch that are not those of any layer: the last one is traced, all are compared. With one
# row some models of RecBole drop an axis too many.
_COMPARED_ROWS = (1, 13, 7)
_LARGEST_BATCH = 1 << 31


def export_program(scorer: Scorer, path: str | os.PathLike[str]) -> None:
    """Write a scorer's model as a program: from encoded columns to probabilities.

    The program is called with the mapping that :meth:`Scorer.encode` makes, of any number of rows,
    and gives probabilities ``(B,)``. For a model with parameters of each scenario it copies a
    scenario's parameters for each of its tiles of rows, at most ``B`` times in a batch of ``B``
    rows (see :class:`~recbole_midpg.layers.scenario_grouping.ScenarioTiles`).

    Args:
        scorer: holds the model; the program runs on its device.
        path: the ``.pt2`` file to write, whole or not at all.

    Raises:
        UsageError: this torch cannot export the model, or gives other scores, or the file cannot be
            written.
    """
    # In memory first: where a disk is full, torch's writer ends the whole process.
    content = io.BytesIO()
    with refusing_what_cannot_be_exported(scorer):
        torch.export.save(traced_program(scorer), content)
        content.seek(0)
        program = torch.export.load(content).module()
    compare_program(scorer, program)
    with written_whole([Path(path)]) as (part,):
        part.write_bytes(content.getbuffer())


@contextmanager
def refusing_what_cannot_be_exported(scorer: Scorer) -> Iterator[None]:
    """Turn whatever torch raises while it exports a scorer's model into one sentence.

    Raises:
        UsageError: this torch cannot export it.
    """
    try:
        yield
    except (OSError, UsageError):
        raise
    except Exception as error:  # torch raises errors of many kinds that have no ancestor
        name, reason = type(scorer.scoring.model).__name__, " ".join(str(error).split())
        raise UsageError(
            f"export: torch {torch.__version__} cannot export {name} ({reason[:200]})."
        ) from error


class _ModelOfColumns(nn.Module):
    """A model as a function of a mapping of tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, columns: dict[str, Tensor]) -> Tensor:
        return self.model.predict(columns)


@torch.no_grad()
def traced_program(scorer: Scorer) -> Any:
    """Trace a scorer's model for any number of rows.

    Returns:
        A ``torch.export.ExportedProgram`` of one argument, the mapping of :meth:`Scorer.encode`.
    """
    columns = example_columns(scorer, _COMPARED_ROWS[-1])
    rows = torch.export.Dim("rows", max=_LARGEST_BATCH)
    shapes = {"columns": {name: {0: rows} for name in columns}}
    model = scorer.scoring.model
    with _fixed_shapes(model):
        program = _ModelOfColumns(model)
        return torch.export.export(program, (columns,), dynamic_shapes=shapes, strict=True)


@contextmanager
def _fixed_shapes(model: nn.Module) -> Iterator[None]:
    """Let a model compute with fixed shapes; RecBole's own models have no others."""
    if not isinstance(model, ScenarioRecommender):
        yield
        return
    before = model.fixed_shapes
    model.use_fixed_shapes(True)
    try:
        yield
    finally:
        model.use_fixed_shapes(before)


@torch.no_grad()
def compare_program(scorer: Scorer, program: Program) -> None:
    """Check that a program gives the model's scores.

    Raises:
        UsageError: it does not.
    """
    for rows in _COMPARED_ROWS:
        columns = example_columns(scorer, rows)
        with refusing_what_cannot_be_exported(scorer):
            given, expected = program(columns), scorer.scoring.model.predict(columns)
            difference = (given - expected.reshape(rows)).abs().max()
        if given.shape != (rows,) or not difference <= TOLERANCE:
            raise UsageError(
                f"export: torch {torch.__version__} exports {type(scorer.scoring.model).__name__} "
                f"with scores that differ by {difference:.1e} in a batch of {rows}, expected at "
                f"most {TOLERANCE:.0e}."
            )


def example_columns(scorer: Scorer, rows: int) -> dict[str, Tensor]:
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
