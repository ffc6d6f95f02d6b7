"""Models that are other models at certain settings or weights, with the same embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_midpg.layers.gates import GateUnits
from recbole_midpg.models.adaptdhm import AdaptDHM
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.epnet import EPNet
from recbole_midpg.models.hamur import HAMUR
from recbole_midpg.models.hmoe import HMoE
from recbole_midpg.models.mmoe import MMoE
from recbole_midpg.models.pepnet import PEPNet
from recbole_midpg.models.ppnet import PPNet
from recbole_midpg.models.sarnet import SARNet
from recbole_midpg.models.sharedbottom import SharedBottom
from recbole_midpg.models.star import STAR
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_model

N_SCENARIOS = 4
BATCHES = [toy_batch(30, scenarios=[0, 1, 2, 3, 1]), toy_batch(1), toy_batch(0)]


def new_model(model_class: type, **settings: Any) -> Any:
    """A model in double precision, none of whose parameters is at a special value."""
    return scrambled(toy_model(model_class, **settings)).double()


def dnn_of(maps: Iterable[tuple[Tensor, Tensor]]) -> Any:
    """A DNN of given layers: a weight ``(N, M)`` and a bias ``(M,)`` each."""
    model = toy_model(DNN).double()
    with torch.no_grad():
        for linear, (weight, bias) in zip(model.backbone.layers[::3], maps, strict=True):
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias)
    return model


def maps_of(*linears: nn.Linear) -> list[tuple[Tensor, Tensor]]:
    """The weight ``(N, M)`` and the bias ``(M,)`` of plain layers."""
    return [(linear.weight.T, linear.bias) for linear in linears]


@torch.no_grad()
def with_gates_of_one(units: GateUnits) -> None:
    """Let gate units with gamma 2 give one for every row."""
    for parameter in units.outputs.parameters():
        parameter.zero_()


def adaptdhm_of_one_cluster_is_dnn(batch):
    model = new_model(AdaptDHM, clusters=1)
    merged = (
        (
            layer.shared_weight * (1 + layer.specific_weight[0]),
            layer.shared_bias + layer.specific_bias[0],
        )
        for layer in model.backbone.layers
    )
    return model, dnn_of(merged)


def adaptdhm_whose_clusters_are_the_scenarios_is_star(batch):
    model = new_model(AdaptDHM, clusters=N_SCENARIOS)
    model.routing.forward = lambda inputs: batch[SCENARIO]
    star = new_model(STAR, partitioned_norm=False, auxiliary_network=False)
    star.backbone = model.backbone
    return model, star


def epnet_with_gates_of_one_is_dnn(batch):
    model = new_model(EPNet)
    with_gates_of_one(model.epnet)
    return model, dnn_of(maps_of(*model.backbone.layers[::3]))


def ppnet_with_gates_of_one_is_dnn(batch, **settings):
    model = new_model(PPNet, **settings)
    with_gates_of_one(model.ppnet)
    return model, dnn_of(maps_of(*model.backbone.layers))


def ppnet_with_gates_of_one_behind_its_input_is_dnn(batch):
    return ppnet_with_gates_of_one_is_dnn(batch, ppnet_gate_input=False)


def pepnet_with_gates_of_one_is_dnn(batch, **settings):
    model = new_model(PEPNet, **settings)
    with_gates_of_one(model.epnet)
    with_gates_of_one(model.ppnet)
    return model, dnn_of(maps_of(*model.backbone.layers))


def pepnet_with_gates_of_one_and_none_before_its_layers_is_dnn(batch):
    return pepnet_with_gates_of_one_is_dnn(batch, ppnet_gate_input=False)


def pepnet_with_layers_gated_by_one_is_epnet(batch):
    model, part = new_model(PEPNet), new_model(EPNet)
    with_gates_of_one(model.ppnet)
    part.epnet = model.epnet
    for linear, own in zip(part.backbone.layers[::3], model.backbone.layers, strict=True):
        linear.load_state_dict(own.state_dict())
    return model, part


def pepnet_with_embeddings_gated_by_one_is_ppnet(batch, **settings):
    model = new_model(PEPNet, **settings)
    part = new_model(PPNet, **{**settings, "prior_fields": model.prior_fields})
    with_gates_of_one(model.epnet)
    names = part.load_state_dict(model.state_dict(), strict=False)
    assert not names.missing_keys
    assert all(name.startswith("epnet.") for name in names.unexpected_keys)
    return model, part


def pepnet_with_other_settings_and_embeddings_gated_by_one_is_ppnet(batch):
    settings = {"ppnet_gate_input": False, "prior_fields": ["item_id", SCENARIO]}
    return pepnet_with_embeddings_gated_by_one_is_ppnet(batch, **settings)


def sharedbottom_of_equal_towers_is_dnn(batch):
    model = new_model(SharedBottom)
    with torch.no_grad():
        for parameter in model.towers.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    tower = ((layer.weight[0], layer.bias[0]) for layer in model.towers.layers)
    return model, dnn_of([*maps_of(*model.bottom[::3]), *tower])


def mmoe_of_one_expert_is_sharedbottom(batch):
    model, plain = new_model(MMoE, experts=1), new_model(SharedBottom)
    (plain.bottom,) = model.mixture.experts.networks
    plain.towers = model.towers
    return model, plain


def hmoe_of_own_probabilities_is_mmoe(batch, space="probability"):
    model, plain = new_model(HMoE, label_mixture=space), new_model(MMoE)
    of_scenario = torch.eye(N_SCENARIOS, dtype=torch.float64).log()
    model.label_mixture.log_weights = lambda inputs, groups: of_scenario[batch[SCENARIO]]
    plain.mixture, plain.towers = model.mixture, model.towers
    return model, plain


def hmoe_of_own_logits_is_mmoe(batch):
    return hmoe_of_own_probabilities_is_mmoe(batch, "logit")


def hmoe_of_own_hidden_values_is_mmoe(batch):
    return hmoe_of_own_probabilities_is_mmoe(batch, "hidden")


def hamur_without_adapters_on_a_shared_network_is_dnn(batch):
    model = new_model(HAMUR, adapter_layers=0, specific_backbone=False)
    return model, dnn_of(maps_of(*model.backbone.layers, model.backbone.output))


def hamur_without_adapters_is_sharedbottom_without_bottom(batch):
    model = new_model(HAMUR, adapter_layers=0)
    plain = new_model(SharedBottom, bottom_layers=0)
    for layer, own in zip(plain.towers.layers, model.backbone.layers, strict=True):
        layer.load_state_dict(own.state_dict())
    return model, plain


def sarnet_of_one_shared_expert_starts_as_dnn(batch):
    model = toy_model(SARNet, shared_experts=1, specific_experts=0).double()
    (expert,) = model.experts.shared.networks
    return model, dnn_of(maps_of(*expert[::3], *model.top.layers[::3]))


IDENTITIES = [
    adaptdhm_of_one_cluster_is_dnn,
    adaptdhm_whose_clusters_are_the_scenarios_is_star,
    epnet_with_gates_of_one_is_dnn,
    hamur_without_adapters_is_sharedbottom_without_bottom,
    hamur_without_adapters_on_a_shared_network_is_dnn,
    hmoe_of_own_hidden_values_is_mmoe,
    hmoe_of_own_logits_is_mmoe,
    hmoe_of_own_probabilities_is_mmoe,
    mmoe_of_one_expert_is_sharedbottom,
    pepnet_with_embeddings_gated_by_one_is_ppnet,
    pepnet_with_gates_of_one_and_none_before_its_layers_is_dnn,
    pepnet_with_gates_of_one_is_dnn,
    pepnet_with_layers_gated_by_one_is_epnet,
    pepnet_with_other_settings_and_embeddings_gated_by_one_is_ppnet,
    ppnet_with_gates_of_one_behind_its_input_is_dnn,
    ppnet_with_gates_of_one_is_dnn,
    sarnet_of_one_shared_expert_starts_as_dnn,
    sharedbottom_of_equal_towers_is_dnn,
]


@pytest.mark.parametrize("batch", BATCHES, ids=len)
@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_logits_and_gradients_are_the_same(identity, batch):
    """The gradient of the embeddings is of all that lies between them and the loss."""
    model, other = identity(batch)
    other.token_embedding_table = model.token_embedding_table
    torch.testing.assert_close(model(batch), other(batch), rtol=0, atol=1e-12)
    table = model.token_embedding_table.embedding.weight
    gradient, expected = (
        torch.autograd.grad(side.calculate_loss(batch), table)[0] for side in (model, other)
    )
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
