"""Situations that users of RecBole have reported, each by the number of its public issue.

docs/public_issues.md lists them; those that other files test are named there.
"""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.model.context_aware_recommender import FM
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_trainer, init_seed

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.metrics.metrics import scores_and_labels
from recbole_midpg.integration.run.run import Run
from recbole_midpg.models.dnn import DNN
from tests.support import click_log
from tests.support.click_log import VALUES, shop_config, write_shop, write_table

SPLIT = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None, "mode": "labeled"}


@pytest.fixture(autouse=True)
def files():
    write_shop()


def told(**values):
    """The sentence that a config of these values ends with."""
    with pytest.raises(UsageError) as error:
        shop_config(**values)
    assert "\n" not in str(error.value)
    return str(error.value)


def told_of_data(**values):
    """The sentence that loading ends with."""
    with pytest.raises(UsageError) as error:
        create_dataset(shop_config(**values))
    return str(error.value)


def results(model="DPG", **values):
    """The test results of a run."""
    return run_recbole(model, "shop", None, {**VALUES, **values})["test_result"]


def edit(name, old, new):
    path = click_log.FOLDER / f"shop.{name}"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# --------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("number", [1346], ids="RecBole #{}".format)
def test_columns_named_under_the_wrong_file(number):
    inter = ["user_id", "item_id", "channel", "price", "time", "click"]
    swapped = {"inter": inter, "user": ["item_id", "category"], "item": ["user_id", "gender"]}
    assert told(load_col=swapped, numerical_features=["price"]).startswith(
        "load_col: user: 'category' is not a column of shop.user, expected some of user_id, gender"
    )
    assert told(unload_col={"inter": ["gender"]}).startswith(
        "unload_col: inter: 'gender' is not a column of shop.inter"
    )


@pytest.mark.parametrize("number", [963], ids="RecBole #{}".format)
def test_features_of_users_without_their_id(number):
    expected = (
        "load_col: user: 'user_id' (USER_ID_FIELD) is not loaded, by which the rows of shop.user "
        "are found; expected it beside gender, age."
    )
    assert told(load_col={"inter": "*", "user": ["gender", "age"]}) == expected
    assert told(unload_col={"user": ["user_id"]}) == expected


@pytest.mark.parametrize("number", [1134], ids="RecBole #{}".format)
def test_columns_without_their_file(number):
    assert told(load_col=["user_id", "item_id"]).startswith(
        "load_col: ['user_id', 'item_id'] is not allowed, expected columns by file"
    )


@pytest.mark.parametrize("number", [1040], ids="RecBole #{}".format)
def test_columns_of_a_further_file_may_be_named(number):
    write_table("vectors", ("uid:token", "vector:float_seq"), [["u1", "1 2"], ["u2", "3 4"]])
    named = {"inter": "*", "user": "*", "item": "*", "vectors": ["uid", "vector"]}
    further = {
        "additional_feat_suffix": ["vectors"],
        "alias_of_user_id": ["uid"],
        "preload_weight": {"uid": "vector"},
    }
    dataset = create_dataset(shop_config(load_col=named, unload_col=None, **further))
    weights = dataset.get_preload_weight("uid")
    assert weights[dataset.token2id("user_id", "u2")].tolist() == [3, 4]
    named["vectors"] = ["uid", "vectr"]
    assert told(load_col=named, **further).startswith(
        "load_col: vectors: 'vectr' is not a column of shop.vectors"
    )


@pytest.mark.parametrize("number", [1106], ids="RecBole #{}".format)
@pytest.mark.parametrize("separator", [",", "\\t", " "])
def test_another_separator_than_the_files(number, separator):
    assert told(field_separator=separator).endswith(
        f"; field_separator is {separator!r}, and here it is '\\t'."
    )


@pytest.mark.parametrize("number", [1372], ids="RecBole #{}".format)
def test_a_plain_csv_without_types(number):
    edit("inter", ":token", "")
    message = told()
    assert "line 1: column 'user_id' is not of the form name:type" in message
    assert "field_separator" not in message


@pytest.mark.parametrize("number", [965], ids="RecBole #{}".format)
def test_a_file_in_another_encoding(number):
    edit("inter", "app", "应用")
    path = click_log.FOLDER / "shop.inter"
    path.write_bytes(path.read_text(encoding="utf-8").encode("gbk"))
    assert "it is not text in utf-8" in told_of_data()
    dataset = create_dataset(shop_config(encoding="gbk"))
    assert sorted(dataset.field2id_token["channel"][1:]) == ["mail", "tv", "web", "应用"]


@pytest.mark.parametrize("number", [11839], ids="pandas #{}".format)
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("reader", ["ours", "pandas'"])
def test_words_that_are_read_as_missing(number, reader, cached, caplog):
    edit("inter", "app", "NA")
    if reader == "pandas'":
        edit("inter", "web", '"web"')  # which a CSV reader has to read
    rows = sum(row[2] == "app" for row in click_log.clicks())
    told = f"dataset/shop/shop.inter: 'channel' is read as missing in rows of 'NA' in {rows}."
    for _ in range(2):
        caplog.clear()
        dataset = create_dataset(shop_config(dataset_cache=cached))
        assert told in caplog.text
    assert sorted(dataset.field2id_token["channel"][1:]) == ["mail", "tv", "web"]
    assert (np.asarray(dataset.inter_feat["channel"]) == 0).sum() == rows


@pytest.mark.parametrize("number", [10], ids="recsyschallenge-2016 #{}".format)
def test_the_first_of_several_lines_of_a_user(number, caplog):
    with (click_log.FOLDER / "shop.user").open("a") as file:
        file.write("u1\tX\t99\nu2\tX\t99\n")
    dataset = create_dataset(shop_config(normalize_all=False))
    assert "dataset/shop/shop.user: 2 of 42 lines repeat a user_id; the first" in caplog.text
    features = dataset.user_feat.iloc[dataset.token2id("user_id", "u1")]
    assert features["age"] == 21


@pytest.mark.parametrize("number", [2125], ids="RecBole #{}".format)
def test_a_dash_for_a_number(number):
    row = next(row for row in click_log.clicks() if row[2] == "tv")
    edit("inter", f"tv\t{row[3]}\t", "tv\t-\t")
    line = click_log.clicks().index(row) + 2
    assert told_of_data().endswith(f"line {line}, column 'price': '-' is not a number.")


@pytest.mark.parametrize("number", [1124], ids="RecBole #{}".format)
def test_users_under_another_name(number):
    values = {"load_col": {"inter": "*"}, "numerical_features": ["price"]}
    assert told(USER_ID_FIELD="session_id", **values) == (
        "USER_ID_FIELD: 'session_id' is not a column of shop.inter (USER_ID_FIELD: ~ with "
        "ITEM_ID_FIELD: ~ does without), expected some of user_id, item_id, channel, price, time, "
        "click."
    )


def test_users_that_are_numbers():
    """They were taken for the places of tokens, and each user for another, without a word."""
    edit("inter", "user_id:token", "user_id:float")
    edit("inter", "\nu", "\n")
    assert told() == (
        "USER_ID_FIELD: 'user_id' is of type float in shop.inter, expected user_id:token in its "
        "first line."
    )


@pytest.mark.parametrize("number", [964], ids="RecBole #{}".format)
@pytest.mark.parametrize("model", ["MIDPG", "PEPNet", "APG", "DeepFM"])
def test_rows_without_users_and_items(number, model):
    header = ("label:float", "I1:float", "C1:token", "C2:token")
    rows = [[row[5], row[3], row[2], row[1]] for row in click_log.clicks()]
    for name in ("user", "item"):
        (click_log.FOLDER / f"shop.{name}").unlink()
    write_table("inter", header, rows)
    nobody = {"USER_ID_FIELD": None, "ITEM_ID_FIELD": None, "LABEL_FIELD": "label"}
    fields = {"numerical_features": ["I1"], "scenario_fields": ["C1"]}
    assert 0.3 < results(model, **nobody, **fields)["auc"] < 0.9


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "USER_ID_FIELD: ~ does not go with shop.user, expected the column that"),
        ({"ITEM_ID_FIELD": "item_id"}, "USER_ID_FIELD: ~ does not go with ITEM_ID_FIELD: item_id"),
        ({"rm_dup_inter": "first"}, "rm_dup_inter: 'first' needs users and items"),
        ({"user_inter_num_interval": "[2,inf)"}, "user_inter_num_interval: '[2,inf)' needs users"),
        ({"eval_args": {**SPLIT, "group_by": "user"}}, "eval_args: group_by: 'user' needs users"),
        (
            {"eval_args": {**SPLIT, "split": {"LS": "valid_and_test"}}},
            "eval_args: split: {'LS': 'valid_and_test'} needs users",
        ),
    ],
    ids=str,
)
def test_what_needs_users_and_items_where_there_are_none(values, expected):
    assert told(**{"USER_ID_FIELD": None, "ITEM_ID_FIELD": None} | values).startswith(expected)


# --------------------------------------------------------------------------------------------------
# Splits and filters


def write_parts(*bounds):
    """Write the clicks before and after some places as shop.part1.inter, part2, part3."""
    rows = click_log.clicks()
    for number, (begin, end) in enumerate(zip((0, *bounds), (*bounds, None), strict=True), 1):
        write_table(f"part{number}.inter", click_log.CLICKS, rows[begin:end])


PARTS = {"benchmark_filename": ["part1", "part2", "part3"]}


@pytest.mark.parametrize("number", [1718], ids="RecBole #{}".format)
def test_pre_split_files_are_the_splits(number):
    write_parts(250, 300)
    config = shop_config(**PARTS, numerical_features=[], normalize_all=False)
    loaders = data_preparation(config, create_dataset(config))
    times = [loader._dataset.inter_feat["time"].tolist() for loader in loaders]
    assert times == [list(range(250)), list(range(250, 300)), list(range(300, 400))]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("val_interval", {"price": "[0,10]"}),
        ("rm_dup_inter", "first"),
        ("user_inter_num_interval", "[3,inf)"),
        ("item_inter_num_interval", "[3,inf)"),
    ],
)
def test_filters_that_pre_split_files_do_not_pass_through(key, value):
    write_parts(250, 300)
    assert told(**PARTS, **{key: value}).startswith(
        f"{key}: {value!r} does not go with benchmark_filename, whose files are taken as they are"
    )


def test_a_pre_split_file_that_is_not_there_is_named():
    write_parts(250, 300)
    (click_log.FOLDER / "shop.part2.inter").unlink()
    assert "there is no shop.part2.inter in the folder dataset/shop" in told(**PARTS)


@pytest.mark.parametrize("number", [1270], ids="RecBole #{}".format)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"user_inter_num_interval": "[99,inf)"}, "are left out by user_inter_num_interval; exp"),
        ({"val_interval": {"price": "[-2,-1]"}}, "are left out by val_interval; expected some"),
    ],
    ids=str,
)
def test_filters_that_leave_nothing(number, values, expected):
    assert f"400 of 400 rows {expected}" in told_of_data(**values)


@pytest.mark.parametrize("number", [1079], ids="RecBole #{}".format)
def test_users_and_items_with_enough_rows(number):
    counted = {"user_inter_num_interval": "[7,inf)", "item_inter_num_interval": "[14,inf)"}
    frame = create_dataset(shop_config(**counted)).inter_feat
    assert 0 < len(frame) < click_log.ROWS
    for field, least in (("user_id", 7), ("item_id", 14)):
        counts = np.bincount(np.asarray(frame[field]).astype(int))
        assert counts[counts > 0].min() >= least


@pytest.mark.parametrize("number", [1139], ids="RecBole #{}".format)
def test_an_order_by_a_time_that_is_not_there(number):
    by_time = {**SPLIT, "order": "TO"}
    assert told(TIME_FIELD="timestamp", eval_args=by_time).startswith(
        "TIME_FIELD: 'timestamp' is not a loaded field of numbers, by which order: TO sorts"
    )
    config = shop_config(eval_args=by_time, normalize_all=False, numerical_features=[])
    splits = data_preparation(config, create_dataset(config))
    latest = [float(loader._dataset.inter_feat["time"].max()) for loader in splits]
    assert latest == [319, 359, 399]


# --------------------------------------------------------------------------------------------------
# Features


@pytest.mark.parametrize("number", [1478], ids="RecBole #{}".format)
def test_long_sequences_are_cut_off(number):
    dataset = create_dataset(shop_config(seq_len={"tags": 2}))
    assert max(map(len, dataset.item_feat["tags"])) == 2
    assert told(seq_len={"tag": 2}).startswith(
        "seq_len: 'tag' is not a loaded field of lists, expected some of tags, vector"
    )
    assert "{'tags': 0} is not allowed, expected a mapping" in told(seq_len={"tags": 0})
    assert told(seq_len=2).startswith("seq_len: 2 is not allowed, expected a mapping")


def some_batch(config):
    """A model of a config as it is at the start, and rows of its test split."""
    run = Run.prepare(config)
    return run.model.eval(), run.test_data._dataset[list(range(16))]


@pytest.mark.parametrize("number", [2043], ids="RecBole #{}".format)
@pytest.mark.parametrize("model", ["DNN", "DPG", "FM", "DeepFM", "AutoInt"])
@torch.no_grad()
def test_sequences_of_numbers_are_read(number, model):
    config = shop_config(model, numerical_features=["vector"])
    network, rows = some_batch(config)
    before = network.predict(rows)
    rows["vector"][..., 0] += 1
    assert not torch.allclose(before, network.predict(rows))


@pytest.mark.parametrize("number", [1413], ids="RecBole #{}".format)
@torch.no_grad()
def test_the_weights_of_fields_are_kept_from_batch_to_batch(number):
    network, rows = some_batch(shop_config("FwFM"))
    assert torch.equal(network.predict(rows), network.predict(rows))
    assert torch.equal(network.predict(rows)[:3], network.predict(rows[[0, 1, 2]]))


@pytest.mark.parametrize("number", [866], ids="RecBole #{}".format)
def test_features_of_items_alone(number):
    (click_log.FOLDER / "shop.user").unlink()
    config = shop_config(numerical_features=["price"])
    run = Run.prepare(config)
    fields = {"user_id", "item_id", "channel", "price", "category", "tags"}
    assert set(run.model.embedded_fields) == fields


# --------------------------------------------------------------------------------------------------
# Metrics and training


@pytest.mark.parametrize("number", [1096], ids="RecBole #{}".format)
def test_errors_of_probabilities_as_metrics(number):
    config = shop_config(metrics=["AUC", "RMSE", "MAE"], valid_metric="RMSE", epochs=3)
    run = Run.prepare(config)
    run.train(saved=True)
    run.test(saved=True)
    scores, labels = scores_and_labels(None, run.trainer.evaluator.evaluated)
    gaps = np.asarray(scores) - np.asarray(labels)
    assert run.test_results["rmse"] == pytest.approx(math.sqrt((gaps**2).mean()), abs=1e-4)
    assert run.test_results["mae"] == pytest.approx(abs(gaps).mean(), abs=1e-4)
    # A smaller error is a better epoch.
    assert run.best_valid_score == min(epoch.valid["rmse"] for epoch in run.trainer.history)


@pytest.mark.parametrize("number", [1254], ids="RecBole #{}".format)
def test_one_metric_decides(number):
    assert told(valid_metric=["AUC", "LogLoss"]).startswith(
        "valid_metric: ['AUC', 'LogLoss'] is not allowed, expected a metric's name"
    )


@pytest.mark.parametrize("number", [1785], ids="RecBole #{}".format)
def test_a_seed_decides(number):
    first, same, other = results(seed=1), results(seed=1), results(seed=2)
    assert first == same != other


@pytest.mark.parametrize("number", [1477], ids="RecBole #{}".format)
def test_epochs_beyond_the_best_one_change_nothing(number):
    values = {"epochs": 30, "stopping_step": 3, "learning_rate": 0.05}
    run = Run.prepare(shop_config(**values))
    run.train(saved=True)
    best = next(epoch for epoch in run.trainer.history if epoch.valid == dict(run.best_valid))
    assert best.epoch < run.trainer.history[-1].epoch
    run.test(saved=True)
    assert results(**{**values, "epochs": best.epoch + 1}) == run.test_results


@pytest.mark.parametrize("number", [1547], ids="RecBole #{}".format)
def test_which_epoch_is_tested_where_nothing_is_saved(number, caplog):
    values = {"epochs": 30, "stopping_step": 4, "learning_rate": 0.05}
    run = Run.prepare(shop_config(**values))
    run.train(saved=False)
    history = run.trainer.history
    best = next(epoch.epoch for epoch in history if epoch.valid == dict(run.best_valid))
    last = history[-1].epoch
    assert best < last
    with caplog.at_level(logging.WARNING):
        run.test(saved=False)
    assert (
        f"the test results are of epoch {last}, and epoch {best} was the best on validation."
        in caplog.text
    )


@pytest.mark.parametrize("number", [1987], ids="RecBole #{}".format)
def test_users_that_training_has_not_seen(number, caplog):
    rows = click_log.clicks()
    write_parts(250, 300)
    strangers = [[f"new{row[4]}", *row[1:]] for row in rows[300:330]]
    write_table("part3.inter", click_log.CLICKS, [*strangers, *rows[330:]])
    seen = {row[0] for row in rows[:250]}
    unseen = 30 + sum(row[0] not in seen for row in rows[330:])
    with caplog.at_level(logging.INFO):
        Run.prepare(shop_config(**PARTS))
    assert f"with a value that no training row has: user_id in {unseen} of 100" in caplog.text


@pytest.mark.parametrize("number", [1721], ids="RecBole #{}".format)
def test_weights_that_are_loaded_and_not_read(number, caplog):
    write_table("vectors", ("uid:token", "vector:float_seq"), [["u1", "1 2"], ["u2", "3 4"]])
    with caplog.at_level(logging.WARNING):
        shop_config(
            "PLE",
            additional_feat_suffix=["vectors"],
            alias_of_user_id=["uid"],
            preload_weight={"uid": "vector"},
        )
    assert "preload_weight: PLE does not read it: its embeddings start at random." in caplog.text


# --------------------------------------------------------------------------------------------------
# Keys, programs and models of the user's own


@pytest.mark.parametrize("number", [1073], ids="RecBole #{}".format)
@pytest.mark.parametrize("model", ["DPG", "DeepFM"])
@pytest.mark.parametrize(
    ("key", "value", "now"),
    [
        ("neg_sampling", None, "train_neg_sample_args"),
        ("training_neg_sample_num", 1, "train_neg_sample_args"),
        ("eval_setting", "TO_RS", "eval_args"),
        ("group_by_user", True, "eval_args"),
        ("split_ratio", [0.8, 0.1, 0.1], "eval_args"),
        ("min_user_inter_num", 5, "user_inter_num_interval"),
        ("lowest_val", {"price": 3}, "val_interval"),
    ],
)
def test_keys_of_earlier_releases(number, model, key, value, now):
    assert told(model=model, **{key: value}).startswith(
        f"{key}: unknown config key (value {value!r}); did you mean {now!r}?"
    )


@pytest.mark.parametrize("number", [1147], ids="RecBole #{}".format)
def test_config_files_that_are_typed_when_a_program_starts(number, monkeypatch):
    Path("a.yaml").write_text("train_batch_size: 32\nlearning_rate: 0.5\n")
    Path("b.yaml").write_text("learning_rate: 0.25\n")
    monkeypatch.setattr("sys.argv", ["program.py", "--config_files=a.yaml b.yaml"])
    config = shop_config()
    # What the program sets wins over files, and of two files the later.
    assert (config["train_batch_size"], config["learning_rate"]) == (64, 0.25)
    assert shop_config(files=["a.yaml"])["learning_rate"] == 0.5


@pytest.mark.parametrize("number", [1392], ids="RecBole #{}".format)
def test_config_files_under_another_name(number, monkeypatch):
    monkeypatch.setattr("sys.argv", ["program.py", "--config_file_list=['a.yaml']"])
    assert "did you mean 'config_files'?" in told()


def test_a_model_that_is_typed_and_not_asked_for(monkeypatch, caplog):
    monkeypatch.setattr("sys.argv", ["program.py", "--model=AdaSparse", "--dataset=shop"])
    with caplog.at_level(logging.WARNING):
        assert shop_config("STAR").model == "STAR"
    assert "argument --model=AdaSparse is not used: the program asks for STAR." in caplog.text
    assert "--dataset" not in caplog.text


@pytest.mark.parametrize("number", [1797], ids="RecBole #{}".format)
def test_a_folder_for_a_dataset(number):
    with pytest.raises(UsageError, match=r"dataset: 'data/shop' is not allowed, expected a name"):
        run_recbole("DPG", "data/shop", None, VALUES)


class Doubled(DNN):
    """A model that somebody builds of one of ours."""

    def forward(self, interaction):
        return 2 * super().forward(interaction)


class Plain(FM):
    """A model that somebody builds of one of RecBole's."""


@pytest.mark.parametrize("number", [1544], ids="RecBole #{}".format)
@pytest.mark.parametrize("model", [Doubled, Plain])
def test_a_model_of_the_users_own(number, model):
    config = shop_config(model)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    network = model(config, train.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    trainer.fit(train, valid, show_progress=False)
    found = trainer.evaluate(test)
    _, again, *_, loaded = load_data_and_model(trainer.saved_model_file)
    assert type(again) is model
    assert trainer.evaluate(loaded, load_best_model=False) == found
