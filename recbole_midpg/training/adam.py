"""torch's Adam, fused where torch has it, of which a step can be captured in a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

# Settings of a parameter group that decide how a step is computed, not what it computes.
_HOW = ("capturable", "fused", "foreach", "differentiable")


class Adam(torch.optim.Adam):
    r"""``torch.optim.Adam``, fused where torch has it, and on request fit for a CUDA graph.

    A graph goes on with the tensors that it was captured with. Where a step may be captured, all
    that it reads is therefore changed in place: the learning rate is a tensor, filled by whatever
    sets it, ``param_groups[0]["lr"] = 0.1`` as well as a scheduler of torch; and
    ``load_state_dict`` copies into the tensors that are there. ``state_dict`` has torch's format,
    with the learning rate as a number, and each way of computing goes on from the state of any.

    Args:
        parameters: all parameters; they make one group.
        lr: :math:`\alpha`, 0.001 by default.
        betas: :math:`(\beta_1, \beta_2)`, (0.9, 0.999) by default.
        eps: :math:`\epsilon`, 1e-8 by default.
        weight_decay: the factor of the penalty on squared weights, 0 by default.
        capturable: whether ``step`` may be captured once it has run, on the parameters' device. The
            learning rate is then a float32 tensor there, as torch's fused Adam reads it. On a CPU,
            which has no graphs, torch's part of the step still reads it as a number.

    Raises:
        ValueError: ``capturable``, and the parameters are on several devices.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        capturable: bool = False,
    ) -> None:
        parameters = list(parameters)
        devices = {parameter.device for parameter in parameters}
        if capturable and len(devices) > 1:
            named = ", ".join(sorted(map(str, devices)))
            raise ValueError(f"parameters on {named} are not allowed with capturable, expected one")
        super().__init__(
            parameters,
            lr,
            betas,
            eps,
            weight_decay,
            fused=_has_fused_adam(devices),
            capturable=capturable and all(device.type == "cuda" for device in devices),
        )
        self.capturable = capturable
        # torch warns of capturable steps that are not captured, as those before the capture are.
        self._warned_capturable_if_run_uncaptured = True
        if capturable:
            (device,) = devices
            self._keep_rate_in(torch.tensor(lr, dtype=torch.float32, device=device))

    def _keep_rate_in(self, rate: Tensor) -> None:
        self.param_groups[0] = _GroupWithOneRate({**self.param_groups[0], "lr": rate})

    def between_steps(self, steps: int = 1) -> None:
        """Do what the host has to do now and then; called after steps, replayed ones as well.

        Args:
            steps: how many steps were taken since the last call, 1 by default.
        """

    def state_dict(self) -> dict[str, Any]:
        """Give the state, in the format of ``torch.optim.Adam``."""
        content = super().state_dict()
        for group in content["param_groups"]:
            group["lr"] = float(group["lr"])
        return content

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of any Adam, into the tensors that are there already."""
        before, own_group = dict(self.state), self.param_groups[0]
        how = {name: own_group[name] for name in _HOW}
        groups = [
            {**group, **how, "lr": float(group["lr"])} for group in state_dict["param_groups"]
        ]
        super().load_state_dict({**state_dict, "param_groups": groups})
        for parameter, state in before.items():
            loaded = self.state[parameter]
            for name, value in state.items():
                # A parameter without a saved state starts from zero.
                loaded[name] = value.copy_(loaded[name]) if name in loaded else value.zero_()
        if self.capturable:
            rate = own_group["lr"]
            rate.fill_(self.param_groups[0]["lr"])
            self._keep_rate_in(rate)


class _GroupWithOneRate(dict[str, Any]):
    """A parameter group whose learning rate stays the same tensor: setting the rate fills it."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "lr" and name in self:
            self[name].fill_(float(value))
        else:
            super().__setitem__(name, value)


def _has_fused_adam(devices: set[torch.device]) -> bool:
    """Whether torch's fused Adam can be had: everywhere on CUDA, on the CPU since torch 2.4."""
    types = {device.type for device in devices}
    return types == {"cuda"} or (types == {"cpu"} and TorchVersion(torch.__version__) >= (2, 4))
