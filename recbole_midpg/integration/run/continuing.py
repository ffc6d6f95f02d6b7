"""Learning on: a trained model gets new tokens and is trained once on new rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from logging import getLogger
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_model, init_seed
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.compact_interaction import narrow
from recbole_midpg.integration.models.embedding_init import draw_embeddings
from recbole_midpg.integration.run.process_group import without_board
from recbole_midpg.integration.scoring.growth import (
    Axes,
    grown_optimizer,
    grown_weights,
    measure_axes,
)
from recbole_midpg.integration.scoring.scoring import (
    TOKEN_LIKE,
    EntityFeatures,
    FieldTable,
    ScoringModel,
)
from recbole_midpg.loading.column_encoding import Encoder, TokenEncoder, TokenSequenceEncoder
from recbole_midpg.training.device_faults import Occupants, reporting_faults
from recbole_midpg.training.device_rows import Features, RowTables, widen
from recbole_midpg.training.kernels import use_kernels
from recbole_midpg.training.trainer import ScenarioTrainer

# Another size of a table may let a product be summed in another order, and no more than that.
_TOLERANCE = 1e-5
_COMPARED_ROWS = 1024


@dataclass(frozen=True)
class EncodedRows:
    """New rows as a model with more tokens reads them.

    Attributes:
        fields: what the model reads, the new tokens included.
        columns: the rows in their order, ``(N, ...)`` each, narrow: the fields that they bring,
            sequences as the model reads them; features of users and items that they do not bring
            are joined.
        labels: what the model learns by name, the label and for some models others, ``(N,)`` each,
            0 or 1.
    """

    fields: FieldTable
    columns: dict[str, Tensor]
    labels: dict[str, Tensor]


class RowsInOrder:
    """A loader of rows in their order, each once.

    Args:
        tables: the rows, and the features that are joined to them.
        batch_size: rows of a batch; the last has what is left.
    """

    def __init__(self, tables: RowTables, batch_size: int) -> None:
        self._tables, self._batch_size = tables, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._tables) / self._batch_size)

    def __iter__(self) -> Iterator[Interaction]:
        for rows in torch.arange(len(self._tables)).split(self._batch_size):
            taken = self._tables.take(rows)
            yield Interaction({name: widen(column) for name, column in taken.items()})


def learn_rows(
    before: ScoringModel,
    optimizer: Mapping[str, Any],
    rows: EncodedRows,
    number: int,
    show_progress: bool,
) -> tuple[ScoringModel, dict[str, Any]]:
    """Give a model its rows' new tokens, and train it once on the rows.

    Batch size, learning rate and all else are the config's. Known tokens keep their weights and
    moments; see :mod:`recbole_midpg.integration.scoring.growth` for new ones.

    Args:
        before: the model so far; it stays as it is.
        optimizer: its optimizer's state, in torch's format.
        rows: at least one.
        number: how many times it has learned on, this time included; with the config's seed it is
            that of new tokens' weights and of dropout.
        show_progress: whether a bar on a terminal shows the steps.

    Returns:
        The model after the rows, and its optimizer's state.

    Raises:
        UsageError: the model cannot grow, the loss is not finite, or the GPU fails.
    """
    config = before.config
    axes = measure_axes(get_model(config["model"]), config, before.fields)
    init_seed(config["seed"] + number, config["reproducibility"])
    entities = grown_entities(before.entities, rows)
    tables = _row_tables(rows, entities)
    fields = (before.fields, rows.fields)
    occupants = Occupants(config)
    with reporting_faults(occupants):
        model = occupants.model = _grown_model(before, rows.fields, axes)
        use_kernels(config, model)
        _require_same_predictions(before, model, rows.fields, axes, tables)
        with without_board():
            trainer = ScenarioTrainer(config, model)
        occupants.optimizer = trainer.optimizer
        shapes = [(name, tuple(p.shape)) for name, p in before.model.named_parameters()]
        trainer.optimizer.load_state_dict(grown_optimizer(optimizer, shapes, axes, fields))
        for group in trainer.optimizer.param_groups:
            group["lr"] = config["learning_rate"]
        loader = RowsInOrder(tables, config["train_batch_size"])
        # Not fit, and so without embedding_prior, which would draw to 0: what the rows before have
        # made of the weights is in its place.
        trainer._train_epoch(loader, number - 1, show_progress=show_progress)
        learned = trainer.optimizer.state_dict()
    trained = model.eval().requires_grad_(False)
    return ScoringModel(config, trained, rows.fields, entities), learned


def _grown_model(before: ScoringModel, fields: FieldTable, axes: Axes) -> Any:
    """A model with the tokens of ``fields``, on the config's device."""
    config = before.config
    model = get_model(config["model"])(config, fields)
    draw_embeddings(config, model)
    old, drawn = before.model.state_dict(), model.state_dict()
    both = (before.fields, fields)
    model.load_state_dict(grown_weights(old, drawn, axes, both, _scenario_fields(config)))
    return model.to(config["device"])


def _scenario_fields(config: Any) -> set[str]:
    return {*(config["scenario_fields"] or ()), config["scenario_id_field"]} - {None}


def grown_entities(entities: Sequence[EntityFeatures], rows: EncodedRows) -> list[EntityFeatures]:
    """Features of users and items, those of new ones from their last row.

    A feature that the rows do not bring is for a new one that of an unknown one; known ones keep
    theirs.

    Args:
        entities: the features so far.
        rows: whose ids count on from those.
    """
    grown = []
    for entity in entities:
        size = rows.fields.num(entity.id_field)
        ids = widen(rows.columns[entity.id_field])
        id_encoder: Any = rows.fields.scored[entity.id_field].encoder
        unknown = id_encoder.unknown
        columns = {}
        for name, known in entity.columns.items():
            of_unknown = known[unknown : unknown + 1].expand(size - len(known), *known.shape[1:])
            column = widen(torch.cat([known, of_unknown]))
            if name in rows.columns:
                new = (ids >= len(known)).nonzero().squeeze(1)
                # Written one after the other: of equal ids the last row's stays.
                column.numpy()[ids[new].numpy()] = widen(rows.columns[name][new]).numpy()
            columns[name] = narrow(column)
        grown.append(replace(entity, columns=columns))
    return grown


def _row_tables(rows: EncodedRows, entities: Sequence[EntityFeatures]) -> RowTables:
    joined = [
        Features(
            entity.id_field,
            {name: column for name, column in entity.columns.items() if name not in rows.columns},
        )
        for entity in entities
    ]
    read_as = [
        Features(name, {name: torch.from_numpy(scored.encoder.rare.read_as)})
        for name, scored in rows.fields.scored.items()
        if type(scored.encoder) is TokenEncoder and scored.encoder.rare is not None
    ]
    features = [*(part for part in joined if part.columns), *read_as]
    return RowTables({**rows.columns, **rows.labels}, features)


def read_sequences(column: Tensor, encoder: Encoder) -> Tensor:
    """A column of sequences of tokens as the model reads it; any other as it is.

    Single tokens stay what they are, as by a rare user's own id the features are found.
    """
    if not isinstance(encoder, TokenSequenceEncoder) or encoder.rare is None:
        return column
    return narrow(torch.from_numpy(encoder.read(widen(column).numpy())))


def _require_same_predictions(
    before: ScoringModel, model: Any, fields: FieldTable, axes: Axes, tables: RowTables
) -> None:
    """Check on the first rows that a model which has grown predicts what it did before.

    A model that mixes what it computes for all scenarios, as PLE does below its last level, mixes
    in what it computes for a new one: how much that changes is logged.

    Raises:
        UsageError: the predictions change for another reason: the model's parameters depend on the
            tokens in a way that is not known.
    """
    taken = tables.take(torch.arange(min(len(tables), _COMPARED_ROWS)))
    known = {}
    for name, scored in before.fields.scored.items():
        column = widen(taken[name])
        is_new = column >= scored.size if scored.type in TOKEN_LIKE else torch.zeros(())
        known[name] = torch.where(is_new.bool(), torch.zeros_like(column), column)
    batch = Interaction(known).to(before.config["device"])
    change = _change(before, model, batch)
    if change <= _TOLERANCE:
        return
    scenarios = _scenario_fields(before.config) & fields.scored.keys()
    known_scenarios = {name: before.fields.scored[name] for name in scenarios}
    others = replace(fields, scored={**fields.scored, **known_scenarios})
    name = before.config["model"]
    if _change(before, _grown_model(before, others, axes), batch) <= _TOLERANCE:
        getLogger().warning(
            f"{name} mixes what all scenarios compute: with a new one, predictions for known "
            f"tokens change by up to {change:.1e} before it learns."
        )
        return
    raise UsageError(
        f"model: {name} cannot get new tokens: what it predicts for known ones changes by "
        f"{change:.1e}, expected at most {_TOLERANCE:.0e}."
    )


@torch.no_grad()
def _change(before: ScoringModel, model: Any, batch: Interaction) -> float:
    """How far a model's predictions are from what they were, at most."""
    return float((model.eval().predict(batch) - before.model.predict(batch)).abs().max())
