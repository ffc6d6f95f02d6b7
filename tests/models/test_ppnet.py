"""PPNet: the formulas, what its gates read by default, and where gradients stop."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.ppnet import PPNet
from tests.reference.ppnet import ppnet_logits
from tests.support.full_size import (
    DNN_MULTIPLICATIONS,
    DNN_PARAMETERS,
    full_size_model,
    multiplications,
)
from tests.support.gates import assert_gates_know_the_scenario, assert_gates_read_a_copy
from tests.support.gradients import assert_same_values_and_gradients
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
    expected = ppnet_logits(model, inputs)
    assert_same_values_and_gradients(model(batch), expected, model.parameters())


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
    assert_gates_read_a_copy(model, model.ppnet)


def test_the_scenario_decides_beyond_its_part_of_the_first_layer():
    assert_gates_know_the_scenario(scrambled(toy_model(PPNet)).double())


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
    model = full_size_model(PPNet, 11)
    widths = [80, 128, 64, 32]
    units = sum((30 + 80 + 1) * width + (width + 1) * width for width in widths)
    assert count_parameters(model)[1] == DNN_PARAMETERS + units == 82_689
    assert count_parameters(full_size_model(PPNet, 101))[1] == 82_689
    of_gates = sum((30 + 80) * width + width * width + width for width in widths)
    assert multiplications(model) == DNN_MULTIPLICATIONS + of_gates
    assert multiplications(model) / DNN_MULTIPLICATIONS == pytest.approx(3.99, abs=0.02)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(PPNet) > dnn_auc() + 0.01
