"""A model's loss through ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from recbole_midpg.errors import UsageError
from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding


def compiled_loss(model: nn.Module) -> Callable[[Any], Any]:
    """Compile a model's ``calculate_loss``; it is compiled when it is first called.

    Row-wise tables tell their optimizer of each lookup, which stays outside of what is compiled.

    Args:
        model: a model with the method ``calculate_loss(interaction)``.

    Returns:
        A function with the same arguments and results, which raises ``UsageError`` where the loss
        cannot be compiled.
    """
    for module in model.modules():
        if isinstance(module, RowWiseEmbedding):
            module.look_up_rows = torch.compiler.disable(module.look_up_rows)  # type: ignore[method-assign]
    compiled = torch.compile(model.calculate_loss)

    def loss(interaction: Any) -> Any:
        try:
            return compiled(interaction)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise UsageError(
                f"compile_model: True is not possible for {type(model).__name__} here, expected "
                f"False (torch.compile says: {reason})."
            ) from error

    return loss
