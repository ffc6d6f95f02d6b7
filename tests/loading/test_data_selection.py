"""Keys that choose, filter and scale what is loaded: their forms and the fields that they name."""

import pytest
from recbole.config import Config

from recbole_midpg.common.errors import UsageError
from recbole_midpg.loading.data_selection import Intervals
from tests.support.recbole_data import GAPS, gaps_config, loaders_of


def message(model="DNN", **values):
    with pytest.raises(UsageError) as error:
        gaps_config(model, **values)
    told = str(error.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize(
    "text",
    [
        "[3,5]",
        "(3,5)",
        "[3,inf)",
        "(-inf,0]",
        "[0, 1];[2, 2]",
        " [1,2] ; (4,5)",
        "[.5,1e3)",
        [3, 5],
    ],
    ids=str,
)
def test_intervals(text):
    assert Intervals().accepts(text)


@pytest.mark.parametrize(
    "text",
    ["", "5", "[5,inf", "5,inf)", "[5]", "[a,b]", "[5,3]", "[nan,3]", "[1,2],[3,4]", "[1,2];",
     "{1,2}", "[1,2,3]", [3], [5, 3], ["a", "b"], 5, True, None, (2, 1)],
    ids=str,
)  # fmt: skip
def test_what_is_no_interval(text):
    assert not Intervals().accepts(text)


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("user_inter_num_interval", "[5,inf", 'an interval, as "[3,5)"'),
        ("item_inter_num_interval", 5, 'an interval, as "[3,5)"'),
        ("normalize_field", "price", "a list of names"),
        ("normalize_all", "yes", "True or False"),
        ("normalize_all", 1, "True or False"),
        ("filter_inter_by_user_or_item", "no", "True or False"),
        ("rm_dup_inter", True, "one of first, last"),
        ("rm_dup_inter", "frist", "did you mean 'first'?"),
        ("val_interval", "[1,2)", "what is kept by field, as {price:"),
        ("val_interval", ["price"], "what is kept by field, as {price:"),
    ],
)
def test_forms(model, key, value, expected):
    told = message(model, **{key: value})
    assert told.startswith(f"{key}: {value!r} is not allowed, expected ")
    assert expected in told


def test_intervals_without_quotes_are_what_was_written():
    made = gaps_config(
        "DNN",
        user_inter_num_interval="[1,inf]",
        item_inter_num_interval=(0, 5),
        val_interval={"price": [1, "inf"], "coupon": ["c1", "c2"], "age": "(1,2]"},
    )
    assert made["user_inter_num_interval"] == "[1,inf]"
    assert made["item_inter_num_interval"] == "(0,5)"
    assert made["val_interval"] == {"price": "[1,inf]", "coupon": ["c1", "c2"], "age": "(1,2]"}


def test_forms_are_checked_for_models_of_other_kinds_too():
    with pytest.raises(UsageError, match=r"user_inter_num_interval: '5]' is not allowed"):
        Config("BPR", "ml-100k", config_dict={"user_inter_num_interval": "5]"})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"load_col": {"inter": ["user_ids"]}},
            "load_col: inter: 'user_ids' is not a column of gaps.inter",
        ),
        ({"unload_col": {"user": ["jbo"]}}, "unload_col: user: 'jbo' is not a column of gaps.user"),
        ({"load_col": {"iter": ["user_id"]}}, "load_col: 'iter' is no file of a dataset"),
        ({"normalize_field": ["prices"]}, "normalize_field: 'prices' is not a loaded field of num"),
        ({"normalize_field": ["job"]}, "normalize_field: 'job' is not a loaded field of numbers"),
        ({"val_interval": {"prise": "[1,2]"}}, "val_interval: 'prise' is not a loaded field"),
        ({"val_interval": {3: "[1,2]"}}, "val_interval: 3 is not a loaded field"),
        ({"val_interval": {"genres": ["a"]}}, "val_interval: 'genres' is not a loaded field"),
        (
            {"val_interval": {"price": "[5,inf"}},
            "val_interval: price: '[5,inf' is not allowed, expected an interval",
        ),
        ({"val_interval": {"price": 5}}, "val_interval: price: 5 is not allowed, expected an int"),
        (
            {"val_interval": {"coupon": "c1"}},
            "val_interval: coupon: 'c1' is not allowed, expected a list of its values",
        ),
        (
            {"normalize_field": ["price"], "normalize_all": True},
            "normalize_field: ['price'] does not go with normalize_all: True",
        ),
    ],
    ids=str,
)
def test_fields(values, told):
    assert message(**values).startswith(told)


def test_a_field_that_is_not_loaded_neither_filters_nor_is_scaled():
    unload = {"unload_col": {"inter": ["price"]}, "numerical_features": ["age"]}
    assert "did you mean" not in message(normalize_field=["price"], **unload)
    assert "'price' is not a loaded field" in message(val_interval={"price": "[1,2]"}, **unload)


@pytest.mark.parametrize(
    "values",
    [
        {"val_interval": {"coupon": ["c1", 5], "price": "[10,50)"}},
        {"user_inter_num_interval": [2, 5], "item_inter_num_interval": "[0,1];[3,inf)"},
        {"normalize_field": ["price", "sizes"]},
        {"rm_dup_inter": "last", "filter_inter_by_user_or_item": None, "normalize_all": None},
        {"load_col": {"inter": "*", "user": ["user_id", "job", "age"], "item": "*"}},
        # A field of two lists is loaded from the file that has it.
        {"load_col": {"inter": "*", "item": ["item_id", "job", "genres", "sizes"], "user": "*"}},
        {"load_col": {"inter": ["user_id", "item_id", "rating", "label", "price", "coupon"],
                      "item": "*", "user": "*"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_may_be_set(values):
    gaps_config("DNN", **values)


@pytest.mark.parametrize("key", ["load_col", "unload_col"])
@pytest.mark.parametrize("value", [False, ["user_id"], {"inter": "user_id"}, {"inter": [1]}])
def test_columns_are_given_by_file(key, value):
    with pytest.raises(UsageError, match=f"{key}: .* is not allowed, expected columns by file"):
        gaps_config("DNN", **{key: value})


WITHOUT_IDS = {"inter": ["rating", "coupon", "price"]}
NO_IDS = {"USER_ID_FIELD": None, "ITEM_ID_FIELD": None}
RANKED = {**GAPS["eval_args"], "mode": "full"}
NO_FEATURES = {"numerical_features": [], "scenario_fields": ["coupon"]}


@pytest.mark.parametrize(
    ("model", "values", "told"),
    [
        (
            "DNN",
            {"load_col": WITHOUT_IDS},
            "load_col: 'user_id' of inter is left out, which USER_ID_FIELD names (USER_ID_FIELD: ~ "
            "with ITEM_ID_FIELD: ~ does without), expected it to be loaded; "
            "unembedded_fields: [user_id] keeps models from embedding it.",
        ),
        (
            "DeepFM",
            {"load_col": {"inter": ["user_id", "rating", "coupon"]}},
            "load_col: 'item_id' of inter is left out, which ITEM_ID_FIELD names",
        ),
        (
            "DNN",
            {"unload_col": {"inter": ["item_id"]}, "scenario_fields": ["coupon"]},
            "unload_col: 'item_id' of inter is left out",
        ),
        (
            "DNN",
            {"load_col": {"inter": ["user_id", "item_id", "coupon", "rating"], "user": ["job"]}},
            "load_col: user: 'user_id' (USER_ID_FIELD) is not loaded, by which the rows of",
        ),
        (
            "BPR",
            {"load_col": WITHOUT_IDS, "eval_args": RANKED},
            "load_col: 'user_id' of inter is left out, which USER_ID_FIELD names, expected it to "
            "be loaded; unembedded_fields: [user_id] keeps models from embedding it.",
        ),
        (
            "BPR",
            {**NO_IDS, "eval_args": RANKED},
            "USER_ID_FIELD: ~ is not allowed, as BPR needs it",
        ),
        ("DNN", {"USER_ID_FIELD": "userid"}, "USER_ID_FIELD: 'userid' is not a column of gaps.in"),
        (
            "DNN",
            {"ITEM_ID_FIELD": None, "load_col": {"inter": ["user_id", "rating", "coupon"]}},
            "USER_ID_FIELD: user_id does not go with ITEM_ID_FIELD: ~, expected two columns, or ~",
        ),
        (
            "DNN",
            {
                **NO_IDS,
                "load_col": WITHOUT_IDS,
                "eval_args": {**GAPS["eval_args"], "group_by": "user"},
            },
            "eval_args: group_by: 'user' needs users and items, and USER_ID_FIELD and ITEM_ID",
        ),
        (
            "DNN",
            {**NO_IDS, "load_col": {**WITHOUT_IDS, "user": "*"}},
            "USER_ID_FIELD: ~ does not go with gaps.user, expected the column that finds its rows",
        ),
    ],
)
def test_ids_are_loaded_where_they_are_named(model, values, told):
    assert message(model, **{**NO_FEATURES, **values}).startswith(told)


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_rows_need_no_ids(model):
    config = gaps_config(model, **NO_FEATURES, **NO_IDS, load_col=WITHOUT_IDS)
    train, _, test = loaders_of(config)
    assert {"user_id", "item_id"}.isdisjoint(train._dataset.field2type)
    assert len(train._dataset) + len(test._dataset) == 7
