"""APG: the formulas, the rank, what is shared and what is generated."""

from itertools import pairwise

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.low_rank import LowRankLinear, rank_of_layer
from recbole_midpg.models.apg import APG
from recbole_midpg.models.base import count_parameters
from tests.reference.baselines import apg_logits
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model


@pytest.mark.parametrize("condition", ["group", "mix", "self"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"apg_inner_size": 0},
        {"apg_generate_bias": True, "apg_generator_hidden_size": [5]},
        {"apg_rank": 0.5, "apg_generate_bias": True},
    ],
    ids=str,
)
def test_reference(condition, settings):
    settings = {"apg_rank": 3, "apg_condition": condition, **settings}
    model = scrambled(toy_model(APG, **settings)).double()
    batch = toy_batch(15)
    inputs, scenario = model.embed(batch)
    conditions = {
        "group": scenario,
        "mix": torch.cat([scenario, inputs[:, :8]], dim=1),
        "self": None,
    }
    expected = apg_logits(model, inputs, conditions[condition])
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def test_a_layer_by_hand():
    layer = LowRankLinear(2, 2, rank=1, inner_size=2)
    with torch.no_grad():
        layer.input_factors[0].copy_(torch.eye(2))
        layer.input_factors[1].copy_(torch.tensor([[1.0], [2.0]]))
        layer.output_factors[0].copy_(torch.tensor([[1.0, -1.0]]))
        layer.output_factors[1].copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    # x A = 1 + 2 x 10 = 21, times S, times (3, -1), and the bias
    outputs = layer(torch.tensor([[1.0, 10.0], [1.0, 10.0]]), torch.tensor([[[1.0]], [[-2.0]]]))
    assert outputs.tolist() == [[63.5, -21.0], [-125.5, 42.0]]


def test_ranks_of_layers_by_hand():
    assert [rank_of_layer(0.25, *pair) for pair in pairwise([80, 128, 64, 32])] == [20, 16, 8]
    assert [rank_of_layer(0.25, 9, 16), rank_of_layer(0.25, 16, 9)] == [3, 3]  # rounded up
    assert rank_of_layer(0.01, 3, 5) == 1
    assert rank_of_layer(0.07, 100, 100) == 7  # 7.000000000000001 as a product of floats
    assert rank_of_layer(0.999, 8, 6) == 6
    assert rank_of_layer(5, 80, 128) == 5


def test_a_share_gives_each_layer_a_rank_of_its_own():
    model = scrambled(toy_model(APG, toy_dataset(6), apg_rank=0.5, apg_inner_size=10)).double()
    expected, sizes = 4 + 1, [16, 8, 6, 4]
    ranks = [4, 3, 2]  # half of 8, of 6 and of 4
    batch = toy_batch(7)
    for (fan_in, fan_out), rank, layer, matrices in zip(
        pairwise(sizes), ranks, model.backbone.layers, model.specific_matrices(batch), strict=True
    ):
        assert matrices.shape == (7, rank, rank)
        first, second = layer.merged()
        weights = first @ matrices @ second
        assert weights.shape == (7, fan_in, fan_out)
        assert torch.linalg.matrix_rank(weights, rtol=1e-9).tolist() == [rank] * 7
        assert layer.multiply_adds() == rank * fan_in + rank**2 + rank * fan_out
        expected += 10 * (fan_in + fan_out + 2 * rank) + fan_out + (4 + 1) * rank**2
    assert count_parameters(model)[1] == expected


def test_a_share_of_equal_widths_is_the_number():
    settings = {"mlp_hidden_size": [8, 8], "apg_condition": "mix"}
    model = scrambled(toy_model(APG, apg_rank=0.375, **settings)).double()
    other = toy_model(APG, apg_rank=3, **settings).double()
    other.load_state_dict(model.state_dict())
    batch = toy_batch(9)
    assert torch.equal(model(batch), other(batch))


@pytest.mark.parametrize("inner_size", [0, 5, 40])
def test_merged_and_unmerged_factors_agree(inner_size):
    torch.manual_seed(0)
    layer = LowRankLinear(7, 6, rank=3, inner_size=inner_size).double()
    inputs = torch.randn(4, 7, dtype=torch.float64)
    specific = torch.randn(4, 3, 3, dtype=torch.float64)
    hidden = inputs
    for factor in layer.input_factors:
        hidden = hidden @ factor
    hidden = torch.einsum("bk,bkl->bl", hidden, specific)
    for factor in layer.output_factors:
        hidden = hidden @ factor
    torch.testing.assert_close(layer(inputs, specific), hidden, rtol=0, atol=1e-12)
    first, second = layer.merged()
    whole = torch.einsum("bi,bij->bj", inputs, first @ specific @ second)
    torch.testing.assert_close(layer(inputs, specific), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_sample_s_weight_has_the_stated_rank(rank):
    model = scrambled(toy_model(APG, apg_rank=rank)).double()
    batch = toy_batch(6)
    for layer, matrices in zip(model.backbone.layers, model.specific_matrices(batch), strict=True):
        assert matrices.shape == (6, rank, rank)
        first, second = layer.merged()
        weights = first @ matrices @ second
        assert torch.linalg.matrix_rank(weights, rtol=1e-9).tolist() == [rank] * 6


def test_rows_of_a_scenario_share_their_matrices_group_wise():
    model = scrambled(toy_model(APG, apg_rank=2)).double()
    batch = toy_batch(12, scenarios=[1, 2, 3])
    for matrices in model.specific_matrices(batch):
        by_scenario = [matrices[batch[SCENARIO] == scenario] for scenario in (1, 2, 3)]
        for group in by_scenario:
            torch.testing.assert_close(group, group[:1].expand_as(group), rtol=0, atol=1e-14)
        assert not torch.allclose(by_scenario[0][0], by_scenario[1][0])


@pytest.mark.parametrize(
    "settings", [{}, {"apg_generator_hidden_size": [5]}, {"apg_rank": 0.5}], ids=str
)
def test_it_starts_near_the_static_low_rank_network(settings):
    model = toy_model(APG, **{"apg_rank": 3, "embedding_size": 8, **settings})
    for matrices in model.specific_matrices(toy_batch(50)):
        identity = torch.eye(matrices.shape[1]).expand_as(matrices)
        torch.testing.assert_close(matrices, identity, rtol=0, atol=0.15)


def test_with_generators_that_ignore_the_scenario_it_is_the_static_network():
    model = toy_model(APG, apg_rank=3).double()
    with torch.no_grad():
        for generator in model.backbone.generators:
            generator.layers[-1].weight.zero_()
    batch = toy_batch(9)
    hidden, _ = model.embed(batch)
    for layer in model.backbone.layers:
        first, second = layer.merged()
        hidden = torch.relu(hidden @ first @ second + layer.bias)
    expected = model.backbone.output(hidden).squeeze(-1)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-12)


def test_shared_factors_and_generators_learn_from_every_scenario():
    model = scrambled(toy_model(APG, apg_rank=3))
    for scenario in range(4):
        model.zero_grad()
        model.calculate_loss(toy_batch(20, scenarios=[scenario])).backward()
        for name, parameter in model.backbone.named_parameters():
            assert parameter.grad.any(), name


def test_only_its_own_scenario_s_embedding_learns_from_a_row():
    model = scrambled(toy_model(APG, apg_rank=3))
    model.calculate_loss(toy_batch(20, scenarios=[2])).backward()
    of_scenarios = model.token_embedding_table.embedding.weight.grad[-4:]
    assert of_scenarios[2].any()
    assert not of_scenarios[[0, 1, 3]].any()


@pytest.mark.parametrize("inner_size", [0, 10])
def test_parameter_count(inner_size):
    model = toy_model(APG, toy_dataset(6), apg_rank=3, apg_inner_size=inner_size)
    expected = 4 + 1
    for fan_in, fan_out in ((16, 8), (8, 6), (6, 4)):
        n_factors = inner_size * (fan_in + fan_out + 2 * 3) or 3 * (fan_in + fan_out)
        expected += n_factors + fan_out + (4 + 1) * 3**2
    assert count_parameters(model)[1] == expected
    assert model.backbone.layers[0].multiply_adds() == 3 * 16 + 3 * 3 + 3 * 8


def test_a_rank_above_a_width_is_refused():
    with pytest.raises(UsageError, match=r"apg_rank: 5 does not fit .* at most 4"):
        toy_model(APG, apg_rank=5)


@pytest.mark.parametrize("rank", [0, 0.0, 1.0, 1.5, "quarter", True])
def test_a_rank_that_is_neither_a_number_nor_a_share_is_refused(rank):
    allowed = "a whole number of at least 1, or a number greater than 0 and less than 1"
    with pytest.raises(UsageError, match=f"apg_rank: {rank!r} is not allowed, expected {allowed}"):
        toy_model(APG, apg_rank=rank)


@pytest.mark.parametrize(
    ("fields", "mixed"),
    [
        (["shop_id", "item_id"], ["item_id"]),
        (["user_id", "shop_id"], ["user_id"]),
        (["shop_id", "category"], ["shop_id", "category"]),
        (["item_id", "user_id"], ["user_id", "item_id"]),
    ],
    ids=str,
)
def test_a_mix_follows_the_fields_that_are_embedded(fields, mixed):
    dataset = toy_dataset(sizes=dict.fromkeys(fields, 6))
    model = scrambled(toy_model(APG, dataset, apg_rank=2, apg_condition="mix")).double()
    batch = toy_batch(15, dataset=dataset)
    inputs, scenario = model.embed(batch)
    of_fields = dict(zip(model.embedded_fields, inputs.split(4, dim=1), strict=True))
    condition = torch.cat([scenario, *(of_fields[field] for field in mixed)], dim=1)
    assert torch.equal(inputs.index_select(1, model.condition_columns), condition)
    expected = apg_logits(model, inputs, condition)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def test_a_mix_of_named_fields_that_are_not_embedded_is_refused():
    dataset = toy_dataset(sizes={"shop_id": 5, "item_id": 9})
    with pytest.raises(UsageError, match="apg_mix_fields: 'user_id' is not a field that the mod"):
        toy_model(APG, dataset, apg_rank=2, apg_condition="mix", apg_mix_fields=["user_id"])


def test_unknown_field_of_a_mix_is_refused():
    with pytest.raises(UsageError, match="apg_mix_fields: 'author' is not a field"):
        toy_model(APG, apg_rank=2, apg_condition="mix", apg_mix_fields=["author"])


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(APG, apg_rank=3) > 0.88 > dnn_auc()
