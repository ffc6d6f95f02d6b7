"""Rows that filters leave out are counted, and a run asks before many go that nobody has named."""

from pathlib import Path

import pytest
from recbole.config import Config
from recbole.data import create_dataset

from recbole_midpg.common.errors import UsageError

N_ROWS = 40


@pytest.fixture
def shop(tmp_path):
    """40 rows of ten users and eight items; all users and items have features."""
    folder = Path("data/shop")
    folder.mkdir(parents=True)
    rows = [f"u{n % 10}\ti{n % 8}\t{'app' if n % 3 else 'web'}\t{n % 2}" for n in range(N_ROWS)]
    header = "user_id:token\titem_id:token\tchannel:token\tlabel:float"
    (folder / "shop.inter").write_text("\n".join([header, *rows]) + "\n")
    write_features(folder / "shop.user", "user_id:token\tage:token", [f"u{n}" for n in range(10)])
    write_features(folder / "shop.item", "item_id:token\tkind:token", [f"i{n}" for n in range(8)])
    return folder


def write_features(path, header, ids):
    path.write_text("\n".join([header, *(f"{name}\tx" for name in ids)]) + "\n")


def dataset(**values):
    given = {"data_path": "data", "load_col": None, "scenario_fields": ["channel"], **values}
    return create_dataset(Config(model="DNN", dataset="shop", config_dict=given))


def test_nothing_is_said_where_nothing_is_left_out(shop, caplog):
    assert dataset().inter_num == N_ROWS
    assert "left out" not in caplog.text


def test_rows_of_users_and_items_without_features_end_a_run_with_their_number(shop):
    write_features(shop / "shop.user", "user_id:token\tage:token", [f"u{n}" for n in range(5)])
    write_features(shop / "shop.item", "item_id:token\tkind:token", [f"i{n}" for n in range(7)])
    with pytest.raises(UsageError) as error:
        dataset()
    assert str(error.value) == (
        "shop.user lacks 5 of 10 users and shop.item lacks 1 of 8 items; 22 of 40 rows are left "
        "out (filter_inter_by_user_or_item: False keeps them); max_left_out: 1 lets them go."
    )


@pytest.mark.parametrize(
    "allowed", [{"max_left_out": 0.5}, {"max_left_out": 1}, {"filter_inter_by_user_or_item": True}]
)
def test_what_a_user_allows_is_a_line_in_the_log_from_the_cache_too(shop, caplog, allowed):
    write_features(shop / "shop.user", "user_id:token\tage:token", [f"u{n}" for n in range(5)])
    for _ in range(2):
        caplog.clear()
        assert dataset(**allowed).inter_num == 20
        assert "shop.user lacks 5 of 10 users; 20 of 40 rows are left out" in caplog.text


def test_a_saved_dataset_says_it_again(shop, caplog):
    write_features(shop / "shop.user", "user_id:token\tage:token", [f"u{n}" for n in range(5)])
    dataset(max_left_out=1, save_dataset=True, dataset_cache=False)
    caplog.clear()
    assert dataset(max_left_out=1).inter_num == 20
    assert "shop.user lacks 5 of 10 users" in caplog.text
    with pytest.raises(UsageError, match="20 of 40 rows are left out"):
        dataset()


def test_few_are_a_line_in_the_log(shop, caplog):
    with (shop / "shop.inter").open("a") as file:
        file.write("nobody\ti1\tapp\t1\n")
    assert dataset().inter_num == N_ROWS
    assert "shop.user lacks 1 of 11 users; 1 of 41 rows are left out" in caplog.text


def test_rows_can_be_kept(shop):
    with (shop / "shop.inter").open("a") as file:
        file.write("nobody\ti1\tapp\t1\n" * 10)
    assert dataset(filter_inter_by_user_or_item=False).inter_num == N_ROWS + 10


def test_rows_without_a_user_or_an_item(shop):
    with (shop / "shop.inter").open("a") as file:
        file.write("\ti1\tapp\t1\n" * 10)
    with pytest.raises(UsageError, match="shop: 10 of 50 rows are left out, which have no user"):
        dataset()
    assert dataset(max_left_out=0.2).inter_num == N_ROWS


@pytest.mark.parametrize(
    ("values", "kept", "words"),
    [
        ({"val_interval": {"channel": ["app"]}}, 26, "14 of 40 rows are left out by val_interval"),
        ({"user_inter_num_interval": "[5,inf)"}, 0, "by user_inter_num_interval"),
        ({"rm_dup_inter": "first"}, 40, ""),
    ],
)
def test_filters_that_a_user_sets_are_counted_and_not_asked_about(
    shop, caplog, values, kept, words
):
    if kept == 0:
        with pytest.raises(UsageError):  # RecBole's own: nothing is left
            dataset(**values)
        return
    assert dataset(**values).inter_num == kept
    assert words in caplog.text


@pytest.mark.parametrize("value", [-0.1, 1.1, "many", None])
def test_other_shares_are_refused(shop, value):
    with pytest.raises(UsageError, match="max_left_out"):
        dataset(max_left_out=value)
