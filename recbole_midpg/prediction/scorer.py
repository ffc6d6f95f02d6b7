"""Scores of new rows, given as columns of the original tokens and numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.common.choices import TASKS
from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.event_logs.schema import LogSchema
from recbole_midpg.integration.scoring.scoring import (
    ScoringModel,
    read_scoring_model,
    write_scoring_model,
)
from recbole_midpg.loading.items_by_user import SeenItems
from recbole_midpg.models.entire_space import EntireSpaceModel
from recbole_midpg.prediction.encoding import (
    count_columns,
    encode_columns,
    join_features,
    read_rare_tokens,
    unknown_warnings,
)
from recbole_midpg.prediction.ranking import ItemRanking, as_columns, pairs_to_exclude
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.training.device_faults import Occupants, reporting_faults


def _choose_task(scoring: ScoringModel, task: str, path: str | os.PathLike[str]) -> None:
    """Let a model of clicks and purchases give the probability of one task.

    Raises:
        UsageError: there is no such task, or the model has none.
    """
    if task not in TASKS:
        raise UsageError(f"task: {task!r} is not allowed, expected one of {', '.join(TASKS)}.")
    if not isinstance(scoring.model, EntireSpaceModel):
        raise UsageError(
            f"task: checkpoint {os.fspath(path)!r} holds a {scoring.config['model']}, expected an "
            f"ESMM model, which gives {task} beside others."
        )
    scoring.model.task = task


class Scorer:
    """A trained model that scores rows of tokens and numbers as they stand in a file.

    A row's features are taken from its own columns; those of its user or item that it does not
    bring are the ones that training had for that user or item. What training has not seen is
    treated as follows:

    * a token without an id is ``[UNK]``, which the rare tokens of its field have trained, where
      ``min_count`` has given the field one. Else it is treated as RecBole treats one that is
      missing.
    * an empty token and a missing one are token 0, ``[PAD]``. Its embedding has learned only from
      training rows in which the field was missing; where there were none, it is as it was drawn at
      the start. An unknown token of a sequence counts as absent where there is no ``[UNK]``.
    * an unknown user or item has unknown features: its tokens are ``[UNK]``, its numbers the mean.
      Where its own field has no ``[UNK]``, it has the features of token 0, which are missing.
    * an unknown scenario is ``[UNK]``, else scenario 0, both of which each model knows how to
      score: the models with parameters of each scenario have a slot for it, the others generate
      theirs from its embedding.
    * a missing number is the mean; one beyond the training numbers keeps its place on the scale,
      and the nearest bucket where the field is discretized.

    A column of which much is unknown may be written otherwise than in training: :meth:`counts` says
    how much is, and :meth:`scores` logs a warning, once a column.

    The scores are those of ``model.predict`` for the same rows in the same batches.

    Example:
        >>> scorer = Scorer.read("saved/MIDPG-Jan-01-2025_00-00-00.pth")  # doctest: +SKIP
        >>> scorer.scores({"user_id": ["196"], "item_id": ["242"]})  # doctest: +SKIP

    Args:
        scoring: the model and what it takes to make its input.
    """

    def __init__(self, scoring: ScoringModel) -> None:
        self.scoring = scoring
        self.batch_size: int = scoring.config["eval_batch_size"]
        self._warned: set[str] = set()

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], keep_seen: bool = False, task: str | None = None
    ) -> Scorer:
        """Read a checkpoint, whose dataset has to be where it was, or a file of :meth:`save`.

        Args:
            path: the file.
            keep_seen: whether to keep :attr:`seen`, for which there has to be a dataset.
            task: the probability that is the score, of a model of clicks and purchases; ``None``
                for that of the label, CTCVR.

        Raises:
            UsageError: the file cannot be read safely, the model is not context-aware or has no
                such task, or the checkpoint's dataset is missing or another one.
        """
        scoring = read_scoring_model(path, keep_seen)
        if task is not None:
            _choose_task(scoring, task, path)
        return cls(scoring)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that scores without the dataset: weights, tokens, scales and features.

        It holds plain values and tensors only, and is written whole or not at all.

        Raises:
            UsageError: it cannot be written.
        """
        write_scoring_model(self.scoring, path)

    @property
    def fields(self) -> dict[str, str]:
        """The fields that the model reads, and the type of each as in an atomic file's header."""
        return {name: kind.value for name, kind in self.scoring.fields.field2type.items()}

    @property
    def log_schema(self) -> LogSchema | None:
        """What the columns mean of the log that the dataset was made of; ``None`` of others."""
        plain = self.scoring.config["log_schema"]
        return None if plain is None else LogSchema.from_plain(plain)

    @property
    def required_fields(self) -> list[str]:
        """Those of :attr:`fields` that rows must bring: the others are features that are joined."""
        joined = {name for entity in self.scoring.entities for name in entity.columns}
        return [name for name in self.scoring.fields.scored if name not in joined]

    @property
    def seen(self) -> SeenItems:
        """The items of each user's rows in the dataset, of all its splits and whatever the label.

        Raises:
            UsageError: they were not kept by :meth:`read`.
        """
        if self.scoring.seen is None:
            raise UsageError("seen: it was not kept, expected Scorer.read(path, keep_seen=True).")
        return self.scoring.seen

    def check(self, names: list[str]) -> None:
        """Check that rows with these columns can be scored.

        Raises:
            UsageError: a field is not among them and is no feature of the user or the item.
        """
        for name in self.required_fields:
            if name not in names:
                found = did_you_mean(name, names).replace("did you mean", "is it")
                raise UsageError(
                    f"column {name!r} is missing, which the model reads for each row; "
                    f"found {', '.join(names) or 'no column'}{found or '.'}"
                )

    def encode(self, columns: Mapping[str, Any]) -> dict[str, Tensor]:
        """Make the model's input.

        Args:
            columns: arrays, Series or sequences of ``B`` rows each by field, or a frame; columns
                that the model does not read are passed over. A sequence is a text as in an atomic
                file or a list.

        Returns:
            The fields that the model reads, on the CPU: token ids ``(B,)``, sequences of them
            ``(B, length)``, numbers ``(B, 2)`` and sequences of them ``(B, length, 2)``.

        Raises:
            UsageError: a field is missing, columns differ in length, or a value cannot stand in its
                column.
        """
        self.check([str(name) for name in columns])
        encoded = encode_columns(self.scoring, columns)
        return read_rare_tokens(self.scoring, encoded | join_features(self.scoring, encoded))

    def counts(
        self, columns: Mapping[str, Any], encoded: Mapping[str, Tensor]
    ) -> dict[str, ValueCounts]:
        """Count which values of rows training has seen.

        Args:
            columns: see :meth:`encode`.
            encoded: what :meth:`encode` makes of them.

        Returns:
            The counts of each column that the model reads and the rows bring, in the model's order.
            Counts of several calls add up with ``+``.
        """
        return count_columns(self.scoring, columns, encoded)

    def warnings(self, counts: Mapping[str, ValueCounts]) -> dict[str, str]:
        """Say of which columns so much is unknown that they may be written wrongly.

        Args:
            counts: see :meth:`counts`.

        Returns:
            By column a sentence with the share, an example and its likely cause, where there is one
            to say.
        """
        return unknown_warnings(self.scoring, counts)

    def scores(self, columns: Mapping[str, Any]) -> NDArray[np.float32]:
        """Score rows, in batches of ``eval_batch_size``.

        Args:
            columns: see :meth:`encode`.

        Returns:
            The probability of each row's label being 1, ``(B,)``, in the order of the rows.

        Raises:
            UsageError: see :meth:`encode`; or the GPU fails.
        """
        encoded = self.encode(columns)
        self._warn(self.counts(columns, encoded))
        return self.probabilities(encoded)

    def scores_of_log(self, columns: Mapping[str, Any]) -> NDArray[np.float32]:
        """Score rows as they stand in the log that the dataset was made of.

        Example:
            >>> scorer.scores_of_log(pd.read_csv("next_day.csv", dtype=str))  # doctest: +SKIP

        Args:
            columns: the log's columns, by its names and with its spelling of times and numbers:
                arrays, Series or sequences of ``B`` rows each, or a frame. Outcomes, as the label,
                are not looked at.

        Returns:
            See :meth:`scores`.

        Raises:
            UsageError: see :meth:`fields_of_log` and :meth:`scores`.
        """
        return self.scores(self.fields_of_log(columns))

    def fields_of_log(self, columns: Mapping[str, Any]) -> dict[str, NDArray[np.object_]]:
        """Make the fields that the model reads of columns of the log.

        Args:
            columns: see :meth:`scores_of_log`.

        Returns:
            Texts by field, ``(B,)`` each, as :meth:`scores` and :meth:`encode` take them.

        Raises:
            UsageError: the dataset was not made of a log, a column is missing, or a value is not
                allowed.
        """
        schema = self.log_schema
        if schema is None:
            raise UsageError(
                "log_schema: the model's dataset was not made of a log by recbole-midpg prepare, "
                "expected its fields (Scorer.scores)."
            )
        schema.require_columns("columns", [str(name) for name in columns], self.fields)
        return schema.fields_of(columns, self.fields)

    def _warn(self, counts: Mapping[str, ValueCounts]) -> None:
        """Log what is likely to be written wrongly, once a column."""
        for name, sentence in self.warnings(counts).items():
            if name not in self._warned:
                self._warned.add(name)
                getLogger().warning(sentence)

    def top_k(
        self,
        users: Any,
        k: int,
        context: Mapping[str, Any] | None = None,
        items: Any = None,
        exclude: SeenItems | Any = None,
    ) -> pd.DataFrame:
        """Find the best items for users, in a situation that is given.

        Every item is scored for every user, with the features that training had for them, in as
        many pairs at a time as memory has room for. Whatever else the model reads of a row, as the
        scenario, comes from ``context`` or from columns of the users or the items. What training
        has not seen is treated as in :meth:`scores`.

        Example:
            >>> scorer.top_k(["u1", "u2"], 10, context={"channel": "app"})  # doctest: +SKIP
            >>> scorer.top_k(frame, 10, exclude=scorer.seen)  # doctest: +SKIP

        Args:
            users: their tokens; or columns, of which one has the tokens, in a mapping or a frame: a
                row is a request, and a user may have several, as one a scenario.
            k: how many items each request gets; fewer where there are fewer.
            context: by field a value for all requests.
            items: the tokens of the candidates, or columns of which one has the tokens; by default
                all items that training has an id for, those without a row included.
            exclude: items that a user does not get: :attr:`seen`, or pairs of users and items in
                the columns of their ids.

        Returns:
            A row for each item of each request, in the order of the requests and ranks: the user,
            the context and what else of the request the model reads, ``rank`` from 1, the item, and
            ``score``, the probability of the label being 1. Items of one score are in their order
            in ``items``, by default that of their ids.

        Raises:
            UsageError: a field that the model reads is not given, or is given twice or in the wrong
                place, a value is not allowed, or the GPU fails.
        """
        if exclude is not None and not isinstance(exclude, SeenItems):
            exclude = pairs_to_exclude(self.scoring, exclude)
        ranking = ItemRanking(self.scoring, k, context, items, exclude)
        requests = as_columns("users", ranking.user_field, users)
        encoded = ranking.encode(requests)
        self._warn(ranking.counts | self.counts(requests, encoded))
        return pd.DataFrame(ranking.table(requests, encoded))

    @torch.no_grad()
    def probabilities(self, encoded: dict[str, Tensor]) -> NDArray[np.float32]:
        """Score rows that are encoded already, in batches of ``eval_batch_size``.

        Args:
            encoded: what :meth:`encode` makes of ``B`` rows.

        Returns:
            The probability of each row's label being 1, ``(B,)``, in the order of the rows.

        Raises:
            UsageError: the GPU fails.
        """
        model, config = self.scoring.model, self.scoring.config
        with reporting_faults(Occupants(config, model, stage="prediction")):
            parts = [
                model.predict(batch.to(config["device"])).view(-1).cpu().numpy()
                for batch in self._batches(encoded)
            ]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def _batches(self, encoded: dict[str, Tensor]) -> Iterator[Interaction]:
        slices = zip(*(column.split(self.batch_size) for column in encoded.values()), strict=True)
        for columns in slices:
            batch = Interaction(dict(zip(encoded, columns, strict=True)))
            if len(batch):
                yield batch
