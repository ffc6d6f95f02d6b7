"""Rare tokens, read as unknown ones on every path from the files to the model."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model
from recbole.utils import init_seed
from recbole.utils.case_study import full_sort_scores

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.rare_tokens import as_loaded
from recbole_midpg.integration.run.checkpoint import load_checkpoint
from recbole_midpg.integration.run.run import Run
from recbole_midpg.prediction import Scorer

N_ROWS = 240
TOKEN_FIELDS = ("user_id", "item_id", "place", "city", "brand", "tags", "words")
SEQUENCES = ("tags", "words")
JUDGED = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "group_by": None, "mode": "labeled"}
PAD, UNK = "[PAD]", "[UNK]"


def powers(random, size, count):
    """Numbers of which the higher ones are rarer."""
    return (size * random.random(count) ** 3).astype(int)


@pytest.fixture(autouse=True)
def shop():
    """Rows with many rare tokens and some missing ones, and features of their users and items."""
    random = np.random.default_rng(3)
    folder = Path("dataset/shop")
    folder.mkdir(parents=True)

    def words(count, letter):
        lengths = random.integers(0, 4, count)
        return [" ".join(f"{letter}{i}" for i in powers(random, 30, n)) for n in lengths]

    rows = pd.DataFrame(
        {
            "row:token": [f"r{i}" for i in range(N_ROWS)],
            "user_id:token": [f"u{i}" for i in powers(random, 60, N_ROWS)],
            "item_id:token": [f"i{i}" for i in powers(random, 40, N_ROWS)],
            "place:token": [f"p{i}" if i else "" for i in powers(random, 8, N_ROWS)],
            "words:token_seq": words(N_ROWS, "w"),
            "price:float": random.normal(9, 3, N_ROWS).round(2),
            "time:float": random.random(N_ROWS),
            "label:float": random.permutation(N_ROWS) % 2,
        }
    )
    users = pd.DataFrame(
        {
            "user_id:token": [f"u{i}" for i in range(60)],
            "city:token": [f"c{i}" if i else "" for i in powers(random, 30, 60)],
            "age:float": random.integers(20, 70, 60),
        }
    )
    items = pd.DataFrame(
        {
            "item_id:token": [f"i{i}" for i in range(40)],
            "brand:token": [f"b{i}" for i in powers(random, 20, 40)],
            "tags:token_seq": words(40, "t"),
        }
    )
    for name, table in {"inter": rows, "user": users, "item": items}.items():
        table.to_csv(folder / f"shop.{name}", sep="\t", index=False)
    joined = rows.merge(users, "left").merge(items, "left")
    joined.columns = [name.partition(":")[0] for name in joined.columns]
    return joined.fillna("").set_index("row", drop=False)


def config_of(model="DNN", **values):
    given = {
        "data_path": "dataset",
        "load_col": None,
        "LABEL_FIELD": "label",
        "scenario_fields": ["place"],
        "unembedded_fields": ["row"],
        "numerical_features": ["price", "age"],
        "eval_args": JUDGED,
        "embedding_size": 4,
        "mlp_hidden_size": [8],
        "epochs": 2,
        "stopping_step": 5,
        "show_progress": False,
        "min_count": 4,
        **values,
    }
    return Config(model=model, dataset="shop", config_dict=given)


def loaders_of(config):
    init_seed(config["seed"], config["reproducibility"])
    return data_preparation(config, create_dataset(config))


def elements(value, field):
    return value.split() if field in SEQUENCES else [value] if value else []


def known_tokens(lines, field, min_count):
    """The tokens of a field that at least so many lines have."""
    counts = pd.Series(
        [token for value in lines[field] for token in set(elements(value, field))], dtype=object
    ).value_counts()
    return set(counts[counts >= min_count].index)


def read_by_the_model(loader):
    """The texts that the model reads of each row, by the row's name."""
    dataset, found = loader.dataset, {}
    for part in loader:
        batch = part if not isinstance(part, tuple) else part[0]
        names = dataset.id2token("row", batch["row"])
        for place, name in enumerate(names):
            found[name] = {
                field: np.atleast_1d(dataset.id2token(field, batch[field][place])).tolist()
                for field in TOKEN_FIELDS
                if field in batch
            }
    return found


def expected_texts(lines, known, field):
    texts = [
        [token if token in known else UNK for token in elements(value, field)]
        for value in lines[field]
    ]
    return texts if field in SEQUENCES else [row or [PAD] for row in texts]


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"data_on_device": True},
        {"dataset_cache": True, "dataset_cache_dir": "cache"},
        {"save_dataset": True},
        {"eval_args": {**JUDGED, "order": "TO"}, "TIME_FIELD": "time"},
        {"min_count": {"user_id": 3, "tags": 6}},
        {"user_inter_num_interval": "[3,inf)"},
        {"load_col": {"inter": ["row", "user_id", "item_id", "place", "time", "label"]}}
        | {"numerical_features": []},
    ],
    ids=str,
)
def test_the_model_reads_rare_tokens_as_unknown_ones_in_every_split(shop, model, values):
    for _ in range(2):  # the second time from the cache or the saved dataset
        config = config_of(model, **values)
        loaders = loaders_of(config)
    found = [read_by_the_model(loader) for loader in loaders]
    training = shop.loc[list(found[0])]
    least = values.get("min_count", 4)
    seen_unknown = False
    for texts in found:
        lines = shop.loc[list(texts)]
        for field in next(iter(texts.values())):
            min_count = least.get(field, 0) if isinstance(least, dict) else least
            known = known_tokens(shop if not min_count else training, field, min_count or 1)
            wanted = expected_texts(lines, known, field)
            for row, expected in zip(texts.values(), wanted, strict=True):
                read = row[field]
                assert read[: len(expected)] == expected
                assert set(read[len(expected) :]) <= {PAD}
            seen_unknown |= any(UNK in row for row in wanted)
    assert seen_unknown


def test_a_rare_user_has_the_features_of_his_own(shop):
    loaders = loaders_of(config_of(min_count={"user_id": 50}))
    for loader in loaders:
        for name, texts in read_by_the_model(loader).items():
            assert texts["user_id"] == [UNK]
            assert texts["city"] == [shop.loc[name, "city"] or PAD]


def test_every_token_is_counted_once_more_and_users_are_not():
    train = loaders_of(config_of(min_count={"user_id": 4, "city": 4}))[0].dataset
    plain = loaders_of(config_of(min_count=None))[0].dataset
    for field in TOKEN_FIELDS:
        assert train.num(field) == plain.num(field) + (field in {"user_id", "city"})
    assert (train.user_num, train.item_num) == (plain.user_num, plain.item_num)
    assert train.id2token("city", [0, train.num("city") - 1]).tolist() == [PAD, UNK]
    assert train.token2id("city", UNK) == train.num("city") - 1


def test_another_field_of_the_same_tokens_has_its_own_unknown_one():
    lines = pd.read_csv("dataset/shop/shop.inter", sep="\t")
    lines["friend:token"] = lines["user_id:token"].to_numpy()[::-1]
    lines.to_csv("dataset/shop/shop.inter", sep="\t", index=False)
    config = config_of(alias_of_user_id=["friend"], min_count={"friend": 4})
    train = loaders_of(config)[0].dataset
    assert train.num("friend") == train.num("user_id") + 1 == train.user_num + 1


def test_a_table_of_users_and_joined_rows_are_read_alike():
    for loader in loaders_of(config_of()):
        split = loader.dataset
        joined = split[torch.arange(len(split))]
        tables = (split.get_user_feature(), split.get_item_feature())
        for key, table in zip(("user_id", "item_id"), tables, strict=True):
            ids = split.inter_feat[key]
            assert len(table) == {"user_id": split.user_num, "item_id": split.item_num}[key]
            for name in table.columns:
                assert torch.equal(joined[name], table[name][ids])


# --------------------------------------------------------------------------------------------------
# Training and scoring


def trained(model="DNN", **values):
    """A trained run, whose checkpoint is written."""
    run = Run.prepare(config_of(model, **values))
    run.train(saved=True, verbose=False)
    run.test(saved=True)
    return run


@torch.no_grad()
def predictions(model, loader):
    return torch.cat([model.eval().predict(batch) for batch, *_ in loader]).numpy()


def columns_of(loader, shop):
    """The columns of a split's rows as they stand in the files."""
    split = loader.dataset
    lines = shop.loc[split.id2token("row", split.inter_feat["row"])]
    return {name: lines[name].to_numpy() for name in lines if name != "label"}


def test_their_rows_train_the_unknown_token_and_no_other():
    run = Run.prepare(config_of())
    train = run.train_data.dataset
    offset = dict(zip(run.model.token_field_names, run.model.token_field_offsets, strict=True))
    start = int(offset["user_id"])
    table = run.model.token_embedding_table.embedding.weight
    before = table.detach().clone()[start : start + train.num("user_id")]
    run.train(saved=False, verbose=False)
    moved = (table.detach()[start : start + train.num("user_id")] != before).any(dim=1).numpy()
    is_rare = train.rare_tokens["user_id"].is_rare
    assert moved[-1]
    assert not moved[:-1][is_rare].any()
    assert moved[1:-1][~is_rare[1:]].all()


@pytest.mark.parametrize("model", ["DNN", "DeepFM", "STAR", "PLE"])
def test_raw_rows_are_scored_as_the_test_split_was(shop, model):
    run = trained(model, **({"mlp_hidden_size": [8, 8, 8]} if model == "PLE" else {}))
    columns = columns_of(run.test_data, shop)
    expected = predictions(run.model, run.test_data)
    scorer = Scorer.read(run.trainer.saved_model_file)
    np.testing.assert_array_equal(scorer.scores(columns), expected)
    scorer.save("shop.scorer")
    again = Scorer.read("shop.scorer")
    for name in ("age", "city", "brand", "tags"):  # from the users' and items' features
        del columns[name]
    np.testing.assert_array_equal(scorer.scores(columns), expected)
    np.testing.assert_array_equal(again.scores(columns), expected)


def test_new_tokens_are_read_as_rare_ones_and_missing_ones_as_padding(shop):
    scorer = Scorer.read(trained().trainer.saved_model_file)
    fields = scorer.scoring.fields
    unknown = {name: fields.num(name) - 1 for name in TOKEN_FIELDS}
    names = list(shop["user_id"])
    row = {name: [shop[name].iloc[0]] for name in ("item_id", "price")}
    given = {**row, "user_id": ["nobody"], "place": [""], "words": ["new w0 newer"]}
    encoded = scorer.encode(given)
    assert encoded["user_id"].tolist() == [unknown["user_id"]]
    assert encoded["city"].tolist() == [unknown["city"]]  # of a user of whom nothing is known
    assert encoded["age"].tolist() == [[0, 1]]  # the mean
    assert encoded["place"].tolist() == [0]
    first_word = scorer.scoring.fields.scored["words"].encoder.id_of("w0")
    words = encoded["words"][0].tolist()
    assert words[:3] == [unknown["words"], first_word, unknown["words"]]
    assert not any(words[3:])
    given |= {"user_id": [""], "item_id": ["none"], "words": [""]}
    encoded = scorer.encode(given)
    assert encoded["user_id"].tolist() == encoded["city"].tolist() == [0]
    assert encoded["brand"].tolist() == [unknown["brand"]]
    assert encoded["tags"][0].tolist()[:2] == [unknown["tags"], 0]
    rare_user = next(name for name in names if names.count(name) == 1)
    encoded = scorer.encode({**given, "user_id": [rare_user]})
    assert encoded["user_id"].tolist() == [unknown["user_id"]]
    age = shop[shop["user_id"] == rare_user]["age"].iloc[0]
    mean, deviation = (
        getattr(fields.scored["age"].encoder.scale.scaler, name) for name in ("mean", "deviation")
    )
    assert encoded["age"][0, 0].item() == pytest.approx((age - mean) / deviation, abs=1e-5)


def test_rare_tokens_count_as_known_and_new_ones_are_told(shop, caplog):
    scorer = Scorer.read(trained().trainer.saved_model_file)
    users = list(shop["user_id"].iloc[:20])
    given = {name: shop[name].iloc[:20].to_numpy() for name in ("item_id", "price", "place")}
    given |= {"words": [""] * 20, "user_id": [*users[:17], "x", "y", None]}
    counts = scorer.counts(given, scorer.encode(given))["user_id"]
    assert (counts.known, counts.unknown, counts.missing) == (17, 2, 1)
    assert counts.examples == ("x", "y")
    given["user_id"] = [f" {user}" for user in users]
    scorer.scores(given)
    assert "(100.0%) are unknown to training and scored as [UNK], as" in caplog.text


def test_rankings_score_every_item_as_a_row_of_it(shop):
    run = trained(
        load_col={
            "inter": ["row", "user_id", "item_id", "label"],
            "user": ["user_id", "city"],
            "item": ["item_id", "brand", "tags"],
        },
        numerical_features=[],
        scenario_fields=["city"],
    )
    scorer = Scorer.read(run.trainer.saved_model_file)
    user, items = shop["user_id"].iloc[0], [f"i{i}" for i in range(40)]
    ranked = scorer.top_k([user, "nobody"], 100)
    assert sorted(ranked["item_id"]) == sorted(2 * items)  # and no [UNK]
    expected = scorer.scores({"user_id": [user] * 40, "item_id": items})
    of_user = ranked[ranked["user_id"] == user].set_index("item_id").loc[items, "score"]
    np.testing.assert_allclose(of_user, expected, rtol=1e-6)
    split = run.test_data.dataset
    ids = split.token2id("user_id", [user])
    scores = full_sort_scores(ids, run.model, run.test_data)[0].numpy()
    assert scores.shape == (split.item_num,)
    here = scores[split.token2id("item_id", items)]
    met = np.isinf(here)
    np.testing.assert_allclose(here[~met], expected[~met], rtol=1e-6)


def test_results_are_grouped_by_the_tokens_of_the_files(shop):
    run = trained(
        metrics=["AUC", "ScenarioLogLoss", "FieldGAUC"],
        gauc_fields=["user_id", "city"],
        min_count=12,
    )
    lines = shop.loc[list(read_by_the_model(run.test_data))]
    assert set(run.test_data.dataset.rare_tokens["place"].is_rare[1:]) == {False, True}
    batch = next(iter(run.test_data))[0]
    for field in ("place", "user_id", "city"):
        names = run.test_data.dataset.id2token(field, batch[as_loaded(field)])
        assert [name.replace(PAD, "") for name in names] == lines[field].tolist()
        assert set(batch[field].tolist()) != set(batch[as_loaded(field)].tolist())
    told = {name for name in run.test_results if name.startswith("logloss/")}
    assert told == {f"logloss/{place or 'missing'}" for place in lines["place"]}


def test_star_tells_of_the_scenarios_that_it_reads():
    run = Run.prepare(config_of("STAR", min_count={"place": 12}))
    rare = run.train_data.dataset.rare_tokens["place"]
    read = [*np.flatnonzero(~rare.is_rare)[1:].tolist(), rare.unknown]
    (remark,) = run.model.remarks()
    assert remark.startswith(f"STAR: {len(read)} of {len(read)} scenarios had no training batch")
    assert remark.endswith(f"their tokens of place: {read}.")


# --------------------------------------------------------------------------------------------------
# Checkpoints


def test_a_checkpoint_reads_its_own_rare_tokens_whatever_the_rows_say_now(shop):
    run = trained()
    path = run.trainer.saved_model_file
    saved = load_checkpoint(path)["rare_tokens"]
    assert saved.keys() == set(TOKEN_FIELDS)
    expected = predictions(run.model, run.test_data)
    _, model, _, _, _, again = load_data_and_model(path)
    np.testing.assert_array_equal(predictions(model, again), expected)
    # In training rows every other user is another one now: none is as frequent as he was.
    columns = columns_of(run.test_data, shop)
    kept = set(columns["row"])
    lines = pd.read_csv("dataset/shop/shop.inter", sep="\t", keep_default_na=False)
    of_training = ~lines["row:token"].isin(kept) & lines["user_id:token"].duplicated()
    lines.loc[of_training, "user_id:token"] = "u0"
    lines.to_csv("dataset/shop/shop.inter", sep="\t", index=False)
    scores = Scorer.read(path).scores(columns)
    np.testing.assert_array_equal(scores, expected)


def test_trees_keep_their_rare_tokens_too():
    pytest.importorskip("lightgbm")
    run = trained("LightGBM", scenario_fields=None)
    path = run.trainer.saved_model_file
    assert load_checkpoint(path)["rare_tokens"].keys() == set(TOKEN_FIELDS)
    _, model, _, _, _, again = load_data_and_model(path)
    np.testing.assert_array_equal(predictions(model, again), predictions(run.model, run.test_data))


def test_the_same_run_goes_on_and_another_one_does_not():
    run = trained()
    path = run.trainer.saved_model_file
    Run.prepare(config_of()).trainer.resume_checkpoint(path)
    other = Run.prepare(config_of(min_count=5)).trainer
    with pytest.raises(UsageError, match=r"trained with \d+ rare tokens of '\w+' of \d+|trained"):
        other.resume_checkpoint(path)
    without = Run.prepare(config_of(min_count=None)).trainer
    with pytest.raises(UsageError, match=r"and here there are no rare tokens, .* \(min_count\)"):
        without.resume_checkpoint(path)


def test_a_checkpoint_of_other_tokens_is_refused():
    dataset = create_dataset(config_of())
    dataset.fitted_rare_tokens = {}
    with pytest.raises(UsageError, match=r"min_count: the checkpoint has rare tokens of no field"):
        dataset.build()


def test_damaged_rare_tokens_are_told():
    path = trained().trainer.saved_model_file
    content = torch.load(path, weights_only=True)
    for broken in ({"place": {"tokens": 3}}, [1], {"place": {"tokens": 99, "bits": torch.ones(1)}}):
        torch.save({**content, "rare_tokens": broken}, path)
        with pytest.raises(UsageError, match="its rare tokens are damaged"):
            Scorer.read(path)


# --------------------------------------------------------------------------------------------------
# What is said


def test_lines_say_how_many_tokens_and_rows_are_rare(shop, caplog):
    with caplog.at_level(logging.INFO):
        loader = loaders_of(config_of(min_count={"city": 9}))[0]
    lines = shop.loc[list(read_by_the_model(loader))]
    known = known_tokens(lines, "city", 9)
    tokens = set(pd.read_csv("dataset/shop/shop.user", sep="\t")["city:token"].dropna())
    share = (~lines["city"].isin({*known, ""})).mean()
    told = [message for message in caplog.messages if message.startswith("min_count")]
    assert told == [
        f"min_count: {len(tokens - known)} of {len(tokens)} tokens of city have fewer than 9 "
        f"training rows and are read as [UNK], in {share:.2%} of these rows."
    ]


def test_an_unknown_token_that_nothing_trains_is_told(caplog):
    loaders_of(config_of(min_count={"place": 1, "user_id": 1, "city": 3}))
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    (sentence,) = [message for message in told if message.startswith("min_count")]
    assert "has a rare token of user_id (" in sentence
    assert "tokens, min_count 1), place (7 tokens, min_count 1): [UNK] is as it was" in sentence
    assert "city" not in sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"min_count": -1}, r"min_count: -1 is not allowed, expected a whole number of at least 0"),
        ({"min_count": True}, r"min_count: True is not allowed"),
        ({"min_count": 2.5}, r"min_count: 2\.5 is not allowed"),
        ({"min_count": "five"}, r"min_count: 'five' is not allowed"),
        ({"min_count": {"user_id": -2}}, r"min_count: \{'user_id': -2\} is not allowed"),
        ({"min_count": {"price": 2}}, r"min_count: 'price' is not a token field that is loaded"),
        ({"min_count": {"user": 2}}, r"'user' is not a token field .* did you mean 'user_id'"),
        (
            {"preload_weight": {"item_id": "price"}},
            r"min_count: 'item_id' has its embeddings from 'price' \(preload_weight\)",
        ),
        (
            {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
            r"min_count: 4 does not go with sampled or ranked items, expected labelled rows",
        ),
        (
            {"eval_args": {**JUDGED, "mode": "uni5"}},
            r"min_count: 4 does not go with sampled or ranked items",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_read_so_is_told_before_data_is_loaded(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        config_of(**values)


def test_other_models_refuse_the_key():
    with pytest.raises(UsageError, match="min_count: BPR does not read it"):
        Config(
            model="BPR",
            dataset="shop",
            config_dict={"data_path": "dataset", "min_count": 2},
        )


@pytest.mark.parametrize("min_count", [0, {}, {"city": 0}])
def test_nothing_is_read_otherwise_where_nothing_is_wanted(min_count, caplog):
    with caplog.at_level(logging.INFO):
        train = loaders_of(config_of(min_count=min_count))[0].dataset
    plain = loaders_of(config_of(min_count=None))[0].dataset
    assert dict(train.rare_tokens) == {}
    assert all(train.num(name) == plain.num(name) for name in TOKEN_FIELDS)
    assert "min_count:" not in caplog.text
