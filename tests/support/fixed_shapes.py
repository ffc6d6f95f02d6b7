"""Steps of training and prediction run without data, to see what a CUDA graph could not capture.

No GPU is needed. A step runs forward and backward on tensors that have shapes and no values, so
that reading a value and shapes that depend on data raise:

- in torch's ``FakeTensorMode``;
- on the ``meta`` device, where a CPU tensor that takes part is noticed: on a GPU it would be a copy
  that the host waits for. Tensors say there that they are on a GPU, so that the branches of
  ``is_cuda`` are taken. (Fake tensors of the device ``cuda`` can neither be indexed nor gone back
  through where torch is built without CUDA.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Step = Callable[[Any, Any], None]
"""What is done with a model and a batch."""

# Operators whose shapes are fixed and which wait for a GPU nevertheless: to put values it looks for
# the largest index, except where autograd derives the operator from a look-up.
_WAITING = ("aten::index_put", "aten::index_put_", "aten::equal")
_DERIVED = "IndexBackward0"

# Functions that make a tensor of values of the host.
_FROM_VALUES = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor)
_INDEXING = (Tensor.__getitem__, Tensor.__setitem__)


class _NothingFromTheCPU(TorchDispatchMode):
    """Raise where an operator takes or makes a tensor on the CPU, or waits for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor):
                assert leaf.device.type == "meta", f"{func} of a tensor on the {leaf.device}"
        node = torch._C._current_autograd_node()
        is_derived = node is not None and node.name() == _DERIVED
        assert is_derived or func._schema.name not in _WAITING, f"{func} waits for a GPU"
        return result


class _NoValuesOfTheHost(TorchFunctionMode):
    """Raise where a tensor is made of Python's or numpy's values, which are copied to a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in _FROM_VALUES, f"{func.__name__} copies from the host"
        if func in _INDEXING:
            indices = args[1] if isinstance(args[1], tuple) else (args[1],)
            of_host = [index for index in indices if isinstance(index, (list, tuple, np.ndarray))]
            assert not of_host, f"the index {of_host[0]} is copied from the host"
        return func(*args, **(kwargs or {}))


def training_step(model: Any, batch: Any) -> None:
    """Loss and backward."""
    losses = model.calculate_loss(batch)
    (sum(losses) if isinstance(losses, tuple) else losses).backward()


def prediction(model: Any, batch: Any) -> None:
    """Probabilities."""
    with torch.no_grad():
        model.predict(batch)


def assert_fixed_shapes(model: Any, batch: Interaction) -> None:
    """Raise where a training step or a prediction could not be captured in a CUDA graph."""
    _run_on_meta(model.train(), batch, training_step)
    _run_on_fake_tensors(model, batch, training_step)
    _run_on_meta(model.eval(), batch, prediction)


def _run_on_meta(model: Any, batch: Interaction, step: Step) -> None:
    model = _with_tensors(model, lambda values: values.to("meta"))
    for module in model.modules():
        if "device" in vars(module):  # RecBole's own note of where a model is
            module.device = torch.device("meta")
    columns = batch.to(torch.device("meta"))
    # Autocast does not know the device.
    no_autocast = patch.object(torch, "autocast", lambda *_, **__: nullcontext())
    on_gpu = patch.object(Tensor, "is_cuda", True)
    with _NothingFromTheCPU(), _NoValuesOfTheHost(), no_autocast, on_gpu:
        step(model, columns)


def _run_on_fake_tensors(model: Any, batch: Interaction, step: Step) -> None:
    mode = FakeTensorMode()
    model = _with_tensors(model, mode.from_tensor)
    columns = Interaction(
        {name: mode.from_tensor(column) for name, column in batch.interaction.items()}
    )
    with mode:
        step(model, columns)


def _with_tensors(model: Any, fake: Callable[[Tensor], Tensor]) -> Any:
    """A copy of a model with other parameters and buffers."""
    model = copy.deepcopy(model)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                of_parameter = fake(parameter.detach())
                module._parameters[name] = nn.Parameter(of_parameter, parameter.requires_grad)
        # Buffers, and tensors that a model holds besides.
        for holder in (module._buffers, vars(module)):
            holder.update(
                {
                    name: fake(held.detach())
                    for name, held in holder.items()
                    if isinstance(held, Tensor)
                }
            )
    return model
