"""How a batch is embedded: RecBole's embeddings, the scenario's last."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recbole.utils import FeatureType

from recbole_midpg.models.dnn import DNN
from tests.support.toy import SCENARIO, ToyDataset, scrambled, toy_batch, toy_dataset, toy_model

FIELDS = {
    "tokens": toy_dataset(),
    "mixed": toy_dataset(mixed_types=True),
    "scenario first": ToyDataset({SCENARIO: 4, "user_id": 12, "item_id": 9}),
    "two numbers": ToyDataset(
        {"price": 3, "user_id": 5, "levels": 2, SCENARIO: 4},
        {"price": FeatureType.FLOAT, "levels": FeatureType.FLOAT},
    ),
}


def recbole_order(model: Any) -> list[str]:
    return [
        *model.token_seq_field_names,
        *model.token_field_names,
        *model.float_seq_field_names,
        *model.float_field_names,
    ]


@pytest.mark.parametrize("dataset", FIELDS.values(), ids=FIELDS.keys())
@pytest.mark.parametrize("scenario_fields", [[SCENARIO], ["user_id", SCENARIO], []])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_embeddings_are_recboles(
    dataset: ToyDataset, scenario_fields: list[str], rows: int
) -> None:
    model = scrambled(toy_model(DNN, dataset, scenario_fields=scenario_fields))
    batch = toy_batch(rows, dataset=dataset)
    inputs, scenario = model.embed(batch)
    theirs = model.concat_embed_input_fields(batch)
    order = recbole_order(model)
    for position, field in enumerate(model.embedded_fields):
        columns = slice(position * model.embedding_size, (position + 1) * model.embedding_size)
        torch.testing.assert_close(inputs[:, columns], theirs[:, order.index(field)])
    assert model.embedded_fields[len(order) - len(scenario_fields) :] == scenario_fields
    assert scenario.shape == (rows, len(scenario_fields) * model.embedding_size)
    assert torch.equal(scenario, inputs[:, inputs.shape[1] - scenario.shape[1] :])


def test_model_without_token_fields() -> None:
    dataset = ToyDataset({"price": 1}, {"price": FeatureType.FLOAT})
    model = toy_model(DNN, dataset, scenario_fields=[])
    batch = toy_batch(3, dataset=dataset)
    inputs, _ = model.embed(batch)
    torch.testing.assert_close(inputs, model.concat_embed_input_fields(batch).flatten(1))


def test_embedding_dropout_zeroes_values_of_rows_and_leaves_the_scenario_whole() -> None:
    model = scrambled(toy_model(DNN, embedding_dropout=0.25))
    batch = toy_batch(4000)
    whole, _ = model.eval().embed(batch)
    torch.manual_seed(0)
    dropped, scenario = model.train().embed(batch)
    assert torch.equal(scenario, whole[:, -scenario.shape[1] :])
    is_kept = dropped != 0
    torch.testing.assert_close(dropped[is_kept], whole[is_kept] / 0.75)
    assert float(is_kept.double().mean()) == pytest.approx(0.75, abs=0.005)
    # Value by value: columns of a field go their own ways, and so do rows of a scenario.
    assert not torch.equal(is_kept[:, 0], is_kept[:, 1])
    assert not torch.equal(is_kept[:, -scenario.shape[1] :], scenario != 0)


def test_without_embedding_dropout_nothing_is_drawn() -> None:
    model = toy_model(DNN)
    state = torch.get_rng_state()
    model.embed(toy_batch(5))
    assert torch.equal(torch.get_rng_state(), state)
