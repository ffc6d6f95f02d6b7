"""The multi-layer perceptron and the small functions beside it."""

import math

import pytest
import torch
from torch import nn

from recbole_midpg.layers.mlp import (
    ACTIVATIONS,
    MLP,
    binary_cross_entropy,
    concatenate,
    masked_mean,
    mean_or_zero,
)


def test_mlp_equals_values_worked_out_by_hand():
    mlp = MLP(2, [2], 1).double()
    hidden, output = mlp.layers[0], mlp.layers[-1]
    with torch.no_grad():
        hidden.weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 1.0]]))
        hidden.bias.copy_(torch.tensor([0.5, -4.0]))
        output.weight.copy_(torch.tensor([[3.0, 7.0]]))
        output.bias.copy_(torch.tensor([-1.0]))
    # hidden: relu(1*2 + 2*1 + 0.5, -1*2 + 1*1 - 4) = (4.5, 0); output: 3 * 4.5 - 1
    result = mlp(torch.tensor([[2.0, 1.0]], dtype=torch.float64))
    assert result.tolist() == [[12.5]]


def test_mlp_without_hidden_layers_is_one_linear_map():
    mlp = MLP(3, [], 2)
    assert [type(layer) for layer in mlp.layers] == [nn.Linear]
    inputs = torch.randn(4, 3)
    expected = inputs @ mlp.layers[0].weight.T + mlp.layers[0].bias
    torch.testing.assert_close(mlp(inputs), expected)


def test_mlp_has_no_activation_after_its_last_layer():
    mlp = MLP(1, [1], 1, activation="sigmoid")
    nn.init.constant_(mlp.layers[-1].weight, -5.0)
    assert mlp(torch.ones(1, 1)).item() < 0


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_each_activation_stands_between_the_layers(name):
    mlp = MLP(2, [3], 1, activation=name)
    inputs = torch.randn(5, 2)
    function = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    expected = mlp.layers[-1](function(mlp.layers[0](inputs)))
    torch.testing.assert_close(mlp(inputs), expected)


def test_dropout_acts_in_training_only_and_on_hidden_values_only():
    torch.manual_seed(0)
    mlp = MLP(4, [64], 1, dropout=0.5)
    inputs = torch.ones(1, 4)
    assert not torch.equal(mlp(inputs), mlp(inputs))
    mlp.eval()
    assert torch.equal(mlp(inputs), mlp(inputs))

    without_hidden = MLP(4, [], 1, dropout=0.5)
    assert torch.equal(without_hidden(inputs), without_hidden(inputs))


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (2, 3), ()])
def test_mlp_keeps_leading_dimensions(shape):
    assert MLP(4, [5, 6], 2)(torch.randn(*shape, 4)).shape == (*shape, 2)


def test_mean_or_zero():
    assert mean_or_zero(torch.tensor([1.0, 2.0, 6.0])).item() == 3.0
    empty = torch.empty(0, requires_grad=True)
    mean = mean_or_zero(empty)
    mean.backward()
    assert mean.item() == 0.0


def test_masked_mean_counts_only_what_is_kept():
    values = torch.tensor([1.0, 2.0, 6.0])
    assert masked_mean(values, torch.tensor([True, False, True])).item() == 3.5
    assert masked_mean(values, torch.tensor([False, False, False])).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_means_of_more_values_than_the_smaller_types_can_count(dtype):
    ones = torch.ones(70_000, dtype=dtype)  # the largest float16 is 65,504
    assert mean_or_zero(ones).item() == 1.0
    assert masked_mean(ones, torch.arange(70_000) > 0).item() == 1.0


def test_binary_cross_entropy_equals_values_worked_out_by_hand():
    # sigmoid(log 3) = 3/4, sigmoid(-log 4) = 1/5
    logits = torch.tensor([math.log(3), -math.log(4)], dtype=torch.float64)
    labels = torch.tensor([1.0, 0.0])
    expected = -(math.log(3 / 4) + math.log(4 / 5)) / 2
    assert binary_cross_entropy(logits, labels).item() == pytest.approx(expected, abs=1e-10)
    swapped = -(math.log(1 / 4) + math.log(1 / 5)) / 2
    assert binary_cross_entropy(logits, 1 - labels).item() == pytest.approx(swapped, abs=1e-10)


def test_binary_cross_entropy_takes_whole_number_and_soft_labels():
    logits = torch.tensor([0.0, 0.0])
    assert binary_cross_entropy(logits, torch.tensor([1, 0])).item() == pytest.approx(math.log(2))
    soft = binary_cross_entropy(torch.tensor([math.log(3)]), torch.tensor([0.5]))
    assert soft.item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)


def test_binary_cross_entropy_of_no_rows_is_zero_and_of_large_logits_is_finite():
    empty = torch.empty(0, requires_grad=True)
    loss = binary_cross_entropy(empty, torch.empty(0))
    loss.backward()
    assert loss.item() == 0.0

    logits = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = binary_cross_entropy(logits, torch.tensor([0.0, 1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert logits.grad.tolist() == [0.5, -0.5]


def test_binary_cross_entropy_gradient():
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    assert torch.autograd.gradcheck(lambda z: binary_cross_entropy(z, labels), logits)


def test_concatenate_joins_the_last_axis_in_order():
    assert concatenate(torch.ones(2, 1), torch.zeros(2, 2)).tolist() == [[1, 0, 0], [1, 0, 0]]
