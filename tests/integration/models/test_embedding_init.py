"""How embedding tables start."""

import pytest
import torch
from recbole.utils import FeatureType

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.embedding_init import draw_embeddings
from recbole_midpg.integration.run.run import Run
from recbole_midpg.models.dnn import DNN
from tests.support.purchases import purchases_config
from tests.support.recbole_data import gaps_config
from tests.support.toy import ToyConfig, ToyDataset, toy_model

SIZES = {"user_id": 60_000, "scenario": 11, "words": 3_000, "price": 2_000, "prices": 1_000}
TYPES = {
    "words": FeatureType.TOKEN_SEQ,
    "price": FeatureType.FLOAT,
    "prices": FeatureType.FLOAT_SEQ,
}
WIDTH = 64


def new_model(**config):
    model = toy_model(
        DNN, ToyDataset(SIZES, TYPES), embedding_size=WIDTH, numerical_features=["price", "prices"]
    )
    draw_embeddings(ToyConfig(config), model)
    return model


def deviations(model):
    """The deviation of each field's rows."""
    tokens = model.token_embedding_table.embedding.weight
    users, scenarios = tokens.split([SIZES["user_id"], SIZES["scenario"]])
    tables = {
        "user_id": users,
        "scenario": scenarios,
        "words": model.token_seq_embedding_table[0].weight,
        "price": model.float_embedding_table.embedding.weight,
        "prices": model.float_seq_embedding_table[0].weight,
    }
    return {name: float(rows.detach().std()) for name, rows in tables.items()}


def xavier(rows):
    return (2 / (rows + WIDTH)) ** 0.5


def test_recbole_s_own_start_is_left_as_it_is():
    torch.manual_seed(0)
    left = new_model(embedding_init="recbole")
    drawn = deviations(left)
    of_both = xavier(SIZES["user_id"] + SIZES["scenario"])
    assert drawn["user_id"] == pytest.approx(of_both, rel=0.02)
    assert drawn["scenario"] == pytest.approx(of_both, rel=0.2)
    kept = {name: value.clone() for name, value in left.state_dict().items()}
    draw_embeddings(ToyConfig(), left)  # a checkpoint of a version that had no such key
    assert all(torch.equal(value, kept[name]) for name, value in left.state_dict().items())


def test_each_field_starts_as_a_table_of_its_own():
    drawn = deviations(new_model(embedding_init="field"))
    for name, rows in SIZES.items():
        tolerance = 0.15 if name == "scenario" else 0.02  # of 704 numbers
        assert drawn[name] == pytest.approx(xavier(rows), rel=tolerance), name


def test_all_start_with_a_given_deviation():
    drawn = deviations(new_model(embedding_init="normal", embedding_std=0.3))
    for name, value in drawn.items():
        assert value == pytest.approx(0.3, rel=0.15 if name == "scenario" else 0.02), name


def test_layers_keep_their_start():
    torch.manual_seed(0)
    before = new_model(embedding_init="recbole").backbone.state_dict()
    torch.manual_seed(0)
    after = new_model(embedding_init="field").backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


NORMAL = {"embedding_init": "normal", "embedding_std": 0.5}


def config_of(model, folder):
    if model.startswith("ESMM_"):
        return purchases_config(model, folder, **NORMAL)
    return gaps_config(model, **NORMAL)


@pytest.mark.parametrize("model", ["MIDPG", "ESMM_DNN", "DeepFM"])
def test_models_of_a_run_start_so(model, tmp_path):
    run = Run.prepare(config_of(model, tmp_path))
    table = run.model.token_embedding_table.embedding.weight
    assert float(table.detach().std()) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"embedding_init": "xavier"}, "embedding_init: 'xavier' is not allowed, expected"),
        ({"embedding_std": 0}, "embedding_std: 0 is not allowed, expected"),
    ],
)
def test_wrong_values_are_told(values, problem):
    with pytest.raises(UsageError, match=problem):
        gaps_config("DNN", **values)
