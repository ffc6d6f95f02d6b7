"""SharedBottom: the formula, the plain network in it, and what scenarios share."""

import copy
from itertools import pairwise

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.sharedbottom import SharedBottom
from tests.reference.mixtures import sharedbottom_logits
from tests.support.full_size import DNN_MULTIPLICATIONS, full_size_model, multiplications
from tests.support.gradients import assert_same_values_and_gradients
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model

DEPTHS = [0, 1, 2, 3]


@pytest.mark.parametrize("depth", DEPTHS)
def test_reference(depth):
    model = scrambled(toy_model(SharedBottom, bottom_layers=depth)).double()
    batch = toy_batch(12, scenarios=[1, 1, 2, 0, 1, 3])
    inputs, _ = model.embed(batch)
    expected = sharedbottom_logits(model, inputs, batch[SCENARIO])
    assert_same_values_and_gradients(model(batch), expected, model.parameters())


def copy_into_slot(plain, model, slot):
    """Give a scenario the weights of a plain network."""
    linears = list(plain.backbone.layers[::3])
    shared = list(model.bottom[::3])
    with torch.no_grad():
        for linear, layer in zip(linears, shared, strict=False):
            layer.weight.copy_(linear.weight)
            layer.bias.copy_(linear.bias)
        for linear, layer in zip(linears[len(shared) :], model.towers.layers, strict=True):
            layer.weight[slot] = linear.weight.T
            layer.bias[slot] = linear.bias


@pytest.mark.parametrize("depth", DEPTHS)
def test_with_equal_towers_it_is_the_plain_network(depth):
    plain = scrambled(toy_model(DNN)).double()
    model = scrambled(toy_model(SharedBottom, bottom_layers=depth)).double()
    model.token_embedding_table = plain.token_embedding_table
    for slot in range(model.n_scenarios):
        copy_into_slot(plain, model, slot)
    batch = toy_batch(20)
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)


def test_without_a_bottom_a_scenario_has_a_whole_network():
    plain = scrambled(toy_model(DNN)).double()
    model = scrambled(toy_model(SharedBottom, bottom_layers=0)).double()
    model.token_embedding_table = plain.token_embedding_table
    copy_into_slot(plain, model, 2)
    own = toy_batch(9, scenarios=[2])
    torch.testing.assert_close(model(own), plain(own), rtol=0, atol=1e-12)
    other = toy_batch(9, scenarios=[1])
    assert not torch.allclose(model(other), plain(other))


@pytest.mark.parametrize("depth", DEPTHS)
def test_towers_learn_from_their_own_rows_and_the_bottom_from_all(depth):
    model = scrambled(toy_model(SharedBottom, bottom_layers=depth, activation="tanh"))
    model.calculate_loss(toy_batch(30, scenarios=[2])).backward()
    for value in model.towers.parameters():
        assert not value.grad[[0, 1, 3]].any()
        assert value.grad[2].any()
    for slot in range(4):
        one = copy.deepcopy(model)
        one.zero_grad()
        one.calculate_loss(toy_batch(1, scenarios=[slot])).backward()
        assert all(value.grad.any() for value in one.bottom.parameters())


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameter_count(depth):
    model = toy_model(SharedBottom, toy_dataset(6), bottom_layers=depth)
    sizes = [model.input_size, 8, 6, 4, 1]
    of_layers = [(n + 1) * m for n, m in pairwise(sizes)]
    expected = sum(of_layers[:depth]) + 6 * sum(of_layers[depth:])
    assert count_parameters(model)[1] == expected


@pytest.mark.parametrize(("scenarios", "parameters"), [(11, 41_867), (101, 232_037)])
def test_size_and_cost_at_the_widths_of_the_comparison(scenarios, parameters):
    model = full_size_model(SharedBottom, scenarios)
    assert count_parameters(model)[1] == parameters
    assert multiplications(model) == DNN_MULTIPLICATIONS


def test_more_shared_layers_than_widths_are_refused():
    with pytest.raises(UsageError, match=r"bottom_layers: 4 layers .* at most 3"):
        toy_model(SharedBottom, bottom_layers=4)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(SharedBottom, bottom_layers=0) > 0.90 > dnn_auc()
