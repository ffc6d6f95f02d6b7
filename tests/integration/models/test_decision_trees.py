"""Trees train on the columns that are worked out by hand here, as their library does by itself."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model
from recbole.trainer import Trainer
from recbole.utils import get_trainer

from recbole_midpg.cli import main, run_recbole_command
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.decision_trees import TREE_MODELS, TreeTrainer
from recbole_midpg.integration.models.registry import get_model
from tests.support.recbole_data import gaps_config
from tests.support.small_rows import ROWS, write_rows
from tests.support.toy import ToyConfig, toy_batch, toy_dataset

PARAMS = {
    "lgb": {"objective": "binary", "min_data_in_leaf": 5, "num_threads": 1},
    "xgb": {"objective": "binary:logistic", "max_depth": 3, "nthread": 1},
}


@pytest.fixture(params=TREE_MODELS)
def model_class(request):
    pytest.importorskip(TREE_MODELS[request.param].library)
    return get_model(request.param)


def tree_config(model_class, **values):
    prefix = model_class.prefix
    return ToyConfig(
        {
            "LABEL_FIELD": "label",
            "numerical_features": ["price", "levels"],
            "seed": 0,
            "convert_token_to_onehot": False,
            "token_num_threhold": 10,
            f"{prefix}_params": PARAMS[prefix],
            f"{prefix}_num_boost_round": 3,
        },
        **values,
    )


def grown(model_class, rows=400, **values):
    """A model with trees, and the columns and labels of which they are."""
    dataset = toy_dataset()
    model = model_class(tree_config(model_class, **values), dataset)
    batch = toy_batch(rows, dataset=dataset)
    labels = (batch["scenario"] % 2).float().numpy()
    features = model.encode(batch)
    model.grow(features, labels)
    return model, batch, features, labels


def test_columns_are_ids_counts_and_means(model_class):
    dataset = toy_dataset(mixed_types=True, sizes={"user_id": 12})
    batch = Interaction(
        {
            "user_id": torch.tensor([3, 0]),
            "tags": torch.tensor([[5, 5, 1], [2, 0, 0]]),
            # Pairs of a value and its index, of which 0 is padding.
            "price": torch.tensor([[[2.5, 1.0]], [[-1.0, 1.0]]]),
            "levels": torch.tensor([[[1.0, 1], [4.0, 1]], [[3.0, 1], [0.0, 0]]]),
            "scenario": torch.tensor([1, 2]),
            "label": torch.tensor([1.0, 0.0]),
        }
    )
    columns = model_class(tree_config(model_class), dataset).encode(batch)
    assert scipy.sparse.issparse(columns)
    assert columns.toarray().tolist() == [
        [3, 0, 1, 0, 0, 0, 2, 0, 2.5, 2.5, 1],
        [0, 0, 0, 1, 0, 0, 0, 0, -1.0, 3.0, 2],
    ]


def test_a_number_in_buckets_is_its_bucket(model_class):
    """Its value is 1 in all of them."""
    dataset = toy_dataset(mixed_types=True, sizes={"user_id": 12})
    batch = toy_batch(2, dataset=dataset)
    batch.update(Interaction({"price": torch.tensor([[[1.0, 3.0]], [[1.0, 7.0]]])}))
    config = tree_config(model_class, discretization={"price": {"method": "ED", "bucket": 9}})
    columns = model_class(config, dataset).encode(batch).toarray()
    assert columns[:, 8].tolist() == [3.0, 7.0]


def test_tokens_get_columns_where_they_are_few(model_class):
    dataset = toy_dataset(scenarios=4, sizes={"user_id": 12})
    batch = Interaction(
        {
            "user_id": torch.tensor([3, 0]),
            "scenario": torch.tensor([1, 3]),
            "label": torch.tensor([1.0, 0.0]),
        }
    )
    config = tree_config(model_class, convert_token_to_onehot=True)
    columns = model_class(config, dataset).encode(batch)
    assert columns.toarray().tolist() == [[3, 0, 1, 0, 0], [0, 0, 0, 0, 1]]
    dense = model_class(tree_config(model_class), dataset).encode(batch)
    assert isinstance(dense, np.ndarray)
    assert dense.tolist() == [[3, 1], [0, 3]]


def test_trees_are_those_of_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    model, batch, _, labels = grown(get_model("LightGBM"))
    by_hand = np.stack([batch[name].numpy() for name in toy_dataset().sizes], axis=1)
    params = {**PARAMS["lgb"], "seed": 0, "verbosity": -1}
    alone = lightgbm.train(params, lightgbm.Dataset(by_hand, label=labels), 3)
    np.testing.assert_allclose(model.predict(batch).numpy(), alone.predict(by_hand), rtol=1e-6)


def test_trees_are_those_of_xgboost():
    xgboost = pytest.importorskip("xgboost")
    model, batch, _, labels = grown(get_model("XGBoost"))
    by_hand = np.stack([batch[name].numpy() for name in toy_dataset().sizes], axis=1)
    rows = xgboost.DMatrix(by_hand.astype(np.float32), label=labels)
    alone = xgboost.train({**PARAMS["xgb"], "seed": 0}, rows, 3)
    np.testing.assert_allclose(model.predict(batch).numpy(), alone.predict(rows), rtol=1e-6)


def test_another_epoch_goes_on_from_the_trees_there_are(model_class):
    model, batch, features, labels = grown(model_class)
    before = model.predict(batch)
    model.grow(features, labels)
    after = model.predict(batch)
    ones = torch.from_numpy(labels).bool()
    # The scenario tells the label, so that each round brings every row nearer to it.
    assert (after[ones] > before[ones]).all()
    assert (after[~ones] < before[~ones]).all()


def test_before_the_first_tree_nothing_is_known(model_class):
    model = model_class(tree_config(model_class), toy_dataset())
    assert model.predict(toy_batch(3)).tolist() == [0.5] * 3
    assert len(model.state_dict()["_extra_state"]) == 0


def test_a_state_has_the_trees(model_class):
    model, batch, *_ = grown(model_class)
    other = model_class(tree_config(model_class), toy_dataset())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.predict(batch), model.predict(batch))


def test_rows_do_not_depend_on_each_other(model_class):
    model, batch, *_ = grown(model_class)
    torch.testing.assert_close(model.predict(batch[3:4]), model.predict(batch)[3:4])
    assert model.predict(batch[:0]).shape == (0,)


def test_other_objectives_are_refused(model_class):
    values = {f"{model_class.prefix}_params": {"objective": "regression"}}
    with pytest.raises(UsageError, match="_params: objective: 'regression' is not allowed, expec"):
        model_class(tree_config(model_class, **values), toy_dataset())


def test_what_the_library_refuses_is_a_sentence():
    pytest.importorskip("xgboost")
    params = {**PARAMS["xgb"], "booster": "forest"}
    with pytest.raises(UsageError, match="xgb_params: XGBoost: "):
        grown(get_model("XGBoost"), xgb_params=params)


def test_rounds_that_stop_by_themselves_are_refused():
    pytest.importorskip("xgboost")
    with pytest.raises(UsageError, match="xgb_early_stopping_rounds: 5 is not allowed"):
        get_model("XGBoost")(
            tree_config(get_model("XGBoost"), xgb_early_stopping_rounds=5), toy_dataset()
        )


@pytest.mark.parametrize("name", TREE_MODELS)
def test_a_library_that_is_missing_is_asked_for(name, monkeypatch):
    monkeypatch.setitem(sys.modules, TREE_MODELS[name].library, None)
    with pytest.raises(UsageError, match=rf"'{name}' needs .*; pip install {name.lower()}\.$"):
        get_model(name)


def test_defaults_are_recboles_and_the_trainer_ours(model_class):
    """RecBole's file is xgboost.yaml, which it looks for as XGBoost.yaml."""
    config = gaps_config(model_class.__name__)
    assert config[f"{model_class.prefix}_num_boost_round"] in (100, 300)
    trainer = get_trainer(config["MODEL_TYPE"], model_class.__name__)
    assert trainer is TreeTrainer
    assert issubclass(trainer, Trainer)


@pytest.fixture
def rows_that_tell(tmp_path):
    hours = [index % 24 for index in range(ROWS)]
    columns = {"hour:token": hours, "label:float": [int(hour in (3, 7, 8, 20)) for hour in hours]}
    write_rows(tmp_path / "dataset" / "clicks" / "clicks.inter", seed=0, columns=columns)
    return tmp_path


def test_numbers_are_taken_as_they_are(model_class, rows_that_tell, capsys):
    """However others would scale them: an order is all that trees see."""
    results = []
    for scaling in (
        "--numerical_scaling=none",
        "--numerical_scaling=standard",
        "--numeric={price: quantile}",
    ):
        arguments = [
            *(f"--model={model_class.__name__}", "--dataset=clicks", "--load_col=~", "--epochs=1"),
            *("--numerical_features=[price]", "--show_progress=False", scaling),
        ]
        assert run_recbole_command(arguments) == 0, capsys.readouterr().err
        (report,) = Path("saved").glob("*.json")
        results.append(json.loads(report.read_text(encoding="utf-8"))["test"])
        shutil.rmtree("saved")
    assert results[0] == results[1] == results[2]


def test_a_run_learns_and_its_checkpoint_predicts(model_class, rows_that_tell, capsys):
    name = model_class.__name__
    status = run_recbole_command(
        [
            *(f"--model={name}", "--dataset=clicks", "--load_col=~", "--epochs=2"),
            *("--numerical_features=[price]", "--show_progress=False", "--state=ERROR"),
            f"--{model_class.prefix}_num_boost_round=40",
            *("--scenario_fields=[place]", "--metrics=[AUC, LogLoss, ScenarioAUC]"),
        ]
    )
    assert status == 0, capsys.readouterr().err
    (report,) = Path("saved").glob("*.json")
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["test"]["auc"] > 0.98
    assert len(told["scenarios"]) == 4
    assert told["epochs"][1]["loss"]["loss"] < told["epochs"][0]["loss"]["loss"]

    (path,) = Path("saved").glob("*.pth")
    _, model, *_ = load_data_and_model(str(path))
    assert model.trees is not None

    Path("new.csv").write_text("user_id,item_id,place,hour,price\n1,1,0,3,0.5\n1,1,0,4,0.5\n")
    assert main(["predict", f"--checkpoint={path}", "--input=new.csv", "--output=out.csv"]) == 0
    clicked, not_clicked = (
        float(line.split(",")[-1]) for line in Path("out.csv").read_text().splitlines()[1:]
    )
    assert clicked > 0.9
    assert not_clicked < 0.1
