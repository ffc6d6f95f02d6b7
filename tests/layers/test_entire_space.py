"""The entropy of a product of probabilities, beside float64 and in its limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.layers.entire_space import joint_cross_entropy

logits = st.floats(-30, 30)


def test_values_by_hand():
    # sigma(0) = 1/2 for both: p = 1/4.
    zero = torch.zeros(2)
    loss = joint_cross_entropy(zero, zero, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(-(math.log(1 / 4) + math.log(3 / 4)) / 2)


@given(a=logits, b=logits, y=st.sampled_from([0.0, 1.0]))
def test_equals_the_formula_in_float64(a, b, y):
    first, second = 1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))
    others = 1 / (1 + math.exp(a)) + first / (1 + math.exp(b))  # 1 - p without cancellation
    expected = -(y * math.log(first * second) + (1 - y) * math.log(others))
    given_loss = joint_cross_entropy(*(torch.tensor([x]) for x in (a, b, y)))
    assert given_loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_extreme_logits_have_finite_losses_and_gradients():
    first = torch.tensor([200.0, -200, 200, -200], requires_grad=True)
    second = torch.tensor([200.0, 200, -200, -200], requires_grad=True)
    for labels in (torch.zeros(4), torch.ones(4)):
        joint_cross_entropy(first, second, labels).backward()
        assert torch.isfinite(first.grad).all() and torch.isfinite(second.grad).all()


def test_an_empty_batch_has_no_loss():
    assert joint_cross_entropy(*[torch.zeros(0)] * 3).item() == 0.0
