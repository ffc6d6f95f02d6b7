"""SARNet: the formulas, where scenarios are kept apart, and what they share."""

import copy

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.sarnet import SARNet
from tests.reference.sarnet import sarnet_logits
from tests.support.full_size import (
    DNN_MULTIPLICATIONS,
    full_size_model,
    multiplications,
)
from tests.support.gradients import assert_same_values_and_gradients
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.one_scenario import assert_step_leaves_the_others
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model

MIXED = [1, 1, 2, 0, 1, 3]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shared_experts": 2, "specific_experts": 2, "expert_layers": 1},
        {"shared_experts": 0, "specific_experts": 2},
        {"shared_experts": 2, "specific_experts": 0},
        {"expert_layers": 3},
        {"expert_batch_norm": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("fixed", [True, False])
def test_reference(settings, training, fixed):
    model = scrambled(toy_model(SARNet, **settings)).double()
    model.use_fixed_shapes(fixed)
    model(toy_batch(20))  # moves running statistics
    model.train(training)
    batch = toy_batch(12, scenarios=MIXED)
    inputs, _ = model.embed(batch)
    expected = sarnet_logits(model, inputs, batch[SCENARIO], training)
    assert_same_values_and_gradients(model(batch), expected, model.parameters())


def dnn_of(model, network):
    """The plain network with an expert's layers and the model's top, on its embeddings."""
    plain = toy_model(DNN).double()
    plain.token_embedding_table = model.token_embedding_table
    theirs = [*network[::3], *model.top.layers[::3]]
    with torch.no_grad():
        for own, other in zip(plain.backbone.layers[::3], theirs, strict=True):
            own.load_state_dict(other.state_dict())
    return plain


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_one_shared_expert_starts_as_the_dnn(n_layers):
    model = toy_model(SARNet, shared_experts=1, specific_experts=0, expert_layers=n_layers).double()
    (network,) = model.experts.shared.networks
    batch = toy_batch(20, scenarios=MIXED)
    expected = dnn_of(model, network)(batch)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-12)


def test_experts_that_are_all_alike_are_one():
    """Gates sum to one."""
    model = toy_model(SARNet, specific_experts=2).double()
    with torch.no_grad():
        model.experts.gate.weight.normal_()
        model.experts.gate.bias.normal_()
        first, *others = model.experts.shared.networks
        for other in others:
            other.load_state_dict(first.state_dict())
        for specific in model.experts.specific:
            for layer, shared in zip(specific.layers, first[::3], strict=True):
                layer.weight.copy_(shared.weight.T.expand_as(layer.weight))
                layer.bias.copy_(shared.bias.expand_as(layer.bias))
    batch = toy_batch(20, scenarios=MIXED)
    torch.testing.assert_close(model(batch), dnn_of(model, first)(batch), rtol=0, atol=1e-12)


def test_experts_under_a_linear_top_are_scores_that_are_reweighed():
    model = scrambled(toy_model(SARNet, expert_layers=3, specific_experts=0)).double()
    batch = toy_batch(20, scenarios=MIXED)
    inputs, _ = model.embed(batch)
    hidden = model.transform(inputs, batch[SCENARIO])
    scores = torch.cat([model.top(expert) for expert in model.experts.shared(hidden)], dim=1)
    expected = (model.experts.gate(hidden).softmax(-1) * scores).sum(1)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["specific_scale", "specific_shift"])
def test_a_scenario_s_transform_changes_its_rows_only(name):
    model = scrambled(toy_model(SARNet)).double()
    batch = toy_batch(24, scenarios=MIXED)
    before = model(batch)
    with torch.no_grad():
        getattr(model.transform, name)[1] += 1
    changed = model(batch) != before
    assert torch.equal(changed, batch[SCENARIO] == 1)


def own_parameters(model):
    return [*model.transform.parameters(), *model.experts.specific.parameters()]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_step_on_one_scenario_leaves_the_others_own_parameters(optimizer, fixed):
    model = scrambled(toy_model(SARNet, specific_experts=2))
    model.use_fixed_shapes(fixed)
    own = own_parameters(model)
    assert_step_leaves_the_others(model, own, optimizer)
    assert all(value.grad[2].any() for value in own)


@pytest.mark.parametrize("scenario", [0, 1, 2, 3])
def test_experts_gate_and_top_that_are_shared_learn_from_every_scenario(scenario):
    model = scrambled(toy_model(SARNet))
    model.calculate_loss(toy_batch(40, scenarios=[scenario])).backward()
    shared = [model.experts.shared, model.experts.gate, model.top]
    assert all(value.grad.any() for part in shared for value in part.parameters())


def test_a_scenario_that_training_has_not_seen_is_not_transformed():
    model = toy_model(SARNet, specific_experts=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for seed in range(4):
        optimizer.zero_grad()
        model.calculate_loss(toy_batch(20, seed=seed, scenarios=[1, 2])).backward()
        optimizer.step()
    inputs, _ = model.embed(toy_batch(8, scenarios=[3, 0]))
    assert torch.equal(model.transform(inputs, torch.tensor([3, 0] * 4)), inputs)
    assert not torch.equal(model.transform(inputs, torch.tensor([1, 2] * 4)), inputs)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_for_a_variance_are_normalised_by_running_statistics(rows):
    model = scrambled(toy_model(SARNet, expert_batch_norm=True)).double()
    model(toy_batch(20))
    batch = toy_batch(rows)
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(model(batch), model.eval()(batch))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("n_shared", "n_specific", "normalised"), [(3, 1, False), (0, 2, False), (2, 0, True)]
)
def test_parameter_count(n_shared, n_specific, normalised):
    settings = {"shared_experts": n_shared, "specific_experts": n_specific}
    model = toy_model(SARNet, toy_dataset(6), expert_batch_norm=normalised, **settings)
    d_0, n = 16, 6
    expert = (d_0 + 1) * 8 + (8 + 1) * 6
    expected = 2 * n * d_0 + (n_shared + n * n_specific) * expert
    expected += (d_0 + 1) * (n_shared + n_specific) + (6 + 1) * 4 + (4 + 1)
    assert count_parameters(model)[1] == expected + 2 * d_0 * normalised


@pytest.mark.parametrize(("n_slots", "expected"), [(11, 264_933), (101, 1_955_493)])
def test_parameters_of_the_specification(n_slots, expected):
    formula = 2 * n_slots * 80 + (3 + n_slots) * (128 * 80 + 8384) + 81 * 4 + 2113
    assert count_parameters(full_size_model(SARNet, n_slots))[1] == formula == expected


@pytest.mark.parametrize("n_slots", [3, 101])
def test_multiplications_do_not_grow_with_the_scenarios(n_slots):
    found = multiplications(full_size_model(SARNet, n_slots))
    experts = 4 * (80 * 128 + 128 * 64)
    assert found == 80 + experts + 80 * 4 + 4 * 64 + 64 * 32 + 32
    assert found / DNN_MULTIPLICATIONS == pytest.approx(3.73, abs=0.01)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"expert_layers: 4 layers .* at most 3"):
        toy_model(SARNet, expert_layers=4)
    with pytest.raises(UsageError, match=r"shared_experts: 0, and specific_experts is 0 too"):
        toy_model(SARNet, shared_experts=0, specific_experts=0)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(SARNet) > dnn_auc() + 0.01
