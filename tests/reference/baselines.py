"""The baselines as their formulas read: one row at a time, one scenario's parameters at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def linear(row: Tensor, layer) -> Tensor:
    """``x W + b`` of an ``nn.Linear``."""
    return layer.weight @ row + layer.bias


def mlp(row: Tensor, layers) -> Tensor:
    """Linear layers with relu between, none after the last."""
    for depth, layer in enumerate(layers):
        row = linear(row if depth == 0 else torch.relu(row), layer)
    return row


def partitioned_norm(inputs: Tensor, ids: Tensor, norm, training: bool) -> Tensor:
    """Every scenario's rows by its own mean and biased variance, column by column."""
    outputs = torch.zeros_like(inputs)
    for scenario in ids.unique().tolist():
        rows = (ids == scenario).nonzero().flatten().tolist()
        mean, variance = norm.running_mean[scenario], norm.running_variance[scenario]
        if training and len(rows) >= norm.min_rows:
            mean = sum(inputs[r] for r in rows) / len(rows)
            variance = sum((inputs[r] - mean) ** 2 for r in rows) / len(rows)
        scale = norm.shared_scale * (1 + norm.specific_scale[scenario])
        shift = norm.shared_shift + norm.specific_shift[scenario]
        for r in rows:
            outputs[r] = scale * (inputs[r] - mean) / torch.sqrt(variance + norm.epsilon) + shift
    return outputs


def star_logits(model, inputs: Tensor, ids: Tensor, training: bool) -> Tensor:
    """STAR's logits."""
    hidden = partitioned_norm(inputs, ids, model.norm, training) if model.norm else inputs
    logits = []
    for row, scenario, raw in zip(hidden, ids.tolist(), inputs, strict=True):
        for depth, layer in enumerate(model.backbone.layers):
            weight = layer.shared_weight * (1 + layer.specific_weight[scenario])
            row = (row if depth == 0 else torch.relu(row)) @ weight  # noqa: PLW2901
            row = row + layer.shared_bias + layer.specific_bias[scenario]  # noqa: PLW2901
        if model.auxiliary is not None:
            row = row + mlp(raw, model.auxiliary.layers[::3])  # noqa: PLW2901
        logits.append(row.squeeze())
    return torch.stack(logits)


def ple_logits(model, inputs: Tensor, ids: Tensor) -> Tensor:
    """PLE's logits: every scenario's branch of every level below the last, in loops."""
    return torch.stack(
        [_ple_row(model, row, scenario) for row, scenario in zip(inputs, ids.tolist(), strict=True)]
    )


def _ple_row(model, row: Tensor, scenario: int) -> Tensor:
    own = [row] * model.n_scenarios
    shared = row
    for level in model.levels:
        n_specific, n_own = level.n_specific, level.n_scenarios * level.n_specific
        experts = []
        for i, (weight, bias) in enumerate(zip(level.weight, level.bias, strict=True)):
            source = own[i // n_specific] if i < n_own else shared
            experts.append(torch.relu(weight @ source + bias))
        next_own = []
        for k in range(level.n_scenarios):
            gate = torch.softmax(level.gates[k] @ own[k], 0)
            mixed = [*experts[k * n_specific : (k + 1) * n_specific], *experts[n_own:]]
            next_own.append(sum(g * e for g, e in zip(gate, mixed, strict=True)))
        gate = torch.softmax(level.shared_gate.weight @ shared, 0)
        shared = sum(g * e for g, e in zip(gate, experts, strict=True))
        own = next_own
    level = model.last_level
    mixed = [
        torch.relu(own[scenario] @ expert.weight[scenario] + expert.bias[scenario])
        for expert in level.own_experts
    ]
    mixed += [torch.relu(linear(shared, expert)) for expert in level.shared_experts]
    gate = torch.softmax(own[scenario] @ level.gates.weight[scenario], 0)
    hidden = sum(g * e for g, e in zip(gate, mixed, strict=True))
    for depth, layer in enumerate(model.towers.layers):
        hidden = hidden if depth == 0 else torch.relu(hidden)
        hidden = hidden @ layer.weight[scenario] + layer.bias[scenario]
    return hidden.squeeze()


def gate_units(units, prior: Tensor, stopped: Tensor) -> list[Tensor]:
    """PEPNet's gates of one row, each unit by itself."""
    weight = torch.cat([units.from_prior.weight, units.from_stopped.weight], dim=1)
    joined = torch.cat([prior, stopped.detach()])
    gates, start = [], 0
    for hidden_size, output in zip(units.hidden_sizes, units.outputs, strict=True):
        rows = slice(start, start + hidden_size)
        hidden = torch.relu(weight[rows] @ joined + units.from_prior.bias[rows])
        gates.append(units.gamma / (1 + torch.exp(-linear(hidden, output))))
        start += hidden_size
    return gates


def gated_network(model, hidden: Tensor, prior: Tensor) -> Tensor:
    """The logit of PPNet's network of one row."""
    gates = gate_units(model.ppnet, prior, hidden)
    if not model.gates_input:
        gates = [torch.ones_like(hidden), *gates]
    for depth, (layer, gate) in enumerate(zip(model.backbone.layers, gates, strict=True)):
        hidden = linear(gate * (hidden if depth == 0 else torch.relu(hidden)), layer)
    return hidden.squeeze()


def pepnet_logits(model, inputs: Tensor, scenario: Tensor) -> Tensor:
    """PEPNet's logits."""
    logits = []
    for row, condition in zip(inputs, scenario, strict=True):
        hidden = gate_units(model.epnet, condition, row)[0] * row
        logits.append(gated_network(model, hidden, row[model.prior_columns]))
    return torch.stack(logits)


def adasparse_logits(model, inputs: Tensor, scenario: Tensor, alpha: float) -> Tensor:
    """AdaSparse's logits, a neuron's factor at a time."""
    logits = []
    for row, condition in zip(inputs, scenario, strict=True):
        hidden = row
        pruners = list(model.backbone.pruners)
        if model.backbone.prune_input:
            hidden = hidden * neuron_factors(pruners.pop(0), condition, hidden, alpha)
        for layer, pruner in zip(model.backbone.layers, pruners, strict=True):
            hidden = torch.relu(linear(hidden, layer))
            hidden = hidden * neuron_factors(pruner, condition, hidden, alpha)
        logits.append(linear(hidden, model.backbone.output).squeeze())
    return torch.stack(logits)


def neuron_factors(pruner, condition: Tensor, hidden: Tensor, alpha: float) -> Tensor:
    """The three forms of AdaSparse's factor."""
    factors = []
    for value in linear(torch.cat([condition, hidden]), pruner.linear):
        if pruner.form == "scaling":
            factor = pruner.beta * torch.sigmoid(value)
        elif pruner.form == "binarization":
            factor = torch.as_tensor(float(torch.sigmoid(alpha * value) > pruner.epsilon))
        else:
            factor = pruner.beta * torch.sigmoid(alpha * value)
            factor = factor if factor > pruner.epsilon else torch.zeros_like(factor)
        factors.append(factor.to(value.dtype))
    return torch.stack(factors)


def apg_logits(model, inputs: Tensor, condition: Tensor | None) -> Tensor:
    """APG's logits, by whole weights ``A1 A2 S B1 B2``, each row its own."""
    logits = []
    for number, row in enumerate(inputs):
        hidden = row
        for layer, generator in zip(model.backbone.layers, model.backbone.generators, strict=True):
            source = hidden if condition is None else condition[number]
            generated = mlp(source, generator.layers[::3])
            weight = torch.eye(len(hidden), dtype=row.dtype)
            for factor in layer.input_factors:
                weight = weight @ factor
            rank = weight.shape[1]
            weight = weight @ generated[: rank * rank].view(rank, rank)
            for factor in layer.output_factors:
                weight = weight @ factor
            bias = layer.bias
            if len(generated) > rank * rank:
                bias = bias + generated[rank * rank :]
            hidden = torch.relu(hidden @ weight + bias)
        logits.append(linear(hidden, model.backbone.output).squeeze())
    return torch.stack(logits)
