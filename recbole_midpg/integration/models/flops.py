"""The count of operations in RecBole's start-up report: for layers of our own, without copies."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from recbole.data.dataset.dataset import Dataset
from torch import nn


def count_flops(model: nn.Module, dataset: Any, device: Any, transform: Any) -> float:
    """Count the multiplications of one prediction, as RecBole's report counts them.

    A linear layer counts ``inputs x outputs`` for each row it sees, an embedding the values that it
    reads; a layer of ours counts its own by ``multiply_adds()``. Activations, which RecBole's count
    leaves out as well, are not counted. The model is run once, as it is: nothing is copied.

    Args:
        model: a model with a ``predict`` method.
        dataset: RecBole's ``Dataset``, of which one row is predicted.
        device: where the model is.
        transform: RecBole's transform of a batch.

    Returns:
        The number of multiplications (RecBole's "FLOPs").
    """
    total = 0.0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: Any) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += outputs.numel() * module.in_features
        elif isinstance(module, nn.Embedding):
            total += outputs.numel()
        elif hasattr(module, "multiply_adds"):
            total += module.multiply_adds()

    row = transform(dataset, dataset[torch.tensor([0])].to(device))
    was_training = model.training
    hooks = [module.register_forward_hook(count) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            model.predict(row)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    return total


@contextmanager
def copies_share_data(model: nn.Module) -> Iterator[None]:
    """Let the next ``copy.deepcopy`` of a model share its tensors and the datasets that it holds.

    Cause: ``recbole.utils.get_flops`` hangs its counters on a deep copy of the model, and copies
    all embeddings with it. The counters sit in the copy's modules, so that the model stays as it
    was; its values are only read.

    Args:
        model: is copied within the context, once.
    """

    def share(memo: dict[int, Any]) -> Any:
        del model.__deepcopy__
        for module in model.modules():
            held = (module._parameters, module._buffers, vars(module))
            for value in chain.from_iterable(values.values() for values in held):
                if isinstance(value, (torch.Tensor, Dataset)):
                    memo[id(value)] = value
        return copy.deepcopy(model, memo)

    model.__deepcopy__ = share
    try:
        yield
    finally:
        vars(model).pop("__deepcopy__", None)
