r"""The squared length of the embeddings that a batch looks up, for a penalty on it.

.. math:: \frac{1}{B} \sum_{i=1}^{B} \sum_{v \in V_i} w_v \lVert e_v \rVert^2

with the rows :math:`e_v` of tables that row :math:`i` of a batch looks up, each as often as it
does, and a weight :math:`w_v`, 1 by default. A row of a table that :math:`n_v` lookups name has the
gradient :math:`2 n_v w_v e_v / B`, and one that none names has none: the gradient is as sparse as
that of the lookups themselves, and it is the same whether the optimizer walks over whole tables or
by the row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Hook = Callable[[nn.Module, tuple[Any, ...], Tensor], None]


class LookedUp:
    """Watches what a model looks up in its embedding tables.

    Args:
        model: any model; its tables are its ``nn.Embedding`` modules, each when it is called.
        padded: the names of the tables of sequences, where id 0 fills up and is not counted.
    """

    def __init__(self, model: nn.Module, padded: Collection[str] = ()) -> None:
        self._tables = [
            (module, name in padded)
            for name, module in model.named_modules()
            if isinstance(module, nn.Embedding)
        ]

    @contextmanager
    def squared_lengths(self, weights: Sequence[Tensor] | None = None) -> Iterator[list[Tensor]]:
        """Collect what is looked up meanwhile: a scalar with a gradient for each lookup.

        Args:
            weights: :math:`w_v` of each table's rows, in the order of :meth:`counts`.
        """
        sums: list[Tensor] = []
        hooks = [
            _adding_to(sums, is_padded, None if weights is None else weights[place])
            for place, (_, is_padded) in enumerate(self._tables)
        ]
        with self._watched_by(hooks):
            yield sums

    @contextmanager
    def counts(self) -> Iterator[list[Tensor]]:
        """Count the lookups meanwhile: of each table one number a row, int64."""
        counts = [
            torch.zeros(len(table.weight), dtype=torch.int64, device=table.weight.device)
            for table, _ in self._tables
        ]
        with self._watched_by([_counting_in(of_table) for of_table in counts]):
            yield counts

    @contextmanager
    def _watched_by(self, hooks: Sequence[Hook]) -> Iterator[None]:
        handles = [
            table.register_forward_hook(hook)
            for (table, _), hook in zip(self._tables, hooks, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _adding_to(sums: list[Tensor], is_padded: bool, weights: Tensor | None) -> Hook:
    def add(_: nn.Module, inputs: tuple[Any, ...], embeddings: Tensor) -> None:
        squares = embeddings.square()
        if weights is not None:
            squares = squares * weights[inputs[0]].unsqueeze(-1)
        if is_padded:
            squares = squares * (inputs[0] != 0).unsqueeze(-1)
        sums.append(squares.sum())

    return add


def _counting_in(counts: Tensor) -> Hook:
    def add(_: nn.Module, inputs: tuple[Any, ...], __: Tensor) -> None:
        counts.add_(torch.bincount(inputs[0].reshape(-1), minlength=len(counts)))

    return add
