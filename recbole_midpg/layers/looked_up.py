r"""The squared length of the embeddings that a batch looks up, for a penalty on it.

.. math:: \frac{1}{B} \sum_{i=1}^{B} \sum_{v \in V_i} \lVert e_v \rVert^2

with the rows :math:`e_v` of tables that row :math:`i` of a batch looks up, each as often as it
does. A row of a table that :math:`n_v` lookups name has the gradient :math:`2 n_v e_v / B`, and one
that none names has none: the gradient is as sparse as that of the lookups themselves, and it is the
same whether the optimizer walks over whole tables or by the row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class LookedUp:
    """Sums the squared lengths of what a model looks up in its embedding tables.

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
    def squared_lengths(self) -> Iterator[list[Tensor]]:
        """Collect what is looked up meanwhile: a scalar with a gradient for each lookup."""
        sums: list[Tensor] = []
        hooks = [
            table.register_forward_hook(_adding_to(sums, is_padded))
            for table, is_padded in self._tables
        ]
        try:
            yield sums
        finally:
            for hook in hooks:
                hook.remove()


def _adding_to(sums: list[Tensor], is_padded: bool) -> Callable[..., None]:
    def add(_: nn.Module, inputs: tuple[Any, ...], embeddings: Tensor) -> None:
        squares = embeddings.square()
        if is_padded:
            squares = squares * (inputs[0] != 0).unsqueeze(-1)
        sums.append(squares.sum())

    return add
