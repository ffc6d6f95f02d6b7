"""Generated layers: by hand, and all ways of computing them against formed weights."""

import pytest
import torch

from recbole_midpg.layers import meta_unit
from recbole_midpg.layers.meta_unit import (
    MetaAttention,
    MetaLayer,
    MetaTower,
    MetaUnit,
    RowKnowledge,
    ScenarioKnowledge,
)
from recbole_midpg.layers.scenario_grouping import ScenarioGroups, ScenarioTiles


def drawn(module, seed=0):
    """The module in double precision with every parameter drawn."""
    torch.manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def formed(vectors, knowledge, layer):
    """Every row's whole weight and bias, then the product."""
    weights = torch.einsum("ijk,bk->bij", layer.weight_map, knowledge) + layer.weight_start
    biases = torch.einsum("jk,bk->bj", layer.bias_map, knowledge) + layer.bias_start
    return torch.einsum("bni,bij->bnj", vectors, weights) + biases.unsqueeze(1)


def assert_same(outputs, expected, leaves):
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-11)
    directions = torch.randn_like(outputs)
    found = torch.autograd.grad((outputs * directions).sum(), leaves)
    wanted = torch.autograd.grad((expected * directions).sum(), leaves)
    for gradient, expected_gradient in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-11)


@pytest.mark.parametrize("n_vectors", [1, 2, 5])
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_rows_are_mapped_by_their_own_weights(n_vectors, in_chunks, rows, monkeypatch):
    monkeypatch.setattr(meta_unit, "CACHED_WEIGHTS", 3 * 16)  # three rows a chunk
    layer = drawn(MetaLayer(4, 3))
    vectors, knowledge = normal(rows, n_vectors, 4), normal(rows, 3)
    outputs = RowKnowledge(knowledge, in_chunks).map(vectors, layer.generator())
    expected = formed(vectors, knowledge, layer)
    assert_same(outputs, expected, [vectors, knowledge, *layer.parameters()])


@pytest.mark.parametrize("n_vectors", [1, 3])
@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
def test_rows_of_a_scenario_share_its_weights(n_vectors, layout):
    layer = drawn(MetaLayer(4, 3))
    ids = torch.tensor([2, 0, 2, 2, 0, 2] + 30 * [1])
    vectors, knowledge = normal(36, n_vectors, 4), normal(3, 3)
    outputs = ScenarioKnowledge(knowledge, layout(ids, 3)).map(vectors, layer.generator())
    expected = formed(vectors, knowledge[ids], layer)
    assert_same(outputs, expected, [vectors, knowledge, *layer.parameters()])


@pytest.mark.parametrize("n_constant", [1, 2, 4])
def test_inputs_that_all_rows_share_become_a_part_of_the_bias(n_constant):
    layer = drawn(MetaLayer(5, 3))
    vectors, knowledge, constant = normal(6, 2, 5 - n_constant), normal(6, 3), normal(n_constant)
    generator = layer.generator().with_last_inputs(constant)
    assert generator.weight_start.shape == (5 - n_constant, 5)
    outputs = RowKnowledge(knowledge, in_chunks=False).map(vectors, generator)
    whole = torch.cat([vectors, constant.expand(6, 2, -1)], dim=2)
    expected = formed(whole, knowledge, layer)
    assert_same(outputs, expected, [vectors, knowledge, constant, *layer.parameters()])


def test_a_layer_by_hand():
    layer = MetaLayer(2, 1)
    with torch.no_grad():
        layer.weight_map.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).unsqueeze(2))
        layer.weight_start.copy_(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
        layer.bias_map.copy_(torch.tensor([[1.0], [0.0]]))
        layer.bias_start.copy_(torch.tensor([0.0, 5.0]))
    vectors, knowledge = torch.tensor([[[1.0, 10.0]]]), torch.tensor([[2.0]])
    # W = 2 [[1, 2], [3, 4]] + [[0, 0], [0, 1]], b = (2, 5)
    outputs = RowKnowledge(knowledge, in_chunks=False).map(vectors, layer.generator())
    assert outputs.tolist() == [[[2 + 60 + 2, 4 + 90 + 5]]]


def test_a_unit_ends_every_layer_in_a_leaky_relu():
    unit = MetaUnit(1, 1, n_layers=2).double()
    with torch.no_grad():
        for layer, weight in zip(unit.layers, (-1.0, 3.0), strict=True):
            layer.weight_map.zero_()
            layer.bias_map.zero_()
            layer.weight_start.fill_(weight)
    knowledge = RowKnowledge(torch.ones(2, 1).double(), in_chunks=False)
    outputs = unit(torch.tensor([[[2.0]], [[-2.0]]]).double(), knowledge)
    # -2 becomes -0.02, times 3, once more a hundredth; 2 times 3
    assert outputs.flatten().tolist() == pytest.approx([-0.0006, 6.0])


def test_attention_by_hand():
    attention = MetaAttention(1, 2, 1, n_layers=1)
    (layer,) = attention.unit.layers
    with torch.no_grad():
        layer.weight_map.zero_()
        layer.bias_map.zero_()
        layer.weight_start.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        attention.task.fill_(7.0)
        attention.score.weight.copy_(torch.tensor([[1.0, 1.0]]))
    experts = [torch.tensor([[0.0]]), torch.tensor([[torch.log(torch.tensor(3.0))]])]
    knowledge = RowKnowledge(torch.ones(1, 1), in_chunks=False)
    # Scores 0 + 7 and log 3 + 7
    torch.testing.assert_close(attention.weights(experts, knowledge), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(attention(experts, knowledge), 0.75 * experts[1])


def test_the_tower_adds_what_it_read():
    tower = drawn(MetaTower(3, 2, n_units=2, n_layers=1, dropout=0.0))
    knowledge = RowKnowledge(normal(4, 2), in_chunks=False)
    hidden = expected = normal(4, 3)
    for unit in tower.units:
        mapped = unit(expected.unsqueeze(1), knowledge).squeeze(1)
        expected = torch.nn.functional.leaky_relu(mapped + expected)
    torch.testing.assert_close(tower(hidden, knowledge), expected)
    assert MetaTower(3, 2, n_units=0, n_layers=1, dropout=0.5)(hidden, knowledge) is hidden


def test_dropout_follows_the_tower_s_layers():
    tower = drawn(MetaTower(50, 2, n_units=1, n_layers=1, dropout=0.5))
    knowledge = RowKnowledge(normal(4, 2), in_chunks=False)
    zeros = (tower(normal(4, 50), knowledge) == 0).double().mean()
    assert 0.3 < zeros < 0.7
    assert tower.eval()(normal(4, 50), knowledge).all()


def test_multiplications():
    # A weight of 6 x 6 for each of 4 vectors from 5 values; a bias of 6
    assert MetaUnit(6, 5, 1, n_vectors=4).multiply_adds() == 36 * (5 + 4) + 5 * 6
    # The second half of the first layer's inputs is constant
    two = MetaUnit(6, 5, 2, n_vectors=4, n_constant=3).multiply_adds()
    assert two == (18 + 36) * (5 + 4) + 2 * 5 * 6
    # One vector: products with 5 matrices and the start, summed by the 5 values
    assert MetaUnit(6, 5, 1).multiply_adds() == 36 * (5 + 1) + 5 * 6 + 5 * 6
    assert MetaAttention(3, 4, 5, 1).multiply_adds() == 4 * 3
