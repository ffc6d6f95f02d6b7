"""RecBole's ranking of all items by context-aware models, as its own code gives it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.utils import case_study, get_model

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.scoring.full_sort import stock_full_sort_scores
from tests.support.recbole_data import loaders_of
from tests.support.shop import IDS_ALONE, ITEMS, NO_CONTEXT, USERS, shop_config
from tests.support.toy import scrambled

SPLIT = {"split": {"RS": [0.5, 0.2, 0.3]}, "order": "RO", "group_by": None}
ALL_USERS = range(1, len(USERS) + 1)
SAMPLED = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "alpha": 1.0}}


def built(tmp_path, model, mode="labeled", **values):
    """A model that is unlike its start, and the loaders of training, validation and test.

    Other modes than labeled ask for clicked rows alone, and for sampled ones in training.
    """
    if mode != "labeled":
        values |= {"val_interval": {"click": "[1,1]"}, **SAMPLED}
    values["eval_args"] = {**SPLIT, "mode": mode}
    if mode == "full":
        values |= {"metrics": ["Recall"], "valid_metric": "Recall@10"}
    config = shop_config(tmp_path, model, **values)
    loaders = loaders_of(config)
    return scrambled(get_model(model)(config, loaders[0].dataset)), loaders


def rows_of(loader):
    feat = loader.dataset.inter_feat
    return list(zip(feat["user_id"].tolist(), feat["item_id"].tolist(), strict=True))


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM", "WideDeep"])
@pytest.mark.parametrize("data", [NO_CONTEXT, IDS_ALONE], ids=["features", "ids"])
def test_scores_are_those_of_recboles_code_with_the_loader_that_it_asks_for(tmp_path, model, data):
    ranked, (*_, test) = built(tmp_path, model, "full", **data)
    users = np.unique([user for user, _ in rows_of(test)])
    expected = stock_full_sort_scores(users, ranked.eval(), test)
    scores = case_study.full_sort_scores(users, ranked, test)
    assert torch.equal(scores.isinf(), expected.isinf())
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM", "WideDeep"])
@pytest.mark.parametrize("data", [NO_CONTEXT, IDS_ALONE], ids=["features", "ids"])
def test_scores_are_those_of_recboles_code_with_histories_made_by_hand(tmp_path, model, data):
    """With labelled rows, whose loader has no histories; for users without test rows, too."""
    ranked, loaders = built(tmp_path, model, **data)
    histories = np.array([None] * (len(USERS) + 1))
    for user in ALL_USERS:
        train, valid, test = ({i for u, i in rows_of(loader) if u == user} for loader in loaders)
        histories[user] = torch.tensor(list((train | valid) - test), dtype=torch.int64)
    by_hand = SimpleNamespace(
        dataset=loaders[2].dataset, is_sequential=False, uid2history_item=histories
    )
    users = np.array(ALL_USERS)
    expected = stock_full_sort_scores(users, ranked.eval(), by_hand)
    scores = case_study.full_sort_scores(users, ranked, loaders[2])
    assert torch.equal(scores.isinf(), expected.isinf())
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["labeled", "full", "uni2"])
def test_history_is_what_stands_in_earlier_splits_alone(tmp_path, mode):
    model, loaders = built(tmp_path, "DNN", mode, **NO_CONTEXT)
    for number, loader in enumerate(loaders[1:], start=1):
        earlier = {row for split in loaders[:number] for row in rows_of(split)}
        history = earlier - set(rows_of(loader))
        scores = case_study.full_sort_scores(list(ALL_USERS), model, loader)
        found = {(user + 1, item) for user, item in scores.isinf().nonzero().tolist()}
        assert history and found == history | {(user, 0) for user in ALL_USERS}


def test_repeatable_recommendation_has_no_history(tmp_path):
    model, (*_, test) = built(tmp_path, "DNN", **NO_CONTEXT, repeatable=True)
    scores = case_study.full_sort_scores(list(ALL_USERS), model, test)
    assert scores.isinf().nonzero()[:, 1].tolist() == [0] * len(USERS)


def test_topk_gives_scores_and_internal_ids(tmp_path):
    model, (*_, test) = built(tmp_path, "DPG", **NO_CONTEXT)
    scores = case_study.full_sort_scores([3, 1], model, test)
    values, items = case_study.full_sort_topk(torch.tensor([3, 1]), model, test, k=2, device="cpu")
    for row, its_values, its_items in zip(scores.tolist(), values, items, strict=True):
        assert its_values.tolist() == sorted(row, reverse=True)[:2]
        assert [row[item] for item in its_items] == its_values.tolist()


def test_pairs_are_scored_in_batches_and_users_may_be_none(tmp_path, monkeypatch):
    model, (*_, test) = built(tmp_path, "MIDPG", **NO_CONTEXT)
    whole = case_study.full_sort_scores([1, 2, 3], model, test)
    predict, sizes = model.predict, []
    monkeypatch.setattr(model, "predict", lambda batch: sizes.append(len(batch)) or predict(batch))
    test.config["eval_batch_size"] = 16
    torch.testing.assert_close(case_study.full_sort_scores([1, 2, 3], model, test), whole)
    assert sizes == [16, 16, 7]
    assert case_study.full_sort_scores([], model, test).shape == (0, len(ITEMS) + 1)


@pytest.mark.parametrize("model", ["DPG", "FM"])
def test_what_a_pair_cannot_have_is_named_with_the_way_to_give_it(tmp_path, model):
    ranked, (*_, test) = built(tmp_path, model)
    with pytest.raises(UsageError, match=rf"{model} reads channel, price of each.*Scorer\.top_k"):
        case_study.full_sort_topk([1], ranked, test, k=1)


@pytest.mark.parametrize(("users", "told"), [(["u1"], "'u1'"), ([-1], "-1"), ([1, 8], "8")])
def test_users_are_internal_ids(tmp_path, users, told):
    model, (*_, test) = built(tmp_path, "DNN", **NO_CONTEXT)
    with pytest.raises(UsageError, match=rf"uid_series: {told} is not allowed.*token2id"):
        case_study.full_sort_scores(users, model, test)


def test_other_models_are_left_to_recbole(tmp_path):
    model, (*_, test) = built(tmp_path, "BPR", "full", **IDS_ALONE)
    users = np.unique([user for user, _ in rows_of(test)])
    scores = case_study.full_sort_scores(users, model, test)
    assert torch.equal(scores, stock_full_sort_scores(users, model, test))
