"""HMoE: the formula, MMoE in it, and what a row teaches the other scenarios: nothing."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers import label_mixture
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.hmoe import HMoE
from recbole_midpg.models.mmoe import MMoE
from tests.reference.mixtures import hmoe_logits, own_network, relation_weights
from tests.reference.mixtures import mixture as mixture_by_hand
from tests.support.expert_mixtures import mixture_parameters
from tests.support.full_size import DNN_MULTIPLICATIONS, full_size_model, multiplications
from tests.support.gradients import assert_same_values_and_gradients
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.one_scenario import assert_step_leaves_the_others
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model

SPACES = ["probability", "logit", "hidden"]
VARIANTS = [
    *({"label_mixture": space} for space in SPACES),
    {"experts": 1, "expert_layers": 3},
    {"expert_layers": 3, "label_mixture": "logit"},
    {"expert_layers": 1, "label_mixture": "hidden", "experts": 2},
    {"expert_gate_hidden_size": [5], "weight_hidden_size": [6]},
]


def own_only(model):
    """Let each row's relation weights be 1 at its own scenario."""

    def log_weights(inputs, groups):
        is_own = groups.scenario_ids.unsqueeze(1) == torch.arange(model.n_scenarios)
        return torch.zeros_like(is_own, dtype=inputs.dtype).masked_fill(~is_own, -torch.inf)

    model.label_mixture.log_weights = log_weights
    return model


def mmoe_with_the_same_weights(model, dataset=None, **settings):
    plain = toy_model(MMoE, dataset, **settings).double()
    weights = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("label_mixture.")
    }
    plain.load_state_dict(weights)
    return plain


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_reference(settings):
    model = scrambled(toy_model(HMoE, **settings)).double()
    batch = toy_batch(12, scenarios=[1, 1, 2, 0, 1, 3])
    inputs, _ = model.embed(batch)
    expected = hmoe_logits(model, inputs, batch[SCENARIO])
    assert_same_values_and_gradients(model(batch), expected, model.parameters())


@pytest.mark.parametrize("space", SPACES)
def test_with_relations_to_itself_only_it_is_mmoe(space):
    model = own_only(scrambled(toy_model(HMoE, label_mixture=space)).double())
    plain = mmoe_with_the_same_weights(model)
    batch = toy_batch(20, scenarios=[0, 1, 2, 3])
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)
    for one in (model, plain):
        one.calculate_loss(batch).backward()
    for name, value in plain.named_parameters():
        of_model = model.get_parameter(name).grad
        torch.testing.assert_close(of_model, value.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("space", SPACES)
def test_rows_of_the_only_scenario_have_no_other(space):
    dataset = toy_dataset(2)
    model = scrambled(toy_model(HMoE, dataset, label_mixture=space)).double()
    plain = mmoe_with_the_same_weights(model, dataset)
    batch = toy_batch(9, dataset=dataset, scenarios=[1])
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)
    # Rows of slot 0 are mixed with what slot 1 predicts.
    of_slot_0 = toy_batch(9, dataset=dataset, scenarios=[0])
    assert not torch.allclose(model(of_slot_0), plain(of_slot_0))


@pytest.mark.parametrize("space", ["probability", "logit"])
def test_with_equal_scenarios_relations_do_not_matter(space):
    model = scrambled(toy_model(HMoE, label_mixture=space)).double()
    with torch.no_grad():
        for value in (*model.mixture.gates.parameters(), *model.towers.parameters()):
            value.copy_(value[:1].expand_as(value))
    batch = toy_batch(20, scenarios=[0, 1, 2, 3])
    expected = mmoe_with_the_same_weights(model)(batch)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_on_one_scenario_leaves_what_the_others_have(settings, optimizer):
    model = scrambled(toy_model(HMoE, activation="tanh", dropout_prob=0.2, **settings))
    own = [
        *model.mixture.gates.parameters(),
        *model.towers.parameters(),
        *model.label_mixture.parameters(),
    ]
    assert_step_leaves_the_others(model, own, optimizer)
    learning = [*model.towers.parameters(), *model.label_mixture.parameters()]
    assert all(value.grad[2].any() for value in learning)
    assert all(value.grad.any() for value in model.mixture.experts.parameters())


def test_probabilities_are_mixed():
    model = scrambled(toy_model(HMoE)).double().eval()
    batch = toy_batch(12, scenarios=[1, 1, 2, 0, 1, 3])
    inputs, _ = model.embed(batch)
    for row, slot, probability in zip(
        inputs, batch[SCENARIO].tolist(), model.predict(batch), strict=True
    ):
        expected = sum(
            weight
            * torch.sigmoid(own_network(mixture_by_hand(row, model.mixture, j), model.towers, j))
            for j, weight in relation_weights(model, row, slot).items()
        )
        assert 0 < probability.item() < 1
        assert probability.item() == pytest.approx(expected.item(), abs=1e-12)


def test_slot_0_is_mixed_for_its_own_rows_only():
    model = scrambled(toy_model(HMoE))
    batch = toy_batch(20, scenarios=[0, 1, 2, 3])
    inputs, _ = model.embed(batch)
    groups = model.groups(batch[SCENARIO], model.n_scenarios)
    weights = model.label_mixture.log_weights(inputs, groups).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(20))
    of_slot_0 = batch[SCENARIO] == 0
    assert (weights[of_slot_0] > 0).all()
    assert not weights[~of_slot_0, 0].any()
    assert (weights[~of_slot_0, 1:] > 0).all()


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
@pytest.mark.parametrize("at_a_time", [1, 3])
def test_a_few_scenarios_at_a_time_are_as_all_at_once(settings, at_a_time, monkeypatch):
    model = scrambled(toy_model(HMoE, **settings)).double()
    batch = toy_batch(20, scenarios=[0, 1, 2, 3])
    at_once = model(batch)
    monkeypatch.setattr(label_mixture, "SCENARIOS_AT_A_TIME", at_a_time)
    assert_same_values_and_gradients(model(batch), at_once, model.parameters(), 1e-12)


def test_other_scenarios_are_dropped_out_in_training():
    model = scrambled(toy_model(HMoE, dropout_prob=0.5)).eval()
    inputs, _ = model.embed(toy_batch(40))
    given = inputs, model.mixture.experts(inputs), model.mixture.gates, model.towers
    ((_, whole),) = label_mixture.of_all_scenarios(*given)
    model.train()
    ((_, dropped),) = label_mixture.of_all_scenarios(*given)
    kept = dropped != 0
    assert 0.3 < kept[whole != 0].float().mean() < 0.7
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])


@pytest.mark.parametrize("biases", [[80, 80, 80, 80], [-80, -80, -80, -80], [9e4, -9e4, 80, 0]])
def test_large_logits_stay_finite(biases):
    model = scrambled(toy_model(HMoE))
    model.towers.layers[-1].bias.data = torch.tensor(biases, dtype=torch.float32).unsqueeze(1)
    batch = toy_batch(30, scenarios=[0, 1, 2, 3])
    if len(set(biases)) == 1:
        torch.testing.assert_close(
            model(batch), torch.full((30,), float(biases[0])), atol=9, rtol=0
        )
    model.calculate_loss(batch).backward()
    assert all(value.grad.isfinite().all() for value in model.parameters())
    scores = model.predict(batch)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_parameter_count(settings):
    model = toy_model(HMoE, toy_dataset(6), **settings)
    d_0 = model.input_size
    relations = d_0 * 6 + 6 + 6 * 6 if "weight_hidden_size" in settings else d_0 * 6
    expected = mixture_parameters(settings, d_0, 6) + 6 * relations
    assert count_parameters(model)[1] == expected


@pytest.mark.parametrize(
    ("scenarios", "parameters", "multiple"), [(11, 110_939, 5.06), (101, 1_136_309, 17.1)]
)
@pytest.mark.parametrize("space", SPACES)
def test_size_and_cost_at_the_widths_of_the_comparison(scenarios, parameters, multiple, space):
    model = full_size_model(HMoE, scenarios, label_mixture=space)
    assert count_parameters(model)[1] == parameters
    experts, column = 4 * (128 * 80 + 128 * 64), 4 * 80 + 4 * 64 + 64 * 32 + 32
    cost = multiplications(model)
    assert cost == experts + scenarios * (column + 80)
    assert cost / DNN_MULTIPLICATIONS == pytest.approx(multiple, abs=0.05)


def test_hidden_values_need_a_tower_with_a_hidden_layer():
    with pytest.raises(UsageError, match=r"expert_layers: 3 leave no hidden layer .* hidden"):
        toy_model(HMoE, expert_layers=3, label_mixture="hidden")
    with pytest.raises(UsageError, match=r"expert_layers: 4 layers .* at most 3"):
        toy_model(HMoE, expert_layers=4)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(HMoE, expert_layers=1) > 0.90 > dnn_auc()
