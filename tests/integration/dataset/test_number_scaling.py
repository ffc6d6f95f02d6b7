"""Embedded numbers on the training split's scale, in every split and on every path."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset.dataset import Dataset
from recbole.quick_start import load_data_and_model
from recbole.utils import get_model, get_trainer, init_seed

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.config import _warn_once
from recbole_midpg.integration.dataset.split_columns import column_of
from recbole_midpg.integration.models.model_names import TREES
from recbole_midpg.integration.run.checkpoint import load_checkpoint
from recbole_midpg.integration.run.run import Run
from recbole_midpg.integration.scoring.scoring import write_scoring_model
from recbole_midpg.loading.number_scalers import QuantileBuckets
from recbole_midpg.prediction import Scorer

N_ROWS = 60
FIELDS = ("price", "age", "sizes")
JUDGED = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "group_by": None, "mode": "labeled"}


def texts_of(numbers, missing):
    return ["" if rows else f"{number:g}" for number, rows in zip(numbers, missing, strict=True)]


@pytest.fixture(autouse=True)
def shop():
    """Rows with a price or none, of users with an age or none, and with sizes; and their labels."""
    random = np.random.default_rng(1)
    folder = Path("dataset/shop")
    folder.mkdir(parents=True)
    lengths = random.integers(0, 4, N_ROWS)
    rows = pd.DataFrame(
        {
            "row:token": [f"r{i}" for i in range(N_ROWS)],
            "user_id:token": random.integers(0, 9, N_ROWS),
            "item_id:token": random.integers(0, 5, N_ROWS),
            "place:token": random.integers(0, 3, N_ROWS),
            "price:float": texts_of(random.normal(900, 300, N_ROWS), random.random(N_ROWS) < 0.3),
            "sizes:float_seq": [" ".join(map(str, random.integers(20, 50, n))) for n in lengths],
            "time:float": random.random(N_ROWS),
            "label:float": random.permutation(N_ROWS) % 2,
        }
    )
    users = pd.DataFrame(
        {
            "user_id:token": range(9),
            "age:float": texts_of(random.integers(20, 70, 9), [1, *[0] * 8]),
        }
    )
    rows.to_csv(folder / "shop.inter", sep="\t", index=False)
    users.to_csv(folder / "shop.user", sep="\t", index=False)
    return rows.merge(users, "left")


def config_of(model="DNN", **values):
    given = {
        "data_path": "dataset",
        "load_col": None,
        "LABEL_FIELD": "label",
        "scenario_fields": ["place"],
        "numerical_features": [*FIELDS],
        "eval_args": JUDGED,
        "embedding_size": 4,
        "mlp_hidden_size": [8],
        "epochs": 2,
        "stopping_step": 5,
        "show_progress": False,
        **values,
    }
    return Config(model=model, dataset="shop", config_dict=given)


def splits_of(config):
    init_seed(config["seed"], config["reproducibility"])
    return [loader._dataset for loader in data_preparation(config, create_dataset(config))]


def lines_of(split, shop):
    """The file's lines of a split's rows, in their order."""
    texts = split.field2id_token["row"]
    ids = [texts[i] for i in column_of(split, "row").tolist()]
    return shop.set_index("row:token").loc[ids]


def numbers_of(lines, field):
    """A field's numbers by line, NaN where one is missing."""
    if field == "sizes":
        return [[float(size) for size in text.split()] for text in lines["sizes:float_seq"]]
    return [[float(text) if text else np.nan] for text in lines[f"{field}:float"]]


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"dataset_cache": True, "dataset_cache_dir": "cache"},
        {"save_dataset": True},
        {"eval_args": {**JUDGED, "split": {"LS": "valid_and_test"}, "group_by": "user"}},
        {"eval_args": {**JUDGED, "order": "TO"}, "TIME_FIELD": "time"},
    ],
    ids=str,
)
def test_every_split_is_on_the_scale_of_the_training_lines(shop, values, model):
    for _ in range(2):  # from the files, and from what was kept of them
        config = config_of(model, **values)
        splits = splits_of(config)
        for field in FIELDS:
            present = np.concatenate(numbers_of(lines_of(splits[0], shop), field))
            present = present[~np.isnan(present)]
            mean, deviation = present.mean(), present.std()
            for split in splits:
                column = column_of(split, field).numpy()
                width = column.shape[1] if field == "sizes" else 1
                expected = np.zeros((len(split), width, 2))
                for row, numbers in zip(
                    expected, numbers_of(lines_of(split, shop), field), strict=True
                ):
                    scaled = (np.array(numbers) - mean) / deviation
                    row[: len(numbers), 0] = np.where(np.isnan(numbers), 0, scaled)
                    row[: len(numbers), 1] = 1
                np.testing.assert_allclose(column.reshape(expected.shape), expected, atol=1e-5)


def test_missing_numbers_are_exactly_zero_and_do_not_count(shop):
    train = splits_of(config_of())[0]
    price = column_of(train, "price")[:, 0]
    missing = torch.tensor((lines_of(train, shop)["price:float"] == "").to_numpy())
    assert 0 < missing.sum() < len(missing)
    assert (price[missing] == 0).all()
    assert price[~missing].double().std(unbiased=False) == pytest.approx(1, abs=1e-6)
    assert train.user_feat["age"][0].tolist() == [0, 1]  # of an unknown user


def test_the_dataset_itself_keeps_the_file_s_numbers(shop):
    config = config_of()
    dataset = create_dataset(config)
    dataset.build()
    ages = {float(text) for text in shop["age:float"] if text}
    found = dataset.user_feat["age"][:, 0]
    assert set(found[~found.isnan()].tolist()) == ages


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({"numerical_scaling": "none"}, ()),
        ({"normalize_all": True}, ()),
        ({"normalize_field": ["price", "sizes"]}, ("age",)),
        ({"discretization": {"age": {"method": "ED", "bucket": 3}}}, ("price", "sizes")),
    ],
    ids=str,
)
def test_what_recbole_scales_is_recboles(values, changed):
    splits = splits_of(config_of("FM", **values))
    config = config_of("FM", **values)
    init_seed(config["seed"], config["reproducibility"])
    for ours, stock in zip(splits, Dataset(config).build(), strict=True):
        for field in FIELDS:
            expected = column_of(stock, field)
            if field in changed:
                assert not torch.equal(column_of(ours, field), expected)
                assert (
                    expected[..., 0].abs().max() > 20 > column_of(ours, field)[..., 0].abs().max()
                )
            else:
                assert torch.equal(column_of(ours, field), expected)


def test_rows_without_a_time_stand_where_recbole_puts_them():
    values = {"eval_args": {**JUDGED, "order": "TO"}, "TIME_FIELD": "price"}
    splits = splits_of(config_of(**values))
    for ours, stock in zip(splits, Dataset(config_of(**values)).build(), strict=True):
        assert torch.equal(column_of(ours, "row"), column_of(stock, "row"))


def test_a_line_names_what_is_standardised_and_what_recbole_scales(caplog):
    with caplog.at_level(logging.INFO):
        splits_of(config_of(normalize_field=["age"]))
    told = [message for message in caplog.messages if "standardised" in message]
    assert told == [
        "price, sizes: standardised by the training split's mean and standard deviation "
        "(numerical_scaling: none leaves numbers as they are).",
        "age: not standardised, as normalize_field scales them by the least and the greatest "
        "number of all rows, those of the test split too.",
    ]


@pytest.mark.parametrize(
    "values",
    [{"numerical_scaling": "none"}, {"numerical_features": []}],
    ids=str,
)
def test_nothing_is_said_where_nothing_is_scaled(caplog, values):
    with caplog.at_level(logging.INFO):
        splits_of(config_of(**values))
    assert "standardised" not in caplog.text


def test_a_field_without_a_number_in_training_is_told(shop):
    lines = Path("dataset/shop/shop.inter").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    for row in rows[1:]:
        row[4] = ""
    Path("dataset/shop/shop.inter").write_text("\n".join(map("\t".join, rows)) + "\n")
    with pytest.raises(UsageError, match=r"'price' has no number in the training split's 36 rows"):
        splits_of(config_of())


def test_values_of_the_key_are_checked():
    with pytest.raises(
        UsageError, match=r"numerical_scaling: 'standart' is not .* did you mean 'standard'"
    ):
        config_of(numerical_scaling="standart")


# --------------------------------------------------------------------------------------------------
# Checkpoints


def trained(model="DNN", **values):
    """A checkpoint by RecBole's own documented steps, and its test loader."""
    config = config_of(model, **values)
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, show_progress=False, verbose=False)
    trainer.evaluate(test, show_progress=False)
    return trainer, test


@torch.no_grad()
def predictions(model, loader):
    return torch.cat([model.eval().predict(batch) for batch, *_ in loader]).numpy()


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_raw_rows_are_scored_as_the_test_split_was(shop, model):
    trainer, test = trained(model)
    lines = lines_of(test._dataset, shop).reset_index()
    columns = {name.split(":")[0]: lines[name].astype(str).to_numpy() for name in lines.columns}
    expected = predictions(trainer.model, test)
    assert len(set(expected.tolist())) > 6
    scorer = Scorer.read(trainer.saved_model_file)
    np.testing.assert_array_equal(scorer.scores(columns), expected)
    del columns["age"]  # from the users' features
    np.testing.assert_array_equal(scorer.scores(columns), expected)


def test_a_checkpoint_scales_by_its_own_numbers_whatever_the_files_say_now():
    trainer, test = trained()
    saved = load_checkpoint(trainer.saved_model_file)["number_scalers"]
    assert saved.keys() == {*FIELDS}
    expected = predictions(trainer.model, test)
    _, model, _, _, _, again = load_data_and_model(trainer.saved_model_file)
    np.testing.assert_array_equal(predictions(model, again), expected)
    # Dearer rows, none of them in the test split: it is scaled as it was.
    kept = {again._dataset.field2id_token["row"][i] for i in column_of(again._dataset, "row")}
    path = Path("dataset/shop/shop.inter")
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    for row in rows[1:]:
        if row[0] not in kept and row[4]:
            row[4] = str(float(row[4]) * 10)
    path.write_text("\n".join(map("\t".join, rows)) + "\n")
    _, model, _, train, _, later = load_data_and_model(trainer.saved_model_file)
    np.testing.assert_array_equal(predictions(model, later), expected)
    assert column_of(train._dataset, "price")[:, 0].max() > 10


def test_weights_of_another_scale_are_refused():
    trainer, test = trained(numerical_scaling="none")
    raw = trainer.saved_model_file
    assert load_checkpoint(raw)["number_scalers"] == {}
    scaled = Run.prepare(config_of()).trainer
    with pytest.raises(UsageError) as error:
        scaled.resume_checkpoint(raw)
    assert "it was trained on 'age' as in the file, and here it is standardised by mean" in str(
        error.value
    )
    with pytest.raises(UsageError, match="trained on 'age' as in the file"):
        scaled.evaluate(test, model_file=raw)


def test_the_same_run_goes_on_from_its_checkpoint():
    trainer, _ = trained()
    Run.prepare(config_of()).trainer.resume_checkpoint(trainer.saved_model_file)


def test_a_checkpoint_from_before_the_key_reads_numbers_as_they_are(shop):
    trainer, test = trained("DeepFM", numerical_scaling="none")
    path = trainer.saved_model_file
    content = torch.load(path, weights_only=True)
    del content["number_scalers"], content["config"]["values"]["numerical_scaling"]
    torch.save(content, path)
    expected = predictions(trainer.model, test)
    _, model, _, _, _, again = load_data_and_model(path)
    np.testing.assert_array_equal(predictions(model, again), expected)
    lines = lines_of(test._dataset, shop).reset_index()
    columns = {name.split(":")[0]: lines[name].astype(str).to_numpy() for name in lines.columns}
    np.testing.assert_array_equal(Scorer.read(path).scores(columns), expected)


def test_large_numbers_do_not_ruin_recboles_models():
    scaled, raw = (
        Run.prepare(config_of("DeepFM", epochs=1, numerical_features=["price"], **values))
        for values in ({}, {"numerical_scaling": "none"})
    )
    losses = []
    for run in (scaled, raw):
        run.train(saved=False, verbose=False)
        run.test(saved=False)
        losses.append(run.test_results["logloss"])
    assert losses[0] < 1
    assert losses[1] > 5


# --------------------------------------------------------------------------------------------------
# Fields that are scaled otherwise

NUMERIC = {"price": {"quantile": 4}, "age": "log", "sizes": {"quantile": 3}}


@pytest.mark.parametrize("model", ["DNN", "DeepFM", "FFM"])
def test_named_fields_are_scaled_as_named_and_missing_is_a_value(shop, model):
    splits = splits_of(config_of(model, numeric=NUMERIC))
    train = lines_of(splits[0], shop)
    present = {
        field: [n for row in numbers_of(train, field) for n in row if not np.isnan(n)]
        for field in FIELDS
    }
    logs = np.log1p(present["age"])
    by_price, by_size = (
        QuantileBuckets.fit(np.float32(present[field]), NUMERIC[field]["quantile"])
        for field in ("price", "sizes")
    )
    for split in splits:
        lines = lines_of(split, shop)
        assert [split.num(field) for field in FIELDS] == [6, 3, 4]
        for (price,), found in zip(
            numbers_of(lines, "price"), column_of(split, "price").tolist(), strict=True
        ):
            bucket = (
                5
                if np.isnan(price)
                else (1 + sum(np.float32(price) >= edge for edge in by_price.edges))
            )
            assert found == [1, bucket]
        for (age,), found in zip(
            numbers_of(lines, "age"), column_of(split, "age").tolist(), strict=True
        ):
            if np.isnan(age):
                assert found == [1, 2]
            else:
                assert found == pytest.approx(
                    [(np.log1p(age) - logs.mean()) / logs.std(), 1], abs=1e-5
                )
        for sizes, found in zip(
            numbers_of(lines, "sizes"), column_of(split, "sizes").tolist(), strict=True
        ):
            buckets = [1 + sum(size >= edge for edge in by_size.edges) for size in sizes]
            padding = [[0, 0]] * (len(found) - len(sizes))
            assert found == [*([1, bucket] for bucket in buckets), *padding]


def test_others_are_scaled_as_before_and_none_leaves_a_number(shop):
    before = splits_of(config_of(numerical_features=["age", "sizes"]))
    after = splits_of(config_of(numerical_features=["age", "sizes"], numeric={"price": "none"}))
    for one, other in zip(before, after, strict=True):
        for field in ("age", "sizes"):
            assert torch.equal(column_of(one, field), column_of(other, field))
        prices = numbers_of(lines_of(other, shop), "price")
        present = ~np.isnan(np.ravel(prices))
        found = column_of(other, "price").numpy()
        np.testing.assert_allclose(found[present, 0], np.ravel(prices)[present], rtol=1e-6)


def test_where_training_misses_none_a_missing_number_is_typical(shop):
    path = Path("dataset/shop/shop.user")
    path.write_text(path.read_text().replace("0\t\n", "0\t33\n"))
    for method, typical, size in (("log", [0, 1], 2), ({"quantile": 3}, [1, 2], 4)):
        train = splits_of(config_of(numeric={"age": method}))[0]
        assert train.user_feat["age"][0].tolist() == typical  # of an unknown user
        assert train.num("age") == size


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM", "FFM", "AutoInt"])
def test_raw_rows_are_scored_alike_by_checkpoint_and_scorer_file(shop, model):
    trainer, test = trained(model, numeric=NUMERIC)
    lines = lines_of(test._dataset, shop).reset_index()
    columns = {name.split(":")[0]: lines[name].astype(str).to_numpy() for name in lines.columns}
    expected = predictions(trainer.model, test)
    scorer = Scorer.read(trainer.saved_model_file)
    np.testing.assert_array_equal(scorer.scores(columns), expected)
    write_scoring_model(scorer.scoring, "shop.scorer")
    del columns["age"]  # from the users' features
    for again in (scorer, Scorer.read("shop.scorer")):
        np.testing.assert_array_equal(again.scores(columns), expected)
    _, model, _, _, _, later = load_data_and_model(trainer.saved_model_file)
    np.testing.assert_array_equal(predictions(model, later), expected)
    columns["price"] = np.where(columns["price"] == "", "444", "")
    assert (scorer.scores(columns) != expected).any()  # a missing price is no price's embedding


def test_a_missing_number_learns_an_embedding_of_its_own():
    run = Run.prepare(config_of(numeric={"price": "standard"}, learning_rate=0.1))
    table = run.model.float_embedding_table.embedding.weight
    offset = dict(zip(run.model.float_field_names, run.model.float_offsets.tolist(), strict=True))
    before = table[offset["price"] + 2].detach().clone()
    run.train(saved=False, verbose=False)
    assert not torch.equal(table[offset["price"] + 2], before)


def test_a_checkpoint_of_other_buckets_is_refused():
    trainer, _ = trained(numeric={"price": {"quantile": 4}})
    for numeric, told in (
        ({"price": {"quantile": 5}}, "'price' in 4 buckets, and here it is in 5 buckets"),
        (None, "'price' in 4 buckets, and here it is standardised by mean"),
    ):
        with pytest.raises(UsageError, match=told):
            Run.prepare(config_of(numeric=numeric)).trainer.resume_checkpoint(
                trainer.saved_model_file
            )


def test_a_line_says_how_named_fields_are_scaled(caplog):
    with caplog.at_level(logging.INFO):
        splits_of(config_of(numeric={"price": {"quantile": 4}, "sizes": "log"}))
    told = [line for line in caplog.messages if line.startswith("Numbers by the training split")]
    assert len(told) == 1
    assert "price in 4 buckets, " in told[0]
    assert "% missing, by an embedding of their own; sizes logarithms, standardised by" in told[0]
    assert "age: standardised by the training split's mean" in caplog.text


def test_a_constant_column_is_told(caplog):
    path = Path("dataset/shop/shop.user")
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(line.split("\t")[0] + "\t41" for line in lines)]) + "\n")
    for method in ("log", "quantile"):
        caplog.clear()
        train = splits_of(config_of(numeric={"age": method}))[0]
        assert "numeric: 'age' has one value in the training split, 41, " in caplog.text
        assert (column_of(train, "age").numpy() == [[1.0 if method == "quantile" else 0, 1]]).all()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"numeric": {"price": "logs"}}, "numeric: {'price': 'logs'} is not allowed, expected a "),
        ({"numeric": {"price": {"quantile": 1}}}, "is not allowed, expected a mapping as"),
        ({"numeric": {"price": {"quantile": True}}}, "is not allowed"),
        ({"numeric": "log"}, "numeric: 'log' is not allowed"),
        (
            {"numeric": {"prise": "log"}},
            "numeric: 'prise' is not a field of the data, expected some of .*did you mean 'price'",
        ),
        ({"numeric": {"place": "log"}}, "numeric: 'place' is of type token, not of numbers"),
        ({"numeric": {"label": "log"}}, "numeric: 'label' is what the label is made of"),
        ({"numeric": {"time": "log"}, "TIME_FIELD": "time"}, "numeric: 'time' is the TIME_FIELD"),
        (
            {"numeric": {"age": "log"}, "unload_col": {"user": ["age"]}},
            "numeric: 'age' of shop.user is not loaded",
        ),
        (
            {"numeric": {"age": "log"}, "normalize_field": ["age"]},
            "numeric: age: log does not go with normalize_field, which names 'age' too",
        ),
        (
            {"numeric": {"age": "quantile"}, "discretization": {"age": {"method": "LD"}}},
            "numeric: age: quantile does not go with discretization",
        ),
        (
            {"numeric": {"age": "quantile"}, "normalize_all": True},
            "numeric: age: quantile does not go with normalize_all: True",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_scaled_is_one_sentence(values, told):
    numbers = {"numerical_features": ["age"] if "discretization" in values else []}
    with pytest.raises(UsageError, match=told):
        config_of(**numbers, **values)


def test_named_fields_are_features():
    config = config_of(numerical_features=["age"], numeric={"price": "log", "age": "log"})
    assert config["numerical_features"] == ["age", "price"]


@pytest.mark.parametrize("model", TREES)
def test_trees_take_numbers_as_they_are(model, caplog):
    pytest.importorskip(model.lower())
    _warn_once.cache_clear()  # of what another test has been told
    values = {"numeric": {"price": "log"}, "numerical_features": []}
    columns = [column_of(splits_of(config_of(model, **values))[0], "price")]
    assert columns[0][..., 0].max() > 100
    assert f"numeric: {model} takes numbers as they are, a missing one as the mean." in caplog.text
