"""Files of scores: whole or not at all, a line a row."""

import csv

import numpy as np
import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction import Scorer, scoring_pass
from recbole_midpg.prediction.files import score_file
from recbole_midpg.prediction.recognition import ValueCounts
from tests.prediction.checkpoints import gaps_checkpoint

HEADER = "coupon,price,item_id,user_id,note\n"
ROWS = ["c1,10,i1,u1,a", "never,,i9,u9,b", ",30,i2,u2,c", "c2,1e3,i3,u4,d"]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return Scorer.read(gaps_checkpoint(tmp_path_factory.mktemp("gaps"), eval_batch_size=3).path)


def scored(tmp_path, scorer, rows, **options):
    source, target = tmp_path / "new.csv", tmp_path / "scores.csv"
    source.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    count = score_file(scorer, source, target, **options).rows
    with target.open() as file:
        lines = list(csv.DictReader(file))
    assert count == len(lines) == len(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "scores.csv"]
    return lines


def test_scores_are_those_of_the_scorer(tmp_path, scorer):
    lines = scored(tmp_path, scorer, ROWS)
    columns = zip(*(row.split(",") for row in ROWS), strict=True)
    expected = scorer.scores(dict(zip(HEADER.strip().split(","), columns, strict=True)))
    assert [list(line) for line in lines] == [["score"]] * 4
    scores = np.array([line["score"] for line in lines], dtype=np.float32)
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 50])
def test_blocks_change_nothing(tmp_path, scorer, rows, monkeypatch):
    """Blocks hold whole batches: the same rows meet in a batch, whatever the block."""
    many = (ROWS * 13)[:rows]
    whole = scored(tmp_path, scorer, many)
    monkeypatch.setattr(scoring_pass, "_BLOCK_ROWS", 4)
    assert scored(tmp_path, scorer, many) == whole


def test_counts_add_up_over_blocks(tmp_path, scorer, monkeypatch, caplog):
    """``ROWS`` 13 times: u9, i9 and never are unknown, one coupon and one price are missing."""
    monkeypatch.setattr(scoring_pass, "_BLOCK_ROWS", 4)
    (tmp_path / "new.csv").write_text(HEADER + "".join(f"{row}\n" for row in ROWS * 13))
    file = score_file(scorer, tmp_path / "new.csv", tmp_path / "scores.csv")
    assert file.rows == 52
    assert file.counts == {
        "user_id": ValueCounts(39, 13, 0, ("u9",)),
        "item_id": ValueCounts(39, 13, 0, ("i9",)),
        "price": ValueCounts(39, 0, 13),
        "coupon": ValueCounts(26, 13, 13, ("never",)),
    }
    assert not caplog.records


def test_columns_are_copied_beside_the_score(tmp_path, scorer):
    lines = scored(tmp_path, scorer, ROWS, keep=["note", "user_id"])
    assert [list(line) for line in lines] == [["note", "user_id", "score"]] * 4
    assert [line["note"] for line in lines] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (HEADER + "c1,dear,i1,u1,a\n", {}, "new.csv, line 2, column 'price': 'dear' is not a fin"),
        (HEADER + "\n".join([*ROWS, "c1,x,i1,u1,a"]), {}, "new.csv, line 6, column 'price': 'x'"),
        ("coupon,item_id,user_id\n", {}, "new.csv, line 1: column 'price' is missing"),
        (HEADER, {"keep": ["notes"]}, "--keep: 'notes' is not a column of"),
        (HEADER, {"keep": ["zzz"]}, "expected some of coupon, price"),
        ("score," + HEADER, {"keep": ["score"]}, "--keep: 'score' is not allowed"),
    ],
)
def test_a_failure_leaves_the_old_file(tmp_path, scorer, content, options, words):
    source, target = tmp_path / "new.csv", tmp_path / "scores.csv"
    source.write_text(content)
    target.write_text("old")
    with pytest.raises(UsageError, match=words):
        score_file(scorer, source, target, **options)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "scores.csv"]


def test_an_output_that_cannot_be_written_is_told(tmp_path, scorer):
    source = tmp_path / "new.csv"
    source.write_text(HEADER)
    with pytest.raises(UsageError, match="it is the input"):
        score_file(scorer, source, tmp_path / "." / "new.csv")
    with pytest.raises(UsageError, match="it cannot be written"):
        score_file(scorer, source, source / "scores.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="it is a folder, expected a file's name"):
        score_file(scorer, source, tmp_path / "folder")
    assert source.read_text() == HEADER


def test_progress_is_shown_when_asked_for(tmp_path, scorer, monkeypatch, capsys):
    monkeypatch.setattr("recbole_midpg.atomic_data_scripts.progress_bar._SECONDS_BETWEEN", 0)
    scored(tmp_path, scorer, ROWS, show_progress=True)
    assert "scoring: 100%, 4 rows" in capsys.readouterr().err
