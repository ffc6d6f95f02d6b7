"""DPG: the backbone with generated weighting matrices."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.weighting import WEIGHTINGS
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dpg import DPG
from tests.reference.weighting import materialised_product
from tests.support.toy import (
    LABEL,
    SCENARIO,
    ToyDataset,
    toy_batch,
    toy_dataset,
    toy_model,
    train_step,
)

SMALL = {"n": 2, "m": 3, "k": 2}
VARIANTS = {
    "default": {},
    "non": {"weighting": "non"},
    "rc": {"weighting": "rc"},
    "c": {"weighting": "c"},
    "scenario only": {"generator_input": "scenario"},
    "output layer": {"weight_output_layer": True},
    "generator hidden": {"generator_hidden_size": [5, 3]},
    "gate_scale": {"gate_scale": 2.0},
    "stop gradient": {"generator_stop_gradient": True},
    "two scenario fields": {"scenario_fields": ["shop_id", SCENARIO]},
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def make_dpg(dataset=None, seed=0, **overrides):
    return toy_model(DPG, dataset, seed, **{**SMALL, **overrides})


def hand_made_model(**overrides):
    """One hidden layer of two units on h0 = (item, scenario), each embedded in one number."""
    # The scenario stands first in the dataset and last in h0.
    dataset = ToyDataset({SCENARIO: 3, "item_id": 3})
    options = {"embedding_size": 1, "mlp_hidden_size": [2], "n": 2, "m": 1, "k": 1}
    model = make_dpg(dataset, **{**options, **overrides})
    (layer,) = model.backbone.layers
    (generator,) = layer.weighting.generator.layers
    with torch.no_grad():
        table = model.token_embedding_table.embedding.weight
        table.copy_(torch.tensor([0.0, 1.0, -1.0, 0.0, 2.0, 4.0]).view(-1, 1))
        layer.weight.copy_(torch.tensor([[1.0, -1.0], [3.0, 2.0]]))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
        # c = (s; item, s): U = (s log 3, -item/2 log 2), V = 1
        generator.weight.copy_(
            torch.tensor([[math.log(3), 0.0, 0.0], [0.0, -math.log(2) / 2, 0.0]])
        )
        generator.bias.zero_()
        layer.weighting.column_factor.fill_(1.0)
        model.backbone.output.weight.copy_(torch.tensor([[2.0, 5.0]]))
        model.backbone.output.bias.fill_(-1.0)
    batch = toy_batch(2, dataset=dataset)
    batch[SCENARIO], batch["item_id"] = torch.tensor([1, 2]), torch.tensor([1, 2])
    batch[LABEL] = torch.tensor([1.0, 0.0])
    return model.double(), batch


def test_forward_and_loss_by_hand():
    model, batch = hand_made_model()
    # Row 0: s = 1, item = 2, U = (log 3, -log 2), gates (3/4, 1/3) on the inputs (2, 1): (3/2, 1/3)
    #   hidden: relu(3/2 + 1 + 1/2, -3/2 + 2/3) = (3, 0); logit: 2 * 3 - 1 = 5
    # Row 1: s = -1, item = 4, U = (-log 3, -2 log 2), gates (1/4, 1/5) on (4, -1): (1, -1/5)
    #   hidden: relu(1 - 3/5 + 1/2, -1 - 2/5) = (9/10, 0); logit: 2 * 9/10 - 1 = 4/5
    matrices = model.weighting_matrices(batch)
    gates = torch.tensor([[[3 / 4], [1 / 3]], [[1 / 4], [1 / 5]]], dtype=torch.float64)
    assert len(matrices) == 1
    torch.testing.assert_close(matrices[0], gates, rtol=0, atol=1e-7)  # weights were set in float32
    logits = torch.tensor([5.0, 0.8], dtype=torch.float64)
    torch.testing.assert_close(model(batch), logits, rtol=0, atol=1e-6)
    sigmoids = [1 / (1 + math.exp(-5)), 1 / (1 + math.exp(-0.8))]
    assert model.predict(batch).tolist() == pytest.approx(sigmoids, abs=1e-6)
    loss = -(math.log(sigmoids[0]) + math.log(1 - sigmoids[1])) / 2
    assert model.calculate_loss(batch).item() == pytest.approx(loss, abs=1e-6)


def test_gate_scale_doubles_the_gates_by_hand():
    model, batch = hand_made_model(gate_scale=2.0)
    # Row 0: (3, 2/3): relu(3 + 2 + 1/2, -3 + 4/3) = (11/2, 0); logit 10
    # Row 1: (2, -2/5): relu(2 - 6/5 + 1/2, ...) = (13/10, 0); logit 8/5
    logits = torch.tensor([10.0, 1.6], dtype=torch.float64)
    torch.testing.assert_close(model(batch), logits, rtol=0, atol=1e-6)


def test_alpha_scales_the_loss():
    batch = toy_batch(9)
    model = make_dpg()
    loss = model.calculate_loss(batch)
    expected = binary_cross_entropy_with_logits(model(batch), batch[LABEL])
    assert loss.shape == ()
    assert model.loss_names == ("bce",)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(make_dpg(alpha=2.5).calculate_loss(batch), 2.5 * expected)


@every_variant
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_shapes_prediction_and_gradients(options, rows):
    model = make_dpg(**options)
    batch = toy_batch(rows)
    logits = model(batch)
    assert logits.shape == (rows,)
    assert torch.equal(model.predict(batch), torch.sigmoid(logits))
    loss = model.calculate_loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


@every_variant
def test_rows_do_not_touch_each_other(options):
    model = make_dpg(**options).double().eval()
    batch = toy_batch(6)
    alone = torch.cat([model(batch[row : row + 1]) for row in range(6)])
    torch.testing.assert_close(model(batch), alone, rtol=0, atol=1e-10)


def test_forward_equals_materialised_weights_of_a_matrix_that_each_row_has_for_itself():
    model = make_dpg().double()
    batch = toy_batch(5)
    hidden, scenario = model.embed(batch)
    assert torch.equal(hidden[:, -4:], scenario)
    for layer, matrix in zip(model.backbone.layers, model.weighting_matrices(batch), strict=True):
        condition = torch.cat([scenario, hidden], dim=1)
        own = layer.weighting.matrices(condition.T).permute(2, 0, 1)
        torch.testing.assert_close(matrix, own, rtol=0, atol=1e-10)
        hidden = torch.relu(materialised_product(hidden, layer.weight, matrix) + layer.bias)
    logits = model.backbone.output(hidden)[:, 0]
    torch.testing.assert_close(model(batch), logits, rtol=0, atol=1e-10)


def test_scenario_as_only_condition_gives_one_matrix_a_scenario_tuple():
    model = make_dpg(generator_input="scenario", scenario_fields=["shop_id", SCENARIO])
    batch = toy_batch(40)
    tuples = list(zip(batch["shop_id"].tolist(), batch[SCENARIO].tolist(), strict=True))
    assert len(set(tuples)) < 40
    for matrix in model.weighting_matrices(batch):
        first = [tuples.index(scenario) for scenario in tuples]
        torch.testing.assert_close(matrix, matrix[first])
        distinct = matrix[sorted(set(first))].flatten(1)
        distances = torch.cdist(distinct, distinct) + torch.eye(len(distinct))
        assert distances.min() > 1e-4


def test_input_is_part_of_the_condition_by_default():
    matrices = make_dpg().weighting_matrices(toy_batch(12, scenarios=[1]))
    assert all(matrix.std(0).min() > 0 for matrix in matrices)


def test_stop_gradient_cuts_the_path_from_the_matrices_to_the_agnostic_fields():
    batch = toy_batch(12)
    # RecBole keeps one table of all tokens; the toy's scenarios are its last ones.
    first_scenario = -toy_dataset().sizes[SCENARIO]
    gradients = []
    for stop in (False, True):
        model = make_dpg(generator_stop_gradient=stop)
        model.weighting_matrices(batch)[0].sum().backward()
        gradients.append(model.token_embedding_table.embedding.weight.grad)
    through, cut = gradients
    assert through[:first_scenario].abs().sum() > 0
    assert cut[:first_scenario].eq(0).all()
    assert cut[first_scenario:].abs().sum() > 0


def test_keys_reach_the_layers():
    model = make_dpg(
        weighting="c",
        n=3,
        m=4,
        k=2,
        gate_scale=1.5,
        generator_hidden_size=[7],
        weight_output_layer=True,
        activation="silu",
        dropout_prob=0.25,
    )
    layers = list(model.backbone.layers)
    assert [tuple(layer.weight.shape) for layer in layers] == [(16, 8), (8, 6), (6, 4), (4, 1)]
    for layer in layers:
        weighting = layer.weighting
        assert type(weighting) is WEIGHTINGS["c"]
        assert (weighting.rows, weighting.rank, weighting.gate_scale) == (3, 2, 1.5)
        assert [x.out_features for x in weighting.generator.layers[::3]] == [
            7,
            2 * weighting.columns,
        ]
    assert [layer.weighting.columns for layer in layers] == [4, 4, 4, 1]
    assert isinstance(model.backbone.activation, nn.SiLU)
    assert model.backbone.dropout.p == 0.25
    assert isinstance(model.backbone.output, nn.Identity)


def parameters_by_formula(d0, ds, hidden_sizes, options):
    """Weights, biases and weightings of each layer, and a logit layer that is not weighted."""
    n, m, k = options["n"], options["m"], options["k"]
    weighting = options.get("weighting", "r")
    sizes = [d0, *hidden_sizes, 1]
    n_weighted = len(sizes) - 1 if options.get("weight_output_layer") else len(sizes) - 2
    total = 0 if options.get("weight_output_layer") else sizes[-2] + 1
    for N, M in pairwise(sizes[: n_weighted + 1]):
        columns = min(m, M)
        generated, shared = {
            "non": (N * M, 0),
            "rc": (n * k + k * columns, 0),
            "r": (n * k, k * columns),
            "c": (k * columns, n * k),
        }[weighting]
        condition = ds if options.get("generator_input") == "scenario" else ds + N
        widths = [condition, *options.get("generator_hidden_size", []), generated]
        generator = sum((i + 1) * o for i, o in pairwise(widths))
        total += N * M + M + generator + shared
    return total


@every_variant
def test_parameters_by_formula(options):
    options = {**SMALL, **options}
    model = make_dpg(**options)
    ds = 4 * len(options.get("scenario_fields", [SCENARIO]))
    total, without_embeddings = count_parameters(model)
    assert without_embeddings == parameters_by_formula(16, ds, [8, 6, 4], options)
    assert total - without_embeddings == 4 * sum(toy_dataset().sizes.values())


def test_parameters_at_the_paper_s_widths_by_hand():
    widths = {"embedding_size": 10, "mlp_hidden_size": [128, 64, 32], "n": 8, "m": 8, "k": 4}
    model = make_dpg(**widths)
    by_hand = [
        40 * 128 + 128 + (10 + 40 + 1) * 32 + 32,
        128 * 64 + 64 + (10 + 128 + 1) * 32 + 32,
        64 * 32 + 32 + (10 + 64 + 1) * 32 + 32,
        32 + 1,
    ]
    assert count_parameters(model)[1] == sum(by_hand) == 24193


def test_scenario_embedding_is_a_part_of_the_input_and_no_second_table():
    model = make_dpg()
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    assert len(tables) == 1


def test_first_order_linear_part_is_not_kept():
    assert not any("first_order" in name for name in make_dpg().state_dict())


@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_every_parameter_and_every_type_of_field_is_trained(weighting):
    dataset = toy_dataset(mixed_types=True)
    model = make_dpg(dataset, weighting=weighting, activation="tanh")
    model.calculate_loss(toy_batch(64, dataset=dataset)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"n": 7}, ["n: 7", "at most 6"]),
        ({"m": 5}, ["m: 5", "at most 4"]),
        ({"n": 5, "weight_output_layer": True}, ["n: 5", "at most 4"]),
    ],
)
def test_matrices_larger_than_a_layer_are_refused(overrides, words):
    with pytest.raises(UsageError) as error:
        make_dpg(**overrides)
    assert all(word in str(error.value) for word in words)

    settings = {"weighting": "r", "weight_output_layer": False, **SMALL, **overrides}
    with pytest.raises(UsageError) as early:  # the same sentence, before a model is built
        DPG.check_sizes(settings, [16, 8, 6, 4, 1])
    assert str(early.value) == str(error.value)


def test_matrices_that_fit_are_taken():
    settings = {"weighting": "r", "weight_output_layer": False, "n": 6, "m": 4, "k": 1}
    DPG.check_sizes(settings, [16, 8, 6, 4, 1])
    DPG.check_sizes({**settings, "weighting": "non", "n": 99, "m": 99}, [16, 8, 6, 4, 1])


@pytest.mark.parametrize("field", ["scenarioo", "price", "label"])
def test_scenario_field_that_is_no_token_field_is_refused(field):
    with pytest.raises(UsageError, match=f"scenario_fields: '{field}'"):
        make_dpg(toy_dataset(mixed_types=True), scenario_fields=[field])


def test_same_seed_same_result():
    assert torch.equal(train_twenty_steps(seed=1), train_twenty_steps(seed=1))
    assert not torch.equal(train_twenty_steps(seed=1), train_twenty_steps(seed=2))


def train_twenty_steps(seed):
    model = make_dpg(seed=seed, dropout_prob=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(20):
        train_step(model, toy_batch(32, seed=step), optimizer)
    return model.eval()(toy_batch(16, seed=99))


@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_it_learns(weighting):
    # tanh: so few units of relu may all be dead at the start
    model = make_dpg(weighting=weighting, activation="tanh")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    batch = toy_batch(32)
    losses = [train_step(model, batch, optimizer) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
