r"""PLE's extraction levels: experts of each scenario, shared experts, and gates that mix them.

Source: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
Personalized Recommendations", RecSys 2020, sections 4.1-4.2, with a scenario in a task's place.

Shapes: ``B`` rows of a batch, ``S`` scenarios, ``N`` inputs and ``M`` outputs of an expert; ``m_k``
experts a scenario and ``m_s`` shared ones, ``E = S m_k + m_s`` in all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_midpg.layers.mlp import ACTIVATIONS, concatenate
from recbole_midpg.layers.scenario_grouping import (
    GroupedLinear,
    ScenarioLayout,
    xavier_normal_each_,
)


class ExtractionLevel(nn.Module):
    r"""A level below the last: all experts on all rows, because the shared gate mixes them all.

    .. math::
        f_i(u) = \phi(u W_i + b_i), \quad
        g_k = \sum_{i \in k \cup \text{shared}} \text{softmax}(g_k' G_k)_i \, f_i, \quad
        g_\text{sh} = \sum_{\text{all } i} \text{softmax}(g_\text{sh}' G_\text{sh})_i \, f_i

    Scenario ``k``'s experts and its gate read :math:`g_k'`, the shared ones :math:`g_\text{sh}'`,
    the outputs of the level below. Gates are single linear maps without bias.

    Parameters: ``E (N M + M)`` of experts, ``S (m_k + m_s) N`` of the scenarios' gates and ``E N``
    of the shared gate.

    Args:
        n_scenarios: ``S``.
        input_size: ``N``.
        output_size: ``M``.
        n_specific: ``m_k``.
        n_shared: ``m_s``.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that an expert's output value is zeroed in training.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        output_size: int,
        n_specific: int,
        n_shared: int,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.n_scenarios, self.n_specific, self.n_shared = n_scenarios, n_specific, n_shared
        n_experts = n_scenarios * n_specific + n_shared
        # Output before input, as in nn.Linear: side by side, the experts are one linear layer.
        self.weight = nn.Parameter(torch.empty(n_experts, output_size, input_size))
        self.bias = nn.Parameter(torch.zeros(n_experts, output_size))
        self.gates = nn.Parameter(torch.empty(n_scenarios, n_specific + n_shared, input_size))
        self.shared_gate = nn.Linear(input_size, n_experts, bias=False)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        xavier_normal_each_(self.weight)
        xavier_normal_each_(self.gates)

    def multiply_adds(self) -> int:
        """Multiplications of one sample: experts, the scenarios' gates, and two mixtures."""
        n_experts, output_size = self.bias.shape
        return self.weight.numel() + self.gates.numel() + 2 * n_experts * output_size

    def experts(self, own: Tensor, shared: Tensor) -> Tensor:
        r"""The outputs of all experts, the scenarios' in turn and then the shared ones.

        Args:
            own: :math:`g_k'`, ``(B, S, N)``, or ``(B, N)`` where all scenarios read the same.
            shared: :math:`g_\text{sh}'`, ``(B, N)``.

        Returns:
            ``(B, E, M)``.
        """
        n_own = self.n_scenarios * self.n_specific
        if own is shared:
            mapped = map_rows(shared, self.weight, self.bias)
        else:
            # (B, S, m_k M): a scenario's experts side by side, as its own input's linear map.
            by_scenario = self.weight[:n_own].view(self.n_scenarios, -1, self.weight.shape[2])
            of_own = map_each(own, by_scenario).reshape(len(own), n_own, self.weight.shape[1])
            of_shared = map_rows(shared, self.weight[n_own:], self.bias[n_own:])
            mapped = torch.cat([of_own + self.bias[:n_own], of_shared], dim=1)
        return self.dropout(self.activation(mapped))

    def forward(
        self, own: Tensor, shared: Tensor, scenario_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Compute the level, for every scenario or for each row's own.

        Args:
            own: :math:`g_k'`, ``(B, S, N)``, or ``shared`` itself at the first level.
            shared: :math:`g_\text{sh}'`, ``(B, N)``.
            scenario_ids: ``(B,)`` where the next level reads a row's own scenario only.

        Returns:
            :math:`g_k`, ``(B, S, M)``, or with ``scenario_ids`` that of the row's own scenario,
            ``(B, M)``; and :math:`g_\text{sh}`, ``(B, M)``.
        """
        experts = self.experts(own, shared)
        gates = map_rows(shared, self.gates) if own is shared else map_each(own, self.gates)
        shared_weights = self.shared_gate(shared).softmax(-1)
        if scenario_ids is None:
            return self._mix_each(gates.softmax(-1), experts), mix(shared_weights, experts)
        own_weights = self._own_weights(gates, scenario_ids)
        # Both mixtures in one product: the row's own gate has weight zero at all other scenarios.
        own_mixed, shared_mixed = mix(
            torch.stack([own_weights, shared_weights], dim=1), experts
        ).unbind(1)
        return own_mixed, shared_mixed

    def _mix_each(self, gates: Tensor, experts: Tensor) -> Tensor:
        """Every scenario's mixture, ``(B, S, M)``, of its own experts and the shared ones."""
        n_own = self.n_scenarios * self.n_specific
        of_own, of_shared = experts.split([n_own, self.n_shared], dim=1)
        of_own = of_own.unflatten(1, (self.n_scenarios, self.n_specific))
        own_part = (gates[..., : self.n_specific].unsqueeze(-1) * of_own).sum(2)
        return own_part + gates[..., self.n_specific :] @ of_shared

    def _own_weights(self, gates: Tensor, scenario_ids: Tensor) -> Tensor:
        """The weight of every expert in the row's own scenario's mixture, ``(B, E)``."""
        index = scenario_ids.view(-1, 1, 1).expand(-1, 1, gates.shape[2])
        weights = gates.gather(1, index).squeeze(1).softmax(-1)
        experts = torch.arange(len(self.bias), device=gates.device)
        first = (scenario_ids * self.n_specific).unsqueeze(1)
        of_own = first + experts[: self.n_specific]
        of_shared = experts[len(self.bias) - self.n_shared :].expand(len(gates), -1)
        places = concatenate(of_own, of_shared)
        return weights.new_zeros(len(gates), len(self.bias)).scatter(1, places, weights)


class RoutedLevel(nn.Module):
    r"""The last level: a row is computed by the shared experts and its own scenario's only.

    .. math:: g_s = \sum_{i \in s \cup \text{shared}} \text{softmax}(g_s' G_s)_i \, f_i

    Symbols as in :class:`ExtractionLevel`; there is no shared gate. Parameters: ``E (N M + M)`` of
    experts and ``S (m_k + m_s) N`` of gates.

    Args:
        n_scenarios: ``S``.
        input_size: ``N``.
        output_size: ``M``.
        n_specific: ``m_k``.
        n_shared: ``m_s``.
        activation: name of :math:`\phi`, a key of :data:`ACTIVATIONS`.
        dropout: probability that an expert's output value is zeroed in training.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        output_size: int,
        n_specific: int,
        n_shared: int,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.n_experts = n_specific + n_shared
        self.own_experts = nn.ModuleList(
            GroupedLinear(n_scenarios, input_size, output_size) for _ in range(n_specific)
        )
        self.shared_experts = nn.ModuleList(
            nn.Linear(input_size, output_size) for _ in range(n_shared)
        )
        self.gates = GroupedLinear(n_scenarios, input_size, self.n_experts, bias=False)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside the experts' and gates': those of the mixture."""
        return self.n_experts * self.output_size

    def forward(self, own: Tensor, shared: Tensor, groups: ScenarioLayout) -> Tensor:
        r"""Compute the level.

        Args:
            own: :math:`g_s'` of each row's own scenario, ``(B, N)``.
            shared: :math:`g_\text{sh}'`, ``(B, N)``.
            groups: the layout of the batch.

        Returns:
            :math:`g_s` in the layout, ``(R, M)``.
        """
        of_shared = [expert(shared) for expert in self.shared_experts]
        laid_out = groups.lay_out(concatenate(own, *of_shared))
        own, mapped = laid_out[:, : own.shape[1]].contiguous(), laid_out[:, own.shape[1] :]
        outputs = concatenate(*[expert(own, groups) for expert in self.own_experts], mapped)
        outputs = groups.drop_out(self.activation(outputs), self.dropout)
        outputs = outputs.unflatten(1, (self.n_experts, self.output_size))
        return mix(self.gates(own, groups).softmax(-1), outputs)


def mix(weights: Tensor, experts: Tensor) -> Tensor:
    """Weighted sums of experts: ``(B, E)`` or ``(B, mixtures, E)`` with ``(B, E, M)``.

    Returns:
        ``(B, M)`` or ``(B, mixtures, M)``.
    """
    if weights.dim() == experts.dim():
        return torch.bmm(weights, experts)
    return torch.bmm(weights.unsqueeze(1), experts).squeeze(1)


def map_rows(inputs: Tensor, weights: Tensor, biases: Tensor | None = None) -> Tensor:
    """Several linear maps of the same rows: ``(B, N)`` by ``(E, M, N)`` to ``(B, E, M)``."""
    bias = None if biases is None else biases.flatten()
    return nn.functional.linear(inputs, weights.flatten(0, 1), bias).unflatten(1, weights.shape[:2])


def map_each(inputs: Tensor, weights: Tensor) -> Tensor:
    """One linear map a scenario, on all rows: ``(B, S, N)`` by ``(S, M, N)`` to ``(B, S, M)``."""
    return torch.bmm(inputs.transpose(0, 1), weights.transpose(1, 2)).transpose(0, 1)
