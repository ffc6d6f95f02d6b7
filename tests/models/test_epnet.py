"""EPNet: the formula, the gate's range and start, and where gradients stop."""

import pytest
import torch

from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.epnet import EPNet
from tests.reference.epnet import epnet_logits
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
    assert_same_values_and_gradients(model(batch), expected, model.parameters())


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
    assert_gates_read_a_copy(model, model.epnet)


def test_the_scenario_changes_how_the_other_embeddings_count():
    assert_gates_know_the_scenario(scrambled(toy_model(EPNet)).double())


@pytest.mark.parametrize("hidden_size", [0, 7])
def test_parameter_count(hidden_size):
    dataset = toy_dataset(6)
    model = toy_model(EPNet, dataset, gate_hidden_size=hidden_size)
    d_0, d_s, hidden = 16, 4, hidden_size or 16
    expected = count_parameters(toy_model(DNN, dataset))[1]
    expected += (d_s + d_0 + 1) * hidden + (hidden + 1) * d_0
    assert count_parameters(model)[1] == expected


def test_sizes_of_the_specification():
    model = full_size_model(EPNet, 11)
    assert count_parameters(model)[1] == DNN_PARAMETERS + (10 + 2 * 80 + 2) * 80 == 34_497
    assert count_parameters(full_size_model(EPNet, 101))[1] == 34_497
    of_gate = (10 + 2 * 80) * 80 + 80  # the last by gamma
    assert multiplications(model) == DNN_MULTIPLICATIONS + of_gate
    assert multiplications(model) / DNN_MULTIPLICATIONS == pytest.approx(1.66, abs=0.01)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(EPNet) > dnn_auc() + 0.01
