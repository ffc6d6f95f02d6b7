r"""How embedding tables start: ``embedding_init``, for our models and for RecBole's.

RecBole draws one table for the tokens of all fields, with the deviation
:math:`\sqrt{2 / (\sum_f n_f + D)}` of Glorot and Bengio (AISTATS 2010) for its whole height: beside
a million users, a scenario's embedding starts at 0.001. ``field`` draws each field's rows as if
they were a table of their own, with :math:`\sqrt{2 / (n_f + D)}`; ``normal`` draws all with
``embedding_std``.

Tables are those that RecBole's ``ContextRecommender`` has for fields; what a model has beside them
starts as the model draws it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recbole.model.abstract_recommender import ContextRecommender
from torch import Tensor, nn

from recbole_midpg.common.rules import Choice, Number, Rules

EMBEDDING_INIT_RULES: Rules = {
    "embedding_init": Choice(("recbole", "field", "normal")),
    "embedding_std": Number(minimum_excluded=True),
}


def draw_embeddings(config: Any, model: nn.Module) -> None:
    """Draw a new model's embedding tables as the config says; ``recbole`` leaves them.

    Args:
        config: RecBole's ``Config``; keys ``embedding_init`` and ``embedding_std``.
        model: the model; one that is not context-aware is left as it is.
    """
    init = config["embedding_init"]  # none in the checkpoints of versions without the key
    if init in (None, "recbole") or not isinstance(model, ContextRecommender):
        return
    for rows in _rows_by_field(model):
        if init == "field":
            nn.init.xavier_normal_(rows)
        else:
            nn.init.normal_(rows, std=config["embedding_std"])


def _rows_by_field(model: Any) -> Iterator[Tensor]:
    """The rows of each field, ``(n_f, D)``, views of the tables."""
    for name in ("token", "float"):
        if hasattr(model, f"{name}_embedding_table"):
            table = getattr(model, f"{name}_embedding_table").embedding.weight.detach()
            yield from table.split(list(getattr(model, f"{name}_field_dims")))
        for table in getattr(model, f"{name}_seq_embedding_table", ()):
            yield table.weight.detach()
