r"""HMoE's mixture of what every scenario would predict for a row, by learned relations.

Source: Li et al., "Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting Task
Relationships in the Label Space", CIKM 2020.

Shapes: ``B`` rows of a batch, ``S`` scenarios, ``j`` of them at a time, ``N`` inputs and ``M``
outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_midpg.layers.experts import mix
from recbole_midpg.layers.mixture import ScenarioMixture
from recbole_midpg.layers.scenario_grouping import GroupedLinear, GroupedMLP, ScenarioLayout

# Scenarios whose mixtures and towers are computed at a time, on all rows: many enough for large
# products, and few enough that a batch's values do not outgrow the cache.
SCENARIOS_AT_A_TIME = 8


class LabelMixture(nn.Module):
    r"""A row's own prediction and those of the other scenarios, mixed by learned weights.

    .. math::
        \omega_k(x) = \text{softmax}_{j \in A_k}(x \, M_k)_j, \qquad
        y_j = z_j \text{ if } j = k, \text{ else } \text{sg}(z_j)

    with :math:`z_j` the logit of scenario ``j``'s gate and tower for the row, whose own scenario is
    ``k``. :math:`A_k` are all scenarios but slot 0, which may have no rows; for a row of slot 0
    itself, all. In the space of

    - ``probability``: :math:`\sigma(z) = \sum_j \omega_{kj} \, \sigma(y_j)`,
    - ``logit``: :math:`z = \sum_j \omega_{kj} \, y_j`,
    - ``hidden``: :math:`z` is the tower's last layer of :math:`\sum_j \omega_{kj} q_j`, with
      :math:`q_j` tower ``j``'s last hidden values, constants like :math:`y_j` for :math:`j \ne k`.

    The other scenarios' gates and towers learn nothing from a row, and nothing reaches the experts
    through them: they are computed as constants, a few scenarios at a time.

    Parameters: ``S N S`` of the weights :math:`M_k`, or those of networks with hidden layers, the
    last one without bias.

    Args:
        n_scenarios: ``S``.
        input_size: ``N``.
        weight_hidden_sizes: widths of the hidden layers of :math:`\omega_k`; empty makes it linear.
        activation: name of their activation, a key of
            :data:`~recbole_midpg.layers.mlp.ACTIVATIONS`.
        space: ``probability``, ``logit`` or ``hidden``.
        scenario_cost: multiplications of a scenario's gate, mixture and tower for a row.
    """

    def __init__(
        self,
        n_scenarios: int,
        input_size: int,
        weight_hidden_sizes: Sequence[int],
        activation: str,
        space: str,
        scenario_cost: int,
    ) -> None:
        super().__init__()
        self.n_scenarios, self.space, self.scenario_cost = n_scenarios, space, scenario_cost
        self.weights = GroupedMLP(
            n_scenarios,
            input_size,
            weight_hidden_sizes,
            n_scenarios,
            activation,
            dropout=0.0,
            output_bias=False,
        )

    def multiply_adds(self) -> int:
        """Multiplications of one sample beside its own scenario's: those of all others."""
        return (self.n_scenarios - 1) * self.scenario_cost

    def forward(
        self, inputs: Tensor, mixture: ScenarioMixture, towers: GroupedMLP, groups: ScenarioLayout
    ) -> Tensor:
        """Compute the logits of a batch.

        Args:
            inputs: ``x``, ``(B, N)``.
            mixture: the experts and the scenarios' gates.
            towers: the scenarios' towers, from a mixture to one logit.
            groups: the layout of the batch.

        Returns:
            ``z``, ``(B,)``.
        """
        mixed, experts = mixture(inputs, groups)
        hidden = towers.hidden(groups.lay_out(mixed), groups)
        *_, last = towers.layers
        log_weights = self.log_weights(inputs, groups)
        others = of_all_scenarios(inputs, experts, mixture.gates, towers)
        is_own = groups.scenario_ids.unsqueeze(1) == torch.arange(
            self.n_scenarios, device=inputs.device
        )
        if self.space == "hidden":
            hidden = mix_hidden(log_weights.exp(), groups.pick_up(hidden), others, is_own)
            return groups.pick_up(last(groups.lay_out(hidden), groups)).squeeze(1)
        own = groups.pick_up(last(hidden, groups))
        of_all = torch.cat([constant_linear(last, q, scenarios) for scenarios, q in others])
        logits = torch.where(is_own, own, of_all.squeeze(2).T)
        if self.space == "logit":
            return (log_weights.exp() * logits).sum(1)
        return mix_probabilities(log_weights, logits)

    def log_weights(self, inputs: Tensor, groups: ScenarioLayout) -> Tensor:
        r"""Compute :math:`\log \omega_k` of each row, ``(B, S)``, from its input ``(B, N)``."""
        scores = groups.pick_up(self.weights(groups.lay_out(inputs), groups))
        is_slot_0 = torch.arange(self.n_scenarios, device=inputs.device) == 0
        left_out = (groups.scenario_ids > 0).unsqueeze(1) & is_slot_0
        return scores.masked_fill(left_out, -torch.inf).log_softmax(1)


def mix_probabilities(log_weights: Tensor, logits: Tensor) -> Tensor:
    r"""The logit of a mixture of probabilities, stable where they are close to 0 or 1.

    .. math:: z = \log \sum_j \omega_j \sigma(y_j) - \log \sum_j \omega_j \sigma(-y_j)

    Args:
        log_weights: :math:`\log \omega_j`, ``(B, S)``; the weights of a row sum to 1.
        logits: :math:`y_j`, ``(B, S)``.

    Returns:
        ``z``, ``(B,)``, with :math:`\sigma(z) = \sum_j \omega_j \sigma(y_j)`.
    """
    of_one = torch.logsumexp(log_weights + functional.logsigmoid(logits), 1)
    of_zero = torch.logsumexp(log_weights + functional.logsigmoid(-logits), 1)
    return of_one - of_zero


def mix_hidden(
    weights: Tensor, own: Tensor, others: Iterator[tuple[slice, Tensor]], is_own: Tensor
) -> Tensor:
    """Mix a row's own hidden values with those of the other scenarios.

    Args:
        weights: of every scenario, ``(B, S)``.
        own: the row's own values, ``(B, W)``.
        others: scenarios and their values, ``(j, B, W)``; those of the row's own are passed over.
        is_own: which scenario is the row's own, ``(B, S)``.

    Returns:
        ``(B, W)``.
    """
    of_others = weights.masked_fill(is_own, 0)
    total = (weights * is_own).sum(1, keepdim=True) * own
    for scenarios, values in others:
        total = total + mix(of_others[:, scenarios], values.transpose(0, 1))
    return total


def of_all_scenarios(
    inputs: Tensor, experts: Sequence[Tensor], gates: GroupedMLP, towers: GroupedMLP
) -> Iterator[tuple[slice, Tensor]]:
    """Compute every scenario's mixture and the hidden layers of its tower, on all rows.

    All that comes out is a constant: no gradient reaches anything that went in.

    Args:
        inputs: ``x``, ``(B, N)``.
        experts: each expert's output, ``(B, M)``.
        gates: the scenarios' gates.
        towers: the scenarios' towers.

    Yields:
        Scenarios, and what the last layer of their towers reads, ``(j, B, W)``.
    """
    constant_inputs, constant_experts = inputs.detach(), torch.stack(list(experts), 1).detach()
    n_scenarios = len(gates.layers[0].weight)
    *_, last_gate = gates.layers
    for start in range(0, n_scenarios, SCENARIOS_AT_A_TIME):
        scenarios = slice(start, min(start + SCENARIOS_AT_A_TIME, n_scenarios))
        of_gates = constant_hidden(gates, constant_inputs, scenarios)
        scores = constant_linear(last_gate, of_gates, scenarios)
        mixed = mix(scores.softmax(-1).transpose(0, 1), constant_experts).transpose(0, 1)
        yield scenarios, constant_hidden(towers, mixed, scenarios)


def constant_hidden(network: GroupedMLP, inputs: Tensor, scenarios: slice) -> Tensor:
    """What the last layers of some scenarios' networks read, without gradient.

    Args:
        network: all scenarios' networks.
        inputs: rows that all of them read, ``(B, N)``, or each its own, ``(j, B, N)``; constants.
        scenarios: which ones.

    Returns:
        ``(j, B, W)``, or the inputs where there is no hidden layer.
    """
    *hidden_layers, _ = network.layers
    for layer in hidden_layers:
        inputs = network.dropout(network.activation(constant_linear(layer, inputs, scenarios)))
    return inputs


def constant_linear(layer: GroupedLinear, inputs: Tensor, scenarios: slice) -> Tensor:
    """Map rows by some scenarios' linear maps, without gradient.

    Args:
        layer: all scenarios' maps.
        inputs: rows that all of them read, ``(B, N)``, or each its own, ``(j, B, N)``; constants.
        scenarios: which ones.

    Returns:
        ``(j, B, M)``.
    """
    weight = layer.weight.detach()[scenarios]
    bias = None if layer.bias is None else layer.bias.detach()[scenarios].unsqueeze(1)
    if inputs.dim() < weight.dim():
        # Side by side, the maps are one product.
        mapped = inputs @ weight.transpose(0, 1).flatten(1)
        mapped = mapped.unflatten(1, (-1, weight.shape[2])).transpose(0, 1)
        return mapped if bias is None else mapped + bias
    return torch.bmm(inputs, weight) if bias is None else torch.baddbmm(bias, inputs, weight)
