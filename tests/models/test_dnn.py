"""DNN: the backbone alone."""

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from tests.support.toy import (
    LABEL,
    SCENARIO,
    ToyDataset,
    toy_batch,
    toy_dataset,
    toy_model,
    train_step,
)


def set_embeddings(model, scenario, item):
    """Fill the one table that RecBole keeps for all token fields."""
    rows = torch.tensor([*scenario, *item]).view(-1, 1)
    table = model.token_embedding_table.embedding.weight
    with torch.no_grad():
        table.copy_(rows)


def test_forward_by_hand():
    dataset = ToyDataset({SCENARIO: 2, "item_id": 2})
    model = toy_model(DNN, dataset, embedding_size=1, mlp_hidden_size=[2])
    # Tokens in the dataset's order, scenario first; h0 has the scenario last.
    set_embeddings(model, scenario=[0.0, 1.0], item=[0.0, 2.0])
    first, last = model.backbone.layers[0], model.backbone.layers[-1]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 3.0], [-1.0, 2.0]]))
        first.bias.copy_(torch.tensor([0.5, -1.0]))
        last.weight.copy_(torch.tensor([[2.0, 5.0]]))
        last.bias.fill_(-1.0)
    batch = toy_batch(1, dataset=dataset, scenarios=[1])
    # h0 = (2, 1); hidden: relu(2 + 3 + 0.5, -2 + 2 - 1) = (5.5, 0); logit: 11 - 1
    assert model(batch).tolist() == [10.0]
    assert model.predict(batch).item() == pytest.approx(1 / (1 + torch.e**-10))


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_shapes_and_prediction(rows):
    model = toy_model(DNN)
    batch = toy_batch(rows)
    logits = model(batch)
    assert logits.shape == (rows,)
    assert torch.equal(model.predict(batch), torch.sigmoid(logits))


def test_loss_is_the_mean_cross_entropy():
    model = toy_model(DNN)
    batch = toy_batch(9)
    loss = model.calculate_loss(batch)
    expected = binary_cross_entropy_with_logits(model(batch), batch[LABEL])
    assert loss.shape == ()
    torch.testing.assert_close(loss, expected)
    assert model.loss_names == ("bce",)


def test_rows_do_not_touch_each_other():
    model = toy_model(DNN).double().eval()
    batch = toy_batch(6)
    alone = torch.cat([model(batch[row : row + 1]) for row in range(6)])
    torch.testing.assert_close(model(batch), alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("embedding_size", [4, 10])
def test_parameters_at_the_paper_s_widths(embedding_size):
    model = toy_model(DNN, embedding_size=embedding_size, mlp_hidden_size=[128, 64, 32])
    width = 4 * embedding_size  # four fields
    total, without_embeddings = count_parameters(model)
    assert model.input_size == width
    assert without_embeddings == 128 * width + 10497
    tokens = sum(toy_dataset().sizes.values())
    assert total == without_embeddings + tokens * embedding_size
    assert total == sum(parameter.numel() for parameter in model.parameters())
    assert str(without_embeddings) in str(model)


def test_frozen_parameters_are_not_counted():
    model = toy_model(DNN)
    total, without_embeddings = count_parameters(model)
    model.backbone.layers[-1].bias.requires_grad_(False)
    assert count_parameters(model) == (total - 1, without_embeddings - 1)
    model.token_embedding_table.embedding.weight.requires_grad_(False)
    assert count_parameters(model) == (without_embeddings - 1, without_embeddings - 1)


def test_first_order_linear_part_is_not_kept():
    model = toy_model(DNN)
    assert not hasattr(model, "first_order_linear")
    assert not any("first_order" in name for name in model.state_dict())


def test_every_parameter_and_every_type_of_field_is_trained():
    dataset = toy_dataset(mixed_types=True)
    model = toy_model(DNN, dataset)
    model.calculate_loss(toy_batch(64, dataset=dataset)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("scenario_fields", [None, [], [SCENARIO], [SCENARIO, "shop_id"]])
def test_scenario_fields_are_ordinary_inputs(scenario_fields):
    model = toy_model(DNN, scenario_fields=scenario_fields)
    batch = toy_batch(8, scenarios=[1])
    other = toy_batch(8, scenarios=[2])
    assert model.input_size == 16
    assert (model(batch) != model(other)).all()


def test_activation_and_dropout_keys():
    model = toy_model(DNN, activation="tanh", dropout_prob=0.5)
    kinds = [type(layer) for layer in model.backbone.layers]
    assert kinds.count(nn.Tanh) == kinds.count(nn.Dropout) == 3
    assert all(layer.p == 0.5 for layer in model.backbone.layers if isinstance(layer, nn.Dropout))


def test_same_seed_same_result():
    assert torch.equal(train_twenty_steps(seed=1), train_twenty_steps(seed=1))
    assert not torch.equal(train_twenty_steps(seed=1), train_twenty_steps(seed=2))


def train_twenty_steps(seed):
    model = toy_model(DNN, seed=seed, dropout_prob=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(20):
        train_step(model, toy_batch(32, seed=step), optimizer)
    return model.eval()(toy_batch(16, seed=99))


def test_it_learns():
    model = toy_model(DNN, activation="tanh")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    batch = toy_batch(32)
    losses = [train_step(model, batch, optimizer) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
