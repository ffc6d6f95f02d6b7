"""Files of rows, read a block at a time."""

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction.rows import open_rows

TYPES = {"user_id": "token", "price": "float"}


def read(path, content, rows=2, types=TYPES):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_rows(path, types, "\t") as file:
        return file.names, list(file.blocks(rows))


def test_blocks_keep_order_and_lines(tmp_path):
    names, blocks = read(tmp_path / "new.csv", "user_id,price\nu1,1\nu2,\nu3,3\n")
    assert names == ["user_id", "price"]
    assert [block.columns for block in blocks] == [
        {"user_id": ["u1", "u2"], "price": ["1", ""]},
        {"user_id": ["u3"], "price": ["3"]},
    ]
    assert [block.lines_before for block in blocks] == [1, 3]
    assert [block.line_of(0) for block in blocks] == [2, 4]


def test_quotes_line_feeds_in_values_and_a_byte_order_mark(tmp_path):
    content = '\ufeffuser_id,price\r\n"a,""b""\nc",1\r\nu2,2\r\n'
    names, (block,) = read(tmp_path / "new.csv", content)
    assert names == ["user_id", "price"]
    assert block.columns["user_id"] == ['a,"b"\nc', "u2"]
    assert [block.line_of(row) for row in range(2)] == [3, 4]


def test_atomic_files_have_types(tmp_path):
    content = "user_id:token\tprice:float\tother:token\nu1\t1\tx\n"
    names, (block,) = read(tmp_path / "new.inter", content)
    assert names == ["user_id", "price", "other"]
    assert block.columns["price"] == ["1"]


def test_a_file_without_rows_has_none(tmp_path):
    assert read(tmp_path / "new.csv", "user_id,price\n") == (["user_id", "price"], [])
    assert read(tmp_path / "new.csv", "user_id,price\n\n\n")[1] == []
    (block,) = read(tmp_path / "new.csv", "user_id,price\nu1,1\n\n\n\n\n\n")[1]
    assert block.columns["user_id"] == ["u1"]


def test_the_share_that_is_read(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("user_id\n" + "u1\n" * 100_000)
    with open_rows(path, TYPES, "\t") as file:
        shares = [file.share_read for _ in file.blocks(10_000)]
    assert shares == sorted(shares) and 0 < shares[0] < 0.2 and shares[-1] == 1.0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("new.csv", "", "line 1: it is empty, expected the columns' names"),
        ("new.csv", "\nu1\n", "line 1: it is empty, expected the columns' names"),
        (
            "new.csv",
            "user_id;price\nu1;1\n",
            "line 1: one column is found, 'user_id;price', expected the separator ',' between "
            "columns, and not ';'.",
        ),
        (
            "new.csv",
            "user_id\tprice\n",
            "expected the separator ',' between columns, and not '\\t'",
        ),
        ("new.inter", "user_id:token,price:float\n", "expected the separator '\\t' between col"),
        ("new.csv", "a,b,a\n", "line 1: column 'a' is there twice"),
        ("new.csv", "a,b\n1,2\n1\n", "line 3: 1 values, expected 2 as in line 1"),
        ("new.csv", "a,b\n1,2,3\n", "line 2: 3 values, expected 2 as in line 1"),
        ("new.csv", "a,b\n1,2\n\n1,2\n", "line 3: it is empty, expected 2 values"),
        ("new.csv", 'a,b\n"1\n1",2\n\n\n1,2\n', "line 4: it is empty, expected 2 values"),
        ("new.csv", "a,b\n1,2\n1,2\n1,2\n1\n", "line 5: 1 values, expected 2 as in line 1"),
        ("new.csv", b"a,b\n1,\xff\n", "it is not UTF-8 text"),
        ("new.csv", 'a,b\n1,"2\n1,2\n', "line 3: unexpected end of data"),
        ("new.inter", "user_id:token\tprice\n", "column 'price', expected price:float"),
        ("new.inter", "user_id:token\tother\n", "column 'other', expected name:type"),
        ("new.inter", "user_id:token\tprice:token\n", "'price:token', expected price:float"),
        ("new.txt", "a\n", "its ending is '.txt', expected one of .csv, .inter"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path, name, content, words):
    with pytest.raises(UsageError) as error:
        read(tmp_path / name, content)
    assert words in str(error.value) and name in str(error.value)


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "none.csv", tmp_path / "folder.csv"):
        with pytest.raises(UsageError, match="it cannot be read"), open_rows(path, TYPES, "\t"):
            pass
