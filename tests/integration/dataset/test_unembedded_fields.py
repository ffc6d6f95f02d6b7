import pytest
import torch
from recbole.utils import get_model

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.run.run import Run
from recbole_midpg.prediction.scorer import Scorer
from tests.support.recbole_data import gaps_config, loaders_of

UNEMBEDDED = ["user_id", "coupon"]


def built(model, **values):
    config = gaps_config(model, **values)
    train_data, *_ = loaders_of(config)
    return get_model(model)(config, train_data.dataset), train_data


@pytest.mark.parametrize("name", ["MIDPG", "DeepFM", "DCNV2"])
def test_models_embed_what_is_left(name):
    whole, _ = built(name)
    model, train_data = built(name, unembedded_fields=UNEMBEDDED)
    assert set(whole.token_field_names) - set(model.token_field_names) == set(UNEMBEDDED)
    batch = next(iter(train_data))
    # The fields are loaded and in the batch all the same, for groups and features.
    assert set(UNEMBEDDED) <= set(batch.interaction)
    before = model.eval().predict(batch)
    batch.interaction["user_id"] = torch.zeros_like(batch["user_id"])
    assert torch.equal(model.predict(batch), before)


def test_recbole_is_asked_as_ever_where_nothing_is_named():
    assert built("DNN")[0].embedded_fields == built("DNN", unembedded_fields=[])[0].embedded_fields


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"unembedded_fields": ["users"]}, "unembedded_fields: 'users' is not a field that"),
        ({"unembedded_fields": 3}, "unembedded_fields: 3 is not allowed"),
        ({"unembedded_fields": ["job"]}, "scenario_fields: 'job' is not embedded"),
    ],
)
def test_wrong_names_are_told(values, problem):
    with pytest.raises(UsageError, match=problem):
        gaps_config("DNN", **values)


def test_rows_can_be_grouped_by_a_field_that_is_not_embedded():
    config = gaps_config(
        "DNN", unembedded_fields="user_id", metrics=["AUC", "FieldGAUC"], gauc_fields=["user_id"]
    )
    assert config["unembedded_fields"] == ["user_id"]


def test_new_rows_are_joined_by_an_id_that_is_not_embedded():
    values = {"unembedded_fields": ["user_id", "item_id"], "show_progress": False}
    run = Run.prepare(build_config("DNN", "ml-100k", None, values))
    run.trainer._save_checkpoint(0, verbose=False)
    scorer = Scorer.read(run.trainer.saved_model_file)
    batch = next(iter(run.test_data))[0]
    given = {
        name: run.dataset.id2token(name, batch[name].numpy()) for name in ("user_id", "item_id")
    }
    expected = run.model.eval().predict(batch).detach().numpy()
    assert scorer.scores(given) == pytest.approx(expected, abs=1e-6)
    scorer.save("a.scorer")
    assert Scorer.read("a.scorer").scores(given) == pytest.approx(expected, abs=1e-6)
