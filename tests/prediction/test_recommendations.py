"""Files of the best items: what ``Scorer.top_k`` gives, whole or not at all."""

import csv
import itertools

import numpy as np
import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction import Scorer, ranking
from recbole_midpg.prediction.ranking import ItemRanking
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.recommendations import (
    ListedUsers,
    rank_for_requests,
    read_whole_file,
)
from recbole_midpg.prediction.rows import open_rows
from tests.prediction.checkpoints import checkpoint_of
from tests.support.shop import CHANNELS, USERS, shop_config

COLUMNS = ["user_id", "channel", "price", "rank", "item_id", "score"]
LINES = [f"{user},x,{channel}" for user, channel in itertools.product(USERS, CHANNELS)]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return Scorer.read(checkpoint_of(shop_config(tmp_path_factory.mktemp("shop"))).path)


def ranked_file(scorer, lines, header="user_id,note,channel", **context):
    with open("new.csv", "w") as file:  # noqa: PTH123 - the test's own folder
        file.write("\n".join([header, *lines]))
    with open_rows("new.csv", scorer.fields, "\t") as requests:
        return rank_for_requests(ItemRanking(scorer.scoring, 3, context), requests, "top.csv")


def lines_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_is_table(lines, table):
    assert [list(line) for line in lines] == [list(table)] * len(table)
    for name in table:
        values = [line[name] for line in lines]
        if name == "score":
            np.testing.assert_array_equal(np.array(values, np.float32), table[name])
        else:
            assert values == list(map(str, table[name]))


@pytest.mark.parametrize("pairs", [1, 50, 1 << 20])
def test_a_file_holds_what_top_k_gives(tmp_path, scorer, monkeypatch, pairs):
    monkeypatch.setattr(ranking, "_BLOCK_PAIRS", pairs)
    ranked = ranked_file(scorer, LINES, price="3")
    users, channels = zip(*itertools.product(USERS, CHANNELS), strict=True)
    table = scorer.top_k({"user_id": users, "channel": channels}, 3, {"price": "3"})
    assert_is_table(lines_of(tmp_path / "top.csv"), table)
    assert (ranked.requests, ranked.rows) == (14, 42)
    assert ranked.counts == {"user_id": ValueCounts(14), "channel": ValueCounts(14)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "top.csv"]


def test_listed_users(tmp_path, scorer, monkeypatch, capsys):
    monkeypatch.setattr("recbole_midpg.atomic_data_scripts.progress_bar._SECONDS_BETWEEN", 0)
    monkeypatch.setattr(ranking, "_BLOCK_PAIRS", 24)
    context = {"channel": "web", "price": "1e1"}
    users = ["u3", "nobody", "u1"]
    ranked = rank_for_requests(
        ItemRanking(scorer.scoring, 12, context),
        ListedUsers("user_id", users),
        tmp_path / "top.csv",
        show_progress=True,
    )
    assert_is_table(lines_of(tmp_path / "top.csv"), scorer.top_k(users, 12, context))
    assert ranked.counts == {"user_id": ValueCounts(2, 1, 0, ("nobody",))}
    assert "ranking: 67%, 2 rows" in capsys.readouterr().err


def test_no_requests_give_a_line_of_names(tmp_path, scorer):
    assert ranked_file(scorer, [], price="3").rows == 0
    assert (tmp_path / "top.csv").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("lines", "header", "told"),
    [
        (["u1,x,app", "u2,x"], "user_id,note,channel", "new.csv, line 3: 2 values, expected 3"),
        (["u1"], "user_id", "new.csv: the model reads channel of each row"),
        (["u1"], "user", "new.csv: column 'user_id' of the users is missing"),
        (["u1,app,dear"], "user_id,channel,age", "new.csv, line 2, column 'age': 'dear' is not"),
    ],
)
def test_a_failure_leaves_the_old_file(tmp_path, scorer, lines, header, told):
    (tmp_path / "top.csv").write_text("old")
    with pytest.raises(UsageError, match=told):
        ranked_file(scorer, lines, header, price="3")
    assert (tmp_path / "top.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "top.csv"]


def test_whole_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_midpg.prediction.recommendations._BLOCK_ROWS", 2)
    (tmp_path / "items.csv").write_text('item_id,title\ni1,"a, b"\ni2,\ni3,c\n')
    columns = read_whole_file("items.csv").columns
    assert columns == {
        "item_id": ["i1", "i2", "i3"],
        "title": ["a, b", "", "c"],
    }
