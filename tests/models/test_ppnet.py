"""PPNet: the formulas, what its gates read by default, and where gradients stop."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.pepnet import PEPNet
from recbole_midpg.models.ppnet import PPNet
from tests.reference.ppnet import ppnet_logits
from tests.support.comparison import (
    DNN_MULTIPLICATIONS,
    DNN_PARAMETERS,
    assert_equals_reference,
    multiplications,
    specified_model,
)
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ppnet_gate_input": False},
        {"gate_hidden_size": 3, "gate_gamma": 3.0},
        {"prior_fields": ["shop_id", "user_id"]},
        {"mlp_hidden_size": [5]},
    ],
    ids=str,
)
def test_reference(settings):
    model = scrambled(toy_model(PPNet, **settings)).double()
    batch = toy_batch(15, scenarios=[1, 0, 2, 1, 3])
    inputs, _ = model.embed(batch)
    assert_equals_reference(model, model(batch), ppnet_logits(model, inputs))


@pytest.mark.parametrize("gates_input", [True, False])
def test_with_gates_of_one_it_is_the_dnn(gates_input):
    model = scrambled(toy_model(PPNet, ppnet_gate_input=gates_input)).double()
    plain = toy_model(DNN).double()
    plain.token_embedding_table = model.token_embedding_table
    with torch.no_grad():
        for parameter in model.ppnet.outputs.parameters():
            parameter.zero_()
        for own, other in zip(plain.backbone.layers[::3], model.backbone.layers, strict=True):
            own.load_state_dict(other.state_dict())
    batch = toy_batch(20)
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gates_input", [True, False])
def test_it_is_pepnet_whose_embeddings_are_not_gated(gates_input):
    settings = {"ppnet_gate_input": gates_input, "prior_fields": ["item_id", SCENARIO]}
    whole = scrambled(toy_model(PEPNet, **settings)).double()
    model = toy_model(PPNet, **settings).double()
    with torch.no_grad():
        for parameter in whole.epnet.outputs.parameters():
            parameter.zero_()
    of_epnet = model.load_state_dict(whole.state_dict(), strict=False).unexpected_keys
    assert all(name.startswith("epnet.") for name in of_epnet)
    batch = toy_batch(20)
    torch.testing.assert_close(model(batch), whole(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["user_id", "shop_id", "item_id"], ["user_id", "item_id", SCENARIO]),
        (["shop_id", "item_id"], ["item_id", SCENARIO]),
        (["shop_id", "category"], ["shop_id", "category", SCENARIO]),
    ],
    ids=str,
)
def test_the_gates_read_the_ids_and_the_scenario_by_default(fields, expected):
    dataset = toy_dataset(sizes=dict.fromkeys(fields, 6))
    model = scrambled(toy_model(PPNet, dataset)).double()
    assert model.prior_fields == expected
    batch = toy_batch(15, dataset=dataset)
    inputs, _ = model.embed(batch)
    torch.testing.assert_close(model(batch), ppnet_logits(model, inputs), rtol=0, atol=1e-10)


def test_an_id_that_is_a_scenario_field_is_read_once():
    model = toy_model(PPNet, scenario_fields=["item_id", SCENARIO])
    assert model.prior_fields == ["user_id", "item_id", SCENARIO]


def test_unknown_prior_field_is_refused():
    with pytest.raises(UsageError, match="prior_fields: 'author' is not a field"):
        toy_model(PPNet, prior_fields=["author"])


def test_the_gates_reach_embeddings_only_by_the_prior_fields():
    model = scrambled(toy_model(PPNet))
    inputs, _ = model.embed(toy_batch(30))
    gates = model.ppnet(model.prior_of(inputs), inputs)
    table = model.token_embedding_table.embedding.weight
    (gradient,) = torch.autograd.grad(sum(gate.sum() for gate in gates), table)
    reached = [bool(part.any()) for part in gradient.split([12, 9, 5, 4])]
    assert reached == [True, True, False, True]


def test_embeddings_learn_as_if_the_gates_had_read_a_copy():
    model = scrambled(toy_model(PPNet)).double()
    batch = toy_batch(30)
    table = model.token_embedding_table.embedding.weight
    (gradient,) = torch.autograd.grad(model.calculate_loss(batch), table)
    inputs, _ = model.embed(batch)
    copy = inputs.detach().clone()
    model.ppnet.register_forward_pre_hook(lambda _module, given: (given[0], copy))
    (as_constant,) = torch.autograd.grad(model.calculate_loss(batch), table)
    torch.testing.assert_close(gradient, as_constant, rtol=0, atol=1e-14)


def test_the_scenario_decides_beyond_its_part_of_the_first_layer():
    model = scrambled(toy_model(PPNet)).double()
    with torch.no_grad():
        model.backbone.layers[0].weight[:, -model.scenario_size :] = 0
    one, other = toy_batch(20, scenarios=[1]), toy_batch(20, scenarios=[2])
    assert one["user_id"].equal(other["user_id"])
    assert ((model(one) - model(other)).abs() > 1e-6).all()


@pytest.mark.parametrize("hidden_size", [0, 7])
@pytest.mark.parametrize("gates_input", [True, False])
def test_parameter_count(hidden_size, gates_input):
    dataset = toy_dataset(6)
    model = toy_model(PPNet, dataset, gate_hidden_size=hidden_size, ppnet_gate_input=gates_input)
    d_0, prior = 16, 12
    expected = count_parameters(toy_model(DNN, dataset))[1]
    for width in [d_0, 8, 6, 4][0 if gates_input else 1 :]:
        hidden = hidden_size or width
        expected += (prior + d_0 + 1) * hidden + (hidden + 1) * width
    assert count_parameters(model)[1] == expected


def test_sizes_of_the_specification():
    model = specified_model(PPNet, 11)
    widths = [80, 128, 64, 32]
    units = sum((30 + 80 + 1) * width + (width + 1) * width for width in widths)
    assert count_parameters(model)[1] == DNN_PARAMETERS + units == 82_689
    assert count_parameters(specified_model(PPNet, 101))[1] == 82_689
    of_gates = sum((30 + 80) * width + width * width + width for width in widths)
    assert multiplications(model) == DNN_MULTIPLICATIONS + of_gates
    assert multiplications(model) / DNN_MULTIPLICATIONS == pytest.approx(3.99, abs=0.02)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(PPNet) > dnn_auc() + 0.01
