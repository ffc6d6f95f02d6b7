"""The estimators of mutual information, by hand, against loops, and at their edges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_midpg.layers.mutual_information import (
    MI_ESTIMATORS,
    SHUFFLE_ESTIMATORS,
    InfoNCELoss,
    PairDiscriminator,
    ShuffledPairsLoss,
    donsker_varadhan_loss,
    jensen_shannon_loss,
    kullback_leibler_loss,
    mutual_information_loss,
    standardized,
)
from tests.reference.mutual_information import infonce_loss, shuffled_pairs_loss

EXACT = {"rel": 0.0, "abs": 1e-10}
ESTIMATOR_AND_MASK = [(name, mask) for name in MI_ESTIMATORS for mask in (True, False)]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def sum_discriminator():
    """``T(s, w) = relu(s + w)``, of one number each."""
    discriminator = PairDiscriminator(1, 1, [1]).double()
    for parameter in discriminator.parameters():
        nn.init.constant_(parameter, 0.0 if parameter.ndim == 1 else 1.0)
    return discriminator


def random_discriminator(seed=0, scenario_size=3, matrix_size=4, scale=1.0):
    torch.manual_seed(seed)
    # tanh, so that finite differences meet no kink
    discriminator = PairDiscriminator(scenario_size, matrix_size, [5, 4], "tanh").double()
    with torch.no_grad():
        for parameter in discriminator.head.layers[-1].parameters():
            parameter.mul_(scale)
    return discriminator


def random_batch(ids, seed=0):
    """Embeddings that are the same within a scenario tuple, and matrices that are not."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(ids, dtype=torch.int64)
    ids = ids.view(len(ids), ids.shape[1] if ids.ndim == 2 else 1)
    tables = torch.randn(ids.shape[1], 5, 3, generator=generator, dtype=torch.float64)
    scenario = sum((tables[f][ids[:, f]] for f in range(ids.shape[1])), torch.zeros(()).double())
    matrices = torch.rand(len(ids), 4, generator=generator, dtype=torch.float64)
    return scenario.detach().requires_grad_(), matrices.requires_grad_(), ids


def loss_and_gradients(loss_module, scenario, matrices, ids):
    loss = loss_module(scenario, matrices, ids)
    leaves = [scenario, matrices, *loss_module.parameters()]
    return loss, torch.autograd.grad(loss, leaves, allow_unused=True)


# --- by hand ---------------------------------------------------------------------------------

ALL = torch.tensor([True, True])


def test_jensen_shannon_loss_by_hand():
    # sigmoid: 3/4 and 1/2 of matched pairs, 3/4 and 1/5 of shuffled ones
    positive = double([math.log(3), 0.0])
    negative = double([math.log(3), -math.log(4)])
    matched = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    both = matched - (math.log(1 - 3 / 4) + math.log(1 - 1 / 5)) / 2
    assert jensen_shannon_loss(positive, negative, ALL).item() == pytest.approx(both, **EXACT)
    second = matched - math.log(1 - 1 / 5)
    kept = torch.tensor([False, True])
    assert jensen_shannon_loss(positive, negative, kept).item() == pytest.approx(second, **EXACT)


def test_jensen_shannon_loss_of_a_discriminator_that_tells_nothing():
    zeros = torch.zeros(2, dtype=torch.float64)
    loss = jensen_shannon_loss(zeros, zeros, ALL).item()
    assert loss == pytest.approx(2 * math.log(2), **EXACT)


def test_kullback_leibler_loss_by_hand():
    positive = double([2.0, 3.0])
    negative = double([1 + math.log(2), 1 + math.log(5)])
    loss = kullback_leibler_loss(positive, negative, ALL).item()
    assert loss == pytest.approx((2 + 5) / 2 - 2.5, **EXACT)
    loss = kullback_leibler_loss(positive, negative, torch.tensor([False, True])).item()
    assert loss == pytest.approx(5 - 2.5, **EXACT)


def test_donsker_varadhan_loss_by_hand():
    positive = double([2.0, 3.0])
    negative = double([math.log(3), math.log(5)])
    loss = donsker_varadhan_loss(positive, negative, ALL).item()
    assert loss == pytest.approx(math.log((3 + 5) / 2) - 2.5, **EXACT)
    loss = donsker_varadhan_loss(positive, negative, torch.tensor([False, True])).item()
    assert loss == pytest.approx(math.log(5) - 2.5, **EXACT)


def test_shuffle_moves_the_scenario_and_leaves_the_matrices():
    # A shuffle in a circle: its inverse, or a shuffle of w, would make other pairs.
    scenario, matrices = double([[1.0], [2.0], [4.0]]), double([[10.0], [20.0], [40.0]])
    ids, shuffled = torch.tensor([[1], [2], [3]]), torch.tensor([1, 2, 0])
    loss = ShuffledPairsLoss(sum_discriminator(), "kl").loss_of(scenario, matrices, ids, shuffled)
    mismatched = [2 + 10, 4 + 20, 1 + 40]
    expected = sum(math.exp(t - 1) for t in mismatched) / 3 - (11 + 22 + 44) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_partner_of_the_same_scenario_is_left_out_or_kept():
    scenario, matrices = double([[1.0], [1.0], [2.0]]), double([[0.5], [0.25], [0.125]])
    ids, shuffled = torch.tensor([[7], [7], [8]]), torch.tensor([1, 2, 0])
    matched = (1.5 + 1.25 + 2.125) / 3
    pairs = [1 + 0.5, 2 + 0.25, 1 + 0.125]  # the first is of the same scenario

    masked = ShuffledPairsLoss(sum_discriminator(), "dv", True)
    expected = math.log((math.exp(pairs[1]) + math.exp(pairs[2])) / 2) - matched
    loss = masked.loss_of(scenario, matrices, ids, shuffled).item()
    assert loss == pytest.approx(expected, **EXACT)

    unmasked = ShuffledPairsLoss(sum_discriminator(), "dv", False)
    expected = math.log(sum(math.exp(t) for t in pairs) / 3) - matched
    loss = unmasked.loss_of(scenario, matrices, ids, shuffled).item()
    assert loss == pytest.approx(expected, **EXACT)


def test_scenario_tuples_that_differ_in_one_field_are_different_scenarios():
    scenario, matrices = double([[1.0], [2.0]]), double([[0.5], [0.25]])
    swap = torch.tensor([1, 0])
    loss = ShuffledPairsLoss(sum_discriminator(), "kl")
    differs = loss.loss_of(scenario, matrices, torch.tensor([[1, 1], [1, 2]]), swap).item()
    expected = (math.exp(2.5 - 1) + math.exp(1.25 - 1)) / 2 - (1.5 + 2.25) / 2
    assert differs == pytest.approx(expected, **EXACT)
    same = loss.loss_of(scenario, matrices, torch.tensor([[1, 1], [1, 1]]), swap).item()
    assert same == 0.0


def test_infonce_loss_by_hand():
    scenario, matrices = double([[1.0], [1.0], [2.0]]), double([[0.5], [0.25], [0.125]])
    ids = torch.tensor([[7], [7], [8]])
    # Row i is scored with every s: (1, 1, 2) + w_i.
    sums = [
        (math.exp(1.5), math.exp(1.5), math.exp(2.5)),
        (math.exp(1.25), math.exp(1.25), math.exp(2.25)),
        (math.exp(1.125), math.exp(1.125), math.exp(2.125)),
    ]
    own = (1.5 + 1.25 + 2.125) / 3
    unmasked = sum(math.log(sum(row)) for row in sums) / 3 - own
    loss = InfoNCELoss(sum_discriminator(), False)(scenario, matrices, ids).item()
    assert loss == pytest.approx(unmasked, **EXACT)

    # Rows 0 and 1 leave each other out; row 2 keeps both as negatives.
    kept = [sums[0][1:], sums[1][1:], sums[2]]
    masked = sum(math.log(sum(row)) for row in kept) / 3 - own
    loss = InfoNCELoss(sum_discriminator(), True)(scenario, matrices, ids).item()
    assert loss == pytest.approx(masked, **EXACT)


def test_discriminator_is_one_network_on_both_inputs():
    discriminator = random_discriminator()
    scenario, matrices, _ = random_batch([0, 1, 2])
    first = torch.cat([discriminator.scenario_map.weight, discriminator.matrix_map.weight], dim=1)
    joined = torch.cat([scenario, matrices], dim=1)
    hidden = torch.tanh(joined @ first.T + discriminator.scenario_map.bias)
    expected = discriminator.head(hidden)[:, 0]
    torch.testing.assert_close(discriminator(scenario, matrices), expected, rtol=0, atol=1e-10)


# --- against the loops -----------------------------------------------------------------------


@st.composite
def scenario_tuples(draw):
    """Two fields of three tokens each: repeated tuples, and tuples that share one field."""
    token = st.integers(0, 2)
    return draw(st.lists(st.tuples(token, token), min_size=1, max_size=9))


@pytest.mark.parametrize(("estimator", "mask"), ESTIMATOR_AND_MASK)
@settings(max_examples=40, deadline=None)
@given(ids=scenario_tuples(), seed=st.integers(0, 999), data=st.data())
def test_loss_equals_the_loops(estimator, mask, ids, seed, data):
    scenario, matrices, ids = random_batch(ids, seed)
    discriminator = random_discriminator(seed)
    loss_module = mutual_information_loss(discriminator, estimator, mask)
    if estimator == "infonce":
        loss = loss_module(scenario, matrices, ids)
        expected = infonce_loss(discriminator, scenario, matrices, ids, mask)
    else:
        shuffled = data.draw(st.permutations(range(len(ids))))
        loss = loss_module.loss_of(scenario, matrices, ids, torch.tensor(shuffled))
        expected = shuffled_pairs_loss(
            discriminator, estimator, scenario, matrices, ids, shuffled, mask
        )
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("estimator", SHUFFLE_ESTIMATORS)
def test_forward_shuffles_by_torch_s_own_random_numbers(estimator):
    scenario, matrices, ids = random_batch([0, 1, 2, 0, 1, 2, 3])
    loss_module = ShuffledPairsLoss(random_discriminator(), estimator)
    torch.manual_seed(5)
    shuffled = torch.randperm(7)
    expected = loss_module.loss_of(scenario, matrices, ids, shuffled)
    torch.manual_seed(5)
    assert torch.equal(loss_module(scenario, matrices, ids), expected)
    assert len({loss_module(scenario, matrices, ids).item() for _ in range(10)}) > 1


@pytest.mark.parametrize("mask", [True, False])
def test_infonce_gradients_equal_those_of_all_pairs(mask):
    ids = torch.tensor([0, 1, 0, 2, 1, 0])
    table = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    _, matrices, _ = random_batch([0] * 6)
    discriminator = random_discriminator()
    leaves = [table, matrices, *discriminator.parameters()]
    loss = InfoNCELoss(discriminator, mask)(table[ids], matrices, ids.view(-1, 1))

    pairs = [discriminator(table[ids[j]].expand(6, -1), matrices) for j in range(6)]
    scores = torch.stack(pairs, dim=1)  # [i, j]: the scenario of j with the matrices of i
    other = ids.view(-1, 1) != ids
    kept = other | torch.eye(6, dtype=torch.bool) if mask else torch.ones_like(other)
    expected = (scores.masked_fill(~kept, -math.inf).logsumexp(1) - scores.diagonal()).mean()

    assert loss.item() == pytest.approx(expected.item(), **EXACT)
    for gradient, expected_gradient in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("estimator", "mask"), ESTIMATOR_AND_MASK)
def test_loss_gradcheck(estimator, mask):
    # In the table of embeddings, not in s: rows of one scenario always have the same s.
    ids = torch.tensor([0, 1, 0, 2, 1])
    table = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    _, matrices, _ = random_batch([0] * 5)
    loss_module = mutual_information_loss(random_discriminator(), estimator, mask)
    shuffled = torch.tensor([2, 0, 4, 1, 3])

    def loss(table, matrices, *_):
        arguments = (table[ids], matrices, ids.view(-1, 1))
        if estimator == "infonce":
            return loss_module(*arguments)
        return loss_module.loss_of(*arguments, shuffled)

    assert torch.autograd.gradcheck(loss, (table, matrices, *loss_module.parameters()))


# --- edges -----------------------------------------------------------------------------------

ONE_SCENARIO = {"no row": [], "one row": [2], "one scenario": [1, 1, 1, 1]}


@pytest.mark.parametrize("scale", [1.0, 1e5], ids=["usual scores", "huge scores"])
@pytest.mark.parametrize("ids", ONE_SCENARIO.values(), ids=ONE_SCENARIO)
@pytest.mark.parametrize(("estimator", "mask"), ESTIMATOR_AND_MASK)
def test_one_scenario_only_contributes_exactly_nothing(estimator, mask, ids, scale):
    scenario, matrices, ids = random_batch(ids)
    loss_module = mutual_information_loss(random_discriminator(scale=scale), estimator, mask)
    loss, gradients = loss_and_gradients(loss_module, scenario, matrices, ids)
    assert loss.item() == 0.0
    for gradient in gradients:
        assert gradient is None or gradient.eq(0).all()


@pytest.mark.parametrize("scale", [1.0, 1e5], ids=["usual scores", "huge scores"])
@pytest.mark.parametrize("estimator", SHUFFLE_ESTIMATORS)
def test_shuffle_that_leaves_no_negative_contributes_exactly_nothing(estimator, scale):
    scenario, matrices, ids = random_batch([0, 1, 0, 1])
    loss_module = ShuffledPairsLoss(random_discriminator(scale=scale), estimator)
    shuffled = torch.tensor([2, 3, 0, 1])  # each row meets another of its own scenario
    loss = loss_module.loss_of(scenario, matrices, ids, shuffled)
    assert loss.item() == 0.0
    leaves = [scenario, matrices, *loss_module.parameters()]
    for gradient in torch.autograd.grad(loss, leaves):
        assert gradient.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("estimator", ["jsd", "dv", "infonce"])
def test_huge_scores_give_no_infinity(estimator, mask, dtype):
    scenario, matrices, ids = random_batch([0, 1, 0, 2, 1, 0])
    loss_module = mutual_information_loss(random_discriminator(scale=1e6), estimator, mask)
    loss_module = loss_module.to(dtype)
    scenario, matrices = (x.detach().to(dtype).requires_grad_() for x in (scenario, matrices))
    assert loss_module.discriminator(scenario, matrices).abs().max() > 1e5
    loss, gradients = loss_and_gradients(loss_module, scenario, matrices, ids)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("huge", [1e3, -1e3])
@pytest.mark.parametrize("estimate", SHUFFLE_ESTIMATORS.values(), ids=SHUFFLE_ESTIMATORS)
def test_huge_score_of_a_masked_pair_changes_nothing(estimate, huge):
    positive = double([0.5, 0.25])
    kept = torch.tensor([True, False])
    losses = []
    for masked_score in (0.0, huge):
        negative = double([1.0, masked_score]).requires_grad_()
        loss = estimate(positive, negative, kept)
        loss.backward()
        assert torch.isfinite(negative.grad).all()
        assert negative.grad[1] == 0
        losses.append(loss.item())
    assert losses[0] == losses[1]


def test_each_estimator_has_its_loss():
    discriminator = random_discriminator()
    for name, function in SHUFFLE_ESTIMATORS.items():
        for mask in (True, False):
            loss_module = mutual_information_loss(discriminator, name, mask)
            assert isinstance(loss_module, ShuffledPairsLoss)
            assert loss_module.estimate is function
            assert loss_module.mask_same_scenario is mask
    assert isinstance(mutual_information_loss(discriminator, "infonce", True), InfoNCELoss)
    assert MI_ESTIMATORS == ("jsd", "kl", "dv", "infonce")


# --------------------------------------------------------------------------------------------------
# Standardized inputs


def test_standardized_columns_by_hand():
    values = double([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    deviation = math.sqrt((9 + 1 + 16) / 3)
    expected = double([[-3 / deviation, 0.0], [-1 / deviation, 0.0], [4 / deviation, 0.0]])
    torch.testing.assert_close(standardized(values), expected)
    assert standardized(values[:1]).tolist() == [[0.0, 0.0]]
    assert standardized(values[:0]).shape == (0, 2)


def test_the_gradient_of_standardized_columns_is_passed_unchanged():
    values = (1e-4 * double([[1.0, 2.0], [4.0, 3.0]])).requires_grad_()
    upstream = double([[0.5, -1.0], [2.0, 3.0]])
    (standardized(values) * upstream).sum().backward()
    assert torch.equal(values.grad, upstream)


@pytest.mark.parametrize("estimator", ["jsd", "infonce"])
def test_small_inputs_are_told_apart_where_they_are_standardized(estimator):
    """Embeddings of the scale that a table of a million rows starts with."""

    def loss_after_training(standardize):
        torch.manual_seed(3)
        ids = torch.randint(4, (256, 1))
        scenario = 1e-3 * torch.randn(4, 8)[ids[:, 0]]
        matrices = 0.5 + scenario @ torch.randn(8, 32) + 1e-4 * torch.randn(256, 32)
        discriminator = PairDiscriminator(8, 32, [16], standardize=standardize)
        loss = mutual_information_loss(discriminator, estimator, True)
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.003)
        for _ in range(150):
            optimizer.zero_grad()
            value = loss(scenario, matrices, ids)
            value.backward()
            optimizer.step()
        return value.item()

    knows_nothing = 2 * math.log(2) if estimator == "jsd" else math.log(256 * 3 / 4)
    assert loss_after_training(standardize=False) > 0.9 * knows_nothing
    assert loss_after_training(standardize=True) < 0.3 * knows_nothing


def test_shuffled_pairs_of_a_standardized_discriminator_match_its_own_scores():
    torch.manual_seed(0)
    discriminator = PairDiscriminator(3, 4, [5], standardize=True).double()
    scenario, matrices, ids = random_batch([0, 1, 2, 1])
    shuffled = torch.tensor([1, 2, 3, 0])
    loss = ShuffledPairsLoss(discriminator, "jsd").loss_of(scenario, matrices, ids, shuffled)
    positive = discriminator(scenario, matrices)
    # The shuffle of all rows leaves mean and deviation as they are.
    negative = discriminator(scenario[shuffled], matrices)
    kept = ids[:, 0] != ids[shuffled, 0]
    torch.testing.assert_close(loss, jensen_shannon_loss(positive, negative, kept))


def test_infonce_standardizes_scenarios_over_the_rows_of_the_batch():
    """A scenario counts as often as it occurs, as in the other estimators."""
    discriminator = random_discriminator()
    scenario, matrices, ids = random_batch([0, 0, 0, 1, 2, 0, 0, 1])
    expected = infonce_loss(
        discriminator, standardized(scenario), standardized(matrices), ids, True
    )
    discriminator.standardize = True
    found = InfoNCELoss(discriminator, True)(scenario, matrices, ids).item()
    assert found == pytest.approx(expected, **EXACT)
