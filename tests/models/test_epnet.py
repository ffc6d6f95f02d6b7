"""EPNet: the formula, the gate's range and start, and where gradients stop."""

import pytest
import torch

from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.epnet import EPNet
from recbole_midpg.models.pepnet import PEPNet
from tests.reference.epnet import epnet_logits
from tests.support.comparison import (
    DNN_MULTIPLICATIONS,
    DNN_PARAMETERS,
    assert_equals_reference,
    multiplications,
    specified_model,
)
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model


def gate_of(model, batch):
    """The gate as the model forms it, ``(B, d_0)``."""
    inputs, scenario = model.embed(batch)
    (gate,) = model.epnet(scenario, inputs)
    return gate


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gate_hidden_size": 3, "gate_gamma": 3.0},
        {"scenario_fields": [SCENARIO, "shop_id"]},
        {"mlp_hidden_size": [5]},
    ],
    ids=str,
)
def test_reference(settings):
    model = scrambled(toy_model(EPNet, **settings)).double()
    batch = toy_batch(15, scenarios=[1, 0, 2, 1, 3])
    expected = epnet_logits(model, *model.embed(batch))
    assert_equals_reference(model, model(batch), expected)


def test_with_a_gate_of_one_it_is_the_dnn():
    model = scrambled(toy_model(EPNet)).double()
    plain = toy_model(DNN).double()
    with torch.no_grad():
        for parameter in model.epnet.outputs.parameters():
            parameter.zero_()
    plain.token_embedding_table = model.token_embedding_table
    plain.backbone = model.backbone
    batch = toy_batch(20)
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)


def test_it_is_pepnet_whose_layers_are_not_gated():
    whole = scrambled(toy_model(PEPNet)).double()
    model = toy_model(EPNet).double()
    model.token_embedding_table, model.epnet = whole.token_embedding_table, whole.epnet
    with torch.no_grad():
        for parameter in whole.ppnet.outputs.parameters():
            parameter.zero_()
        for own, other in zip(model.backbone.layers[::3], whole.backbone.layers, strict=True):
            own.load_state_dict(other.state_dict())
    batch = toy_batch(20)
    torch.testing.assert_close(model(batch), whole(batch), rtol=0, atol=1e-12)


def test_the_gate_starts_near_one():
    gate = gate_of(toy_model(EPNet, embedding_size=16), toy_batch(50))
    torch.testing.assert_close(gate, torch.ones_like(gate), rtol=0, atol=0.1)


def test_the_gate_stays_in_its_range():
    model = scrambled(toy_model(EPNet, gate_gamma=1.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20)
    gate = gate_of(model, toy_batch(50))
    assert gate.min() >= 0
    assert gate.max() <= 1.5
    assert gate.min() < 0.01
    assert gate.max() > 1.49


def test_the_gate_reaches_embeddings_only_by_the_scenario_field():
    model = scrambled(toy_model(EPNet))
    table = model.token_embedding_table.embedding.weight
    (gradient,) = torch.autograd.grad(gate_of(model, toy_batch(30)).sum(), table)
    *others, scenario = gradient.split([12, 9, 5, 4])
    assert not any(part.any() for part in others)
    assert scenario.any()


def test_embeddings_learn_as_if_the_gate_had_read_a_copy():
    model = scrambled(toy_model(EPNet)).double()
    batch = toy_batch(30)
    table = model.token_embedding_table.embedding.weight
    (gradient,) = torch.autograd.grad(model.calculate_loss(batch), table)
    inputs, _ = model.embed(batch)
    copy = inputs.detach().clone()
    model.epnet.register_forward_pre_hook(lambda _module, given: (given[0], copy))
    (as_constant,) = torch.autograd.grad(model.calculate_loss(batch), table)
    torch.testing.assert_close(gradient, as_constant, rtol=0, atol=1e-14)


def test_the_scenario_changes_how_the_other_embeddings_count():
    """With the scenario's own part of the network's input switched off, the gate still knows it."""
    model = scrambled(toy_model(EPNet)).double()
    with torch.no_grad():
        model.backbone.layers[0].weight[:, -model.scenario_size :] = 0
    one, other = toy_batch(20, scenarios=[1]), toy_batch(20, scenarios=[2])
    assert one["user_id"].equal(other["user_id"])
    assert ((model(one) - model(other)).abs() > 1e-6).all()


@pytest.mark.parametrize("hidden_size", [0, 7])
def test_parameter_count(hidden_size):
    dataset = toy_dataset(6)
    model = toy_model(EPNet, dataset, gate_hidden_size=hidden_size)
    d_0, d_s, hidden = 16, 4, hidden_size or 16
    expected = count_parameters(toy_model(DNN, dataset))[1]
    expected += (d_s + d_0 + 1) * hidden + (hidden + 1) * d_0
    assert count_parameters(model)[1] == expected


def test_sizes_of_the_specification():
    model = specified_model(EPNet, 11)
    assert count_parameters(model)[1] == DNN_PARAMETERS + (10 + 2 * 80 + 2) * 80 == 34_497
    assert count_parameters(specified_model(EPNet, 101))[1] == 34_497
    of_gate = (10 + 2 * 80) * 80 + 80  # the last by gamma
    assert multiplications(model) == DNN_MULTIPLICATIONS + of_gate
    assert multiplications(model) / DNN_MULTIPLICATIONS == pytest.approx(1.66, abs=0.01)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(EPNet) > dnn_auc() + 0.01
