"""M2M: the formulas, the condition that weights are generated from, and the models it becomes."""

import copy
from itertools import pairwise

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.flops import count_flops
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.m2m import M2M
from tests.reference.m2m import m2m_logits
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model

CONDITIONS = ["mix", "group"]


def known_of(model, inputs, fields):
    """The embeddings of some fields side by side."""
    of_fields = dict(zip(model.embedded_fields, inputs.split(4, dim=1), strict=True))
    return torch.cat([of_fields[field] for field in fields], dim=1)


def assert_same_gradients(model, logits, expected):
    """Both outputs send the same gradients to every parameter."""
    leaves = list(model.parameters())
    found = torch.autograd.grad(logits.square().sum(), leaves)
    wanted = torch.autograd.grad(expected.square().sum(), leaves)
    for gradient, expected_gradient in zip(found, wanted, strict=True):
        assert expected_gradient.any()
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("fixed_shapes", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"experts": 1},
        {"experts": 3, "meta_unit_layers": 2, "meta_tower_layers": 2, "scenario_view_size": 5},
    ],
    ids=str,
)
def test_reference(condition, fixed_shapes, settings):
    model = scrambled(toy_model(M2M, meta_condition=condition, **settings)).double()
    model.use_fixed_shapes(fixed_shapes)
    batch = toy_batch(11, scenarios=[1, 1, 2, 0, 1, 3])
    inputs, scenario = model.embed(batch)
    known = scenario
    if condition == "mix":
        known = known_of(model, inputs, [SCENARIO, "user_id", "item_id"])
    expected = m2m_logits(model, inputs, known)
    logits = model(batch)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    if settings.get("experts") != 1:  # attention to one expert has nothing to learn
        assert_same_gradients(model, logits, expected)


def test_several_scenario_fields():
    options = {"scenario_fields": [SCENARIO, "shop_id"], "meta_condition": "group"}
    model = scrambled(toy_model(M2M, **options)).double()
    batch = toy_batch(25)
    inputs, scenario = model.embed(batch)
    expected = m2m_logits(model, inputs, scenario)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def without_generation(model):
    """Make generated weights and biases zero for every scenario, and attention's constant."""
    with torch.no_grad():
        for layer in [*model.attention.unit.layers, *of_tower(model)]:
            layer.weight_map.zero_()
            layer.bias_map.zero_()
        for layer in of_tower(model):
            layer.weight_start.zero_()
    return model


def of_tower(model):
    return [layer for unit in model.tower.units for layer in unit.layers]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_one_expert_and_nothing_generated_is_the_dnn(condition):
    """The experts' relu leaves nothing below zero, where the tower's leaky relu would act."""
    model = toy_model(M2M, experts=1, meta_condition=condition, meta_tower_layers=2).double()
    without_generation(model)
    plain = toy_model(DNN).double()
    plain.token_embedding_table = model.token_embedding_table
    with torch.no_grad():
        owns = [*model.experts.networks[0][::3], model.output]
        for own, other in zip(owns, plain.backbone.layers[::3], strict=True):
            other.weight.copy_(own.weight)
            other.bias.copy_(own.bias)
    batch = toy_batch(20, scenarios=[0, 1, 2, 3])
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)


def test_group_is_a_mix_that_reads_the_scenario_alone():
    group = scrambled(toy_model(M2M, meta_condition="group")).double()
    mix = toy_model(M2M).double()
    state = copy.deepcopy(group.state_dict())
    of_scenario = state["scenario_view.weight"]
    state["scenario_view.weight"] = torch.cat([of_scenario, torch.zeros(16, 8)], dim=1)
    mix.load_state_dict(state)
    batch = toy_batch(30, scenarios=[0, 1, 2, 3, 1])
    torch.testing.assert_close(group(batch), mix(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_order_of_experts_does_not_matter(condition):
    model = scrambled(toy_model(M2M, meta_condition=condition)).double()
    other = copy.deepcopy(model)
    other.experts.networks = torch.nn.ModuleList(
        other.experts.networks[place] for place in (2, 0, 3, 1)
    )
    batch = toy_batch(15)
    torch.testing.assert_close(model(batch), other(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_attention_sums_to_one(condition):
    model = scrambled(toy_model(M2M, meta_condition=condition)).double()
    batch = toy_batch(15)
    inputs, scenario = model.embed(batch)
    knowledge = model._knowledge(inputs, scenario, batch)
    weights = model.attention.weights(model.experts(inputs), knowledge)
    assert weights.shape == (15, 4)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(15, dtype=torch.float64))
    assert weights.std(dim=1).max() > 0.01


def test_experts_that_are_alike_are_mixed_to_one_of_them():
    model = scrambled(toy_model(M2M)).double()
    for network in model.experts.networks[1:]:
        network.load_state_dict(model.experts.networks[0].state_dict())
    batch = toy_batch(15)
    inputs, scenario = model.embed(batch)
    experts = model.experts(inputs)
    mixed = model.attention(experts, model._knowledge(inputs, scenario, batch))
    torch.testing.assert_close(mixed, experts[0], rtol=0, atol=1e-12)


def test_the_start():
    """What is generated is small beside attention's constant weights; the tower's are zero."""
    model = toy_model(M2M, embedding_size=16, mlp_hidden_size=[64, 64, 32])
    batch = toy_batch(50)
    inputs, scenario = model.embed(batch)
    knowledge = model._knowledge(inputs, scenario, batch).values
    (attention,) = model.attention.unit.layers
    (tower,) = of_tower(model)
    assert attention.weight_start.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.1)
    assert not tower.weight_start.any()
    for layer in (attention, tower):
        n_values = layer.weight_start.numel()
        assert layer.weight_map.std().item() == pytest.approx((2 / (n_values + 16)) ** 0.5, rel=0.1)
        assert not layer.bias_start.any()
        generated = layer.generator().weights(knowledge) - layer.weight_start
        assert 0 < generated.std() < 0.5 * (2 / 128) ** 0.5


@pytest.mark.parametrize("condition", CONDITIONS)
def test_only_its_own_scenario_s_embedding_learns_from_a_row(condition):
    model = scrambled(toy_model(M2M, meta_condition=condition))
    model.calculate_loss(toy_batch(20, scenarios=[2])).backward()
    of_scenarios = model.token_embedding_table.embedding.weight.grad[-4:]
    assert of_scenarios[2].any()
    assert not of_scenarios[[0, 1, 3]].any()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_generators_learn_from_every_scenario(condition):
    model = scrambled(toy_model(M2M, meta_condition=condition))
    for scenario in range(4):
        model.zero_grad()
        model.calculate_loss(toy_batch(20, scenarios=[scenario])).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.any(), name


def test_a_group_s_weights_do_not_follow_the_user():
    """Of two rows alike but for the user, only what the experts read differs."""
    batch = toy_batch(40)
    swapped = copy.deepcopy(batch)
    swapped.interaction["user_id"] = batch["user_id"].flip(0)
    for condition, follows in (("mix", True), ("group", False)):
        model = scrambled(toy_model(M2M, meta_condition=condition)).double()
        views = []
        for rows in (batch, swapped):
            inputs, scenario = model.embed(rows)
            views.append(model._knowledge(inputs, scenario, rows).values)
        assert torch.equal(*views) is not follows


def formula(n, d_0, hidden, d_q, c, k, j):
    v = hidden[-1]
    sizes = [d_0, *hidden]
    total = n * sum((i + 1) * o for i, o in pairwise(sizes))
    total += (d_q + 1) * c + k * (c + 1) * (4 * v**2 + 2 * v) + j * k * (c + 1) * (v**2 + v)
    return total + 4 * v + 1


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize(("n", "c", "k", "j"), [(4, 16, 1, 1), (2, 5, 2, 3), (1, 1, 1, 0)])
def test_parameter_count(condition, n, c, k, j):
    model = toy_model(
        M2M,
        experts=n,
        scenario_view_size=c,
        meta_unit_layers=k,
        meta_tower_layers=j,
        meta_condition=condition,
    )
    d_q = 4 if condition == "group" else 12
    assert count_parameters(model)[1] == formula(n, 16, [8, 6, 4], d_q, c, k, j)


def model_of_the_paper_s_size(condition="mix"):
    """Eight fields of ten values and widths 128-64-32."""
    fields = ["user_id", "item_id", *(f"field_{number}" for number in range(5))]
    dataset = toy_dataset(11, sizes=dict.fromkeys(fields, 5))
    sizes = {"embedding_size": 10, "mlp_hidden_size": [128, 64, 32]}
    return toy_model(M2M, dataset, meta_condition=condition, **sizes), dataset


def test_parameters_at_the_defaults():
    model, _ = model_of_the_paper_s_size()
    # With one other field beside the scenario's the count is 171,953; here user and item are two.
    assert count_parameters(model)[1] == 171_953 + 10 * 16


def counted(condition):
    model, dataset = model_of_the_paper_s_size(condition)
    row = toy_batch(1, dataset=dataset)

    class OneRow:
        def __getitem__(self, _):
            return row

    flops = count_flops(model, OneRow(), torch.device("cpu"), lambda _, rows: rows)
    return flops - model.input_size  # values read from embeddings


def test_multiplications():
    experts = 4 * (80 * 128 + 128 * 64 + 64 * 32)
    attention = 32 * 64 * (16 + 4) + 16 * 64 + 4 * 64 + 4 * 32
    tower = 32 * 32 * (16 + 1) + 2 * 16 * 32
    of_view = {"mix": 30 * 16, "group": 10 * 16}
    for condition in CONDITIONS:
        assert counted(condition) == experts + of_view[condition] + attention + tower + 32


@pytest.mark.parametrize(
    ("fields", "mixed"),
    [
        (["shop_id", "item_id"], ["item_id"]),
        (["shop_id", "category"], ["shop_id", "category"]),
        (["item_id", "user_id"], ["user_id", "item_id"]),
    ],
    ids=str,
)
def test_a_mix_follows_the_fields_that_are_embedded(fields, mixed):
    dataset = toy_dataset(sizes=dict.fromkeys(fields, 6))
    model = scrambled(toy_model(M2M, dataset)).double()
    batch = toy_batch(9, dataset=dataset)
    inputs, _ = model.embed(batch)
    known = known_of(model, inputs, [SCENARIO, *mixed])
    assert torch.equal(inputs.index_select(1, model.knowledge_columns), known)


def test_named_fields_make_the_mix():
    model = scrambled(toy_model(M2M, meta_mix_fields=["shop_id"])).double()
    batch = toy_batch(9)
    inputs, _ = model.embed(batch)
    expected = m2m_logits(model, inputs, known_of(model, inputs, [SCENARIO, "shop_id"]))
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def test_unknown_field_of_a_mix_is_refused():
    with pytest.raises(UsageError, match="meta_mix_fields: 'author' is not a field"):
        toy_model(M2M, meta_mix_fields=["author"])


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_it_learns_scenarios_that_oppose_each_other(condition):
    assert auc_after_training(M2M, meta_condition=condition) > 0.88 > dnn_auc()
