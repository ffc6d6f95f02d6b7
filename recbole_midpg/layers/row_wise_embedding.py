"""Embedding tables of which a training step touches only the rows that it looks up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class RowWiseEmbedding(nn.Embedding):
    r"""An embedding table that an optimizer may update row by row, when rows are needed.

    By itself it is an ``nn.Embedding``. Once an optimizer has said :meth:`attach`, the gradient of
    the weight is a sparse tensor that names the rows of the batch, so that nothing of the table's
    size is made in a training step; and the optimizer is notified before rows are read, and before
    the whole table is: in evaluation, by ``state_dict``, and before ``load_state_dict`` replaces
    it. Reading ``weight`` itself notifies nobody.

    Args:
        weight: the table, ``(V, D)``; the very parameter, not a copy.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__(*weight.shape, _weight=weight)
        self.weight = weight
        self.detach()

    def attach(
        self,
        before_lookup: Callable[[Tensor], None],
        before_reading_all: Callable[[], None],
        *,
        distinct_rows: bool = True,
    ) -> None:
        """Let an optimizer leave rows behind until they are needed.

        Args:
            before_lookup: called with the indices of the rows that are about to be read, ``(R,)``.
            before_reading_all: called when the whole table is about to be read or replaced.
            distinct_rows: whether ``before_lookup`` and the gradient name each row once, True by
                default. Otherwise they name a row as often as the batch does: how many rows are
                distinct is then never asked, which a GPU would have to answer first, and all
                shapes are those of the batch.
        """
        self._before_lookup: Callable[[Tensor], None] | None = before_lookup
        self._before_reading_all = before_reading_all
        self._distinct_rows = distinct_rows

    def detach(self) -> None:
        """Be an ``nn.Embedding`` (again), with dense gradients; no row may be behind."""
        self._before_lookup = None
        self._before_reading_all = _nothing_waits

    def bring_up_to_date(self) -> None:
        """Let no row be behind, as before work that reads the table without saying so."""
        self._before_reading_all()

    def forward(self, ids: Tensor) -> Tensor:
        """Look up ids of any shape: ``(...)`` to ``(..., D)``."""
        if self._before_lookup is not None and torch.is_grad_enabled():
            return self._look_up_rows(ids, self._before_lookup)
        self._before_reading_all()
        return functional.embedding(ids, self.weight)

    def _look_up_rows(self, ids: Tensor, before_lookup: Callable[[Tensor], None]) -> Tensor:
        """Look up ids for training; ``before_lookup`` is called with the rows that they name."""
        flat = ids.reshape(-1)
        if self._distinct_rows:
            rows, positions = torch.unique(flat, return_inverse=True)
        else:
            rows, positions = flat, None
        before_lookup(rows)
        return _Lookup.apply(self.weight, flat, rows, positions).view(
            *ids.shape, self.embedding_dim
        )

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._before_reading_all()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # What rows still wait for belongs to the weights that are about to go.
        self._before_reading_all()
        super()._load_from_state_dict(*args, **kwargs)


def _nothing_waits() -> None:
    """No-op hook, for a table none of whose rows is behind."""


class _Lookup(torch.autograd.Function):
    """Rows of a table, with a sparse gradient of its distinct rows where those are known.

    A sparse gradient, and not rows and values handed to the optimizer directly, as whoever works on
    gradients finds it where gradients are: a gradient scaler, an exchange between processes. It is
    made, and added to that of another lookup, without a read from the device. (On CUDA torch adds
    by writing one after the other, and sums equal rows, for which it waits, only once there are
    more values than the table has.)
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, rows: Tensor, positions: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(rows, positions)
        ctx.table_size = weight.shape
        return weight.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, positions = ctx.saved_tensors
        if positions is not None:
            of_positions = gradient
            gradient = of_positions.new_zeros(len(rows), ctx.table_size[1])
            gradient.index_add_(0, positions, of_positions)
        to_weight = torch.sparse_coo_tensor(
            rows.unsqueeze(0), gradient, ctx.table_size, check_invariants=False
        )
        return to_weight, None, None, None


def tables_of(model: nn.Module, min_rows: int = 0) -> list[str]:
    """Find the embedding tables that can be updated row by row.

    Not among them: tables with a padding row, a norm limit or gradients scaled by frequency, tables
    that do not learn, and those whose weight another module has as well.

    Args:
        model: any model.
        min_rows: how many rows a table must have; 0 by default.

    Returns:
        The names of their modules.
    """
    owners = Counter(
        id(parameter) for module in model.modules() for parameter in module._parameters.values()
    )
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        and module.padding_idx is None
        and module.max_norm is None
        and not module.scale_grad_by_freq
        and module.weight.requires_grad
        and module.num_embeddings >= min_rows
        and owners[id(module.weight)] == 1
    ]


def make_row_wise(model: nn.Module, names: Sequence[str]) -> list[RowWiseEmbedding]:
    """Replace embedding tables by row-wise ones, in place; the parameters stay the same objects.

    Args:
        model: any model.
        names: some of :func:`tables_of`.

    Returns:
        The new tables.
    """
    tables = []
    for name in names:
        parent, _, attribute = name.rpartition(".")
        tables.append(RowWiseEmbedding(model.get_submodule(name).weight))
        setattr(model.get_submodule(parent), attribute, tables[-1])
    return tables
