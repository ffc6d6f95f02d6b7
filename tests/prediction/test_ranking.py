"""The best items for users are those of the whole cross product, scored row by row and sorted."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction import Scorer, ranking
from recbole_midpg.prediction.ranking import best_of
from tests.prediction.checkpoints import checkpoint_of
from tests.support.shop import CHANNELS, IDS_ALONE, ITEMS, NO_CONTEXT, USERS, shop_config

CONTEXT = {"channel": "app", "price": "20.5"}
DATA = {"all": ({}, CONTEXT), "no context": (NO_CONTEXT, {}), "ids": (IDS_ALONE, {})}


def scorer_of(folder, model="DNN", **values):
    return Scorer.read(checkpoint_of(shop_config(folder, model, **values)).path, keep_seen=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def scorer(folder):
    """MIDPG with users, items, their features and a context."""
    return scorer_of(folder, "MIDPG")


def met(folder):
    lines = (folder / "data" / "shop" / "shop.inter").read_text().splitlines()[1:]
    return {tuple(line.split("\t")[:2]) for line in lines}


def sorted_cross_product(scorer, requests, k, items=None, left_out=()):
    """Score every pair as rows of a file and sort: the obvious way to what ``top_k`` gives."""
    items = items or {"item_id": known_items(scorer)}
    rows_of_items = [
        dict(zip(items, row, strict=True)) for row in zip(*items.values(), strict=True)
    ]
    pairs = pd.DataFrame(
        [{"request": n, **request, **row}
         for (n, request), row in product(enumerate(requests), rows_of_items)]
    )  # fmt: skip
    pairs["score"] = scorer.scores(pairs)
    kept = [pair not in left_out for pair in zip(pairs["user_id"], pairs["item_id"], strict=True)]
    pairs = pairs[kept].sort_values(["request", "score"], ascending=[True, False], kind="stable")
    best = pairs.groupby("request").head(k).copy()
    best["rank"] = best.groupby("request").cumcount() + 1
    names = [*requests[0], "rank", "item_id", "score"]
    return best[names].reset_index(drop=True)


def known_items(scorer):
    """The items in the order of their ids, 1 and up."""
    ids = scorer.scoring.fields.scored["item_id"].encoder.ids
    return sorted((item for item in ITEMS if item in ids), key=ids.get)


def assert_same(table, expected):
    assert list(table) == list(expected)
    for name in table:
        assert table[name].tolist() == expected[name].tolist(), name


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM", "WideDeep"])
def test_top_k_is_the_sorted_cross_product_bit_for_bit(folder, model, data):
    values, context = DATA[data]
    scorer = scorer_of(folder, model, **values)
    users = [*USERS, "nobody", "u2"]
    table = scorer.top_k(users, 5, context)
    requests = [{"user_id": user, **context} for user in users]
    assert_same(table, sorted_cross_product(scorer, requests, 5))
    assert table["score"].dtype == np.float32
    ranked = scorer.top_k(users, 100, context)["item_id"]
    assert ("i12" in set(ranked)) == (data != "ids")  # it has features and no row


def test_requests_and_items_may_have_a_context_of_their_own(scorer):
    requests = [
        {"user_id": user, "channel": channel} for user, channel in product(USERS[:3], CHANNELS)
    ]
    items = {"item_id": ["i5", "new", "i1"], "price": ["3", "1000", ""], "size": ["9", "1", "1"]}
    table = scorer.top_k(pd.DataFrame(requests), 2, items=items)
    assert_same(table, sorted_cross_product(scorer, requests, 2, items))
    assert len(table) == 12


def test_a_feature_of_users_may_be_given_for_all(scorer):
    context = {**CONTEXT, "job": "job2"}
    table = scorer.top_k(USERS[:2], 3, context)
    requests = [{"user_id": user, **context} for user in USERS[:2]]
    assert_same(table, sorted_cross_product(scorer, requests, 3))
    assert not np.array_equal(table["score"], scorer.top_k(USERS[:2], 3, CONTEXT)["score"])


@pytest.mark.parametrize("batch_size", [1, 5, 12, 4096])
@pytest.mark.parametrize("pairs", [1, 30, 1 << 20])
def test_blocks_and_batches_change_nothing_but_rounding(
    scorer, monkeypatch, batch_size, pairs
):  # fmt: skip
    expected = scorer.top_k(USERS, 4, CONTEXT)
    monkeypatch.setattr(ranking, "_BLOCK_PAIRS", pairs)
    monkeypatch.setitem(scorer.scoring.config.final_config_dict, "eval_batch_size", batch_size)
    table = scorer.top_k(USERS, 4, CONTEXT)
    assert table.drop(columns="score").equals(expected.drop(columns="score"))
    np.testing.assert_allclose(table["score"], expected["score"], rtol=0, atol=1e-6)


def test_memory_holds_a_block_of_pairs(scorer, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_PAIRS", 30)
    shapes = []
    stock = ranking.best_of
    monkeypatch.setattr(
        ranking, "best_of", lambda scores, k: shapes.append(scores.shape) or stock(scores, k)
    )
    scorer.top_k(USERS, 4, CONTEXT)
    assert [tuple(shape) for shape in shapes] == [(2, 12)] * 3 + [(1, 12)]


def test_what_a_user_has_met_is_left_out(folder, scorer):
    pairs = met(folder)
    requests = [{"user_id": user, **CONTEXT} for user in [*USERS, "nobody"]]
    expected = sorted_cross_product(scorer, requests, 12, left_out=pairs)
    assert len(expected) == 12 * 8 - len(pairs)
    users = [*USERS, "nobody"]
    assert_same(scorer.top_k(users, 12, CONTEXT, exclude=scorer.seen), expected)
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    assert_same(scorer.top_k(users, 12, CONTEXT, exclude=frame), expected)


def test_unknown_users_and_items_are_left_out_by_their_own_tokens(scorer):
    items = {"item_id": ["new", "newer", "i1"]}
    pairs = {"user_id": ["nobody", "u1"], "item_id": ["new", "newer"]}
    table = scorer.top_k(["nobody", "noone", "u1"], 3, CONTEXT, items, pairs)
    kept = table.groupby("user_id")["item_id"].agg(set).to_dict()
    assert kept == {
        "nobody": {"newer", "i1"},
        "noone": {"new", "newer", "i1"},
        "u1": {"new", "i1"},
    }


def test_equal_scores_are_in_the_order_of_the_items(scorer):
    """Items that training does not know are all scored as ``[PAD]``."""
    items = ["x3", "x1", "i1", "x2"]
    batches = scorer.top_k(["u1"], 4, CONTEXT, items)["item_id"].tolist()
    assert [item for item in batches if item != "i1"] == ["x3", "x1", "x2"]


def test_a_model_of_items_alone_ranks_them_for_anybody(folder):
    values = {**NO_CONTEXT, "unload_col": {"inter": ["channel", "price"], "user": ["age", "job"]}}
    values |= {"numerical_features": ["size"], "scenario_fields": None}
    scorer = scorer_of(folder, "DeepFM", **values, unembedded_fields=["user_id"])
    table = scorer.top_k(["u1", "nobody"], 12)
    of_one, of_other = (part for _, part in table.groupby("user_id", sort=False))
    assert of_one["item_id"].tolist() == of_other["item_id"].tolist()
    left_out = scorer.top_k(["u1", "nobody"], 12, exclude=scorer.seen)
    assert left_out["user_id"].value_counts()["u1"] < 12


def test_a_saved_scorer_ranks_alike_and_keeps_no_rows(tmp_path, scorer):
    scorer.save(tmp_path / "shop.scorer")
    again = Scorer.read(tmp_path / "shop.scorer")
    assert_same(again.top_k(USERS, 3, CONTEXT), scorer.top_k(USERS, 3, CONTEXT))
    with pytest.raises(UsageError, match="seen: it was not kept"):
        _ = again.seen
    with pytest.raises(UsageError, match=r"shop\.scorer'?: it does not hold which items"):
        Scorer.read(tmp_path / "shop.scorer", keep_seen=True)


def test_no_users_get_a_table_without_rows(scorer):
    table = scorer.top_k([], 3, CONTEXT)
    assert list(table) == ["user_id", "channel", "price", "rank", "item_id", "score"]
    assert table.empty


def test_what_is_written_otherwise_is_logged(scorer, caplog):
    Scorer(scorer.scoring).top_k(["U1"], 1, {**CONTEXT, "channel": "App"}, ["I1", "I2"])
    told = [record.getMessage() for record in caplog.records]
    assert sorted(sentence.split(":")[0] for sentence in told) == ["channel", "item_id", "user_id"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"k": 0}, "k: 0 is not allowed, expected a whole number of at least 1"),
        ({"context": None}, r"reads channel, price of each row.*context: channel=… price=…"),
        ({"context": {"price": 1}}, "reads channel of each row"),
        ({"context": {**CONTEXT, "chanel": 1}}, r"'chanel' is not a field.*mean 'channel'\?"),
        ({"context": {**CONTEXT, "price": "dear"}}, "context: column 'price': 'dear' is not a fin"),
        ({"context": {**CONTEXT, "tags": "t1"}}, "context: 'tags' is of items, expected it among"),
        ({"context": {**CONTEXT, "user_id": "u1"}}, "context: 'user_id' is of users"),
        ({"items": {"item_id": ["i1"], "price": [3]}}, "'price' is a column of the items"),
        ({"items": {"item_id": ["i1"], "age": [3]}}, "items: 'age' is of users"),
        ({"items": {"item": ["i1"]}}, r"items: the column 'item_id' is missing; found item; is it"),
        ({"items": []}, "items: there is none"),
        ({"items": ["i1", "i2", "i1"]}, "row 3, column 'item_id': 'i1' is not allowed, expected"),
        ({"items": ["i1", None]}, "row 2, column 'item_id': None is not allowed, expected tokens"),
        ({"items": "i1"}, "items: 'i1' is not allowed, expected a list"),
        ({"users": "u1"}, "users: 'u1' is not allowed, expected a list"),
        ({"users": {"user": ["u1"]}}, "users: the column 'user_id' is missing"),
        ({"users": {"user_id": ["u1"], "item_id": ["i1"]}}, "users: 'item_id' is of items"),
        ({"users": {"user_id": ["u1"], "channel": ["a"]}}, "'channel' is in the context too"),
        ({"users": {"user_id": ["u1"], "job": []}}, "lengths are .* expected one length"),
        ({"exclude": ["i1"]}, "exclude: expected columns of users and of items"),
        ({"exclude": {"user_id": ["u1"]}}, "exclude: the column 'item_id' is missing"),
        ({"exclude": {"user_id": ["u1"], "item_id": []}}, "exclude: 1 users and 0 items"),
    ],
)
def test_what_is_wrong_is_told(scorer, options, told):
    with pytest.raises(UsageError, match=told):
        scorer.top_k(**{"users": ["u1"], "k": 2, "context": CONTEXT, **options})


def test_models_that_cannot_rank_are_refused(folder):
    values = {"item": ["tags", "size"]}
    blind = scorer_of(
        folder,
        "DeepFM",
        unload_col=values,
        numerical_features=["price", "age"],
        unembedded_fields=["item_id"],
    )
    with pytest.raises(UsageError, match="reads nothing of an item, neither item_id nor features"):
        blind.top_k(["u1"], 2, CONTEXT)


def test_scores_that_are_no_numbers_are_refused(folder):
    broken = scorer_of(folder, "DNN")
    with torch.no_grad():
        next(broken.scoring.model.parameters()).fill_(torch.nan)
    with pytest.raises(UsageError, match="DNN: a score is NaN"):
        broken.top_k(["u1"], 2, CONTEXT)


@given(
    scores=st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, -np.inf]), min_size=6, max_size=6), max_size=5
    ),
    k=st.integers(1, 8),
)
def test_best_of_is_a_stable_sort_without_what_is_excluded(scores, k):
    best = best_of(torch.tensor(scores).view(-1, 6), k)
    expected = []
    for request, row in enumerate(scores):
        places = sorted(range(6), key=lambda place: -row[place])
        allowed = [place for place in places if row[place] > -np.inf][:k]
        expected += [
            (request, rank, place, row[place]) for rank, place in enumerate(allowed, start=1)
        ]
    found = zip(best.requests, best.ranks, best.items, best.scores, strict=True)
    assert list(found) == expected
