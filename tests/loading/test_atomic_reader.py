"""The reader of plain files against pandas' Python reader, which RecBole uses."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_midpg.loading import atomic_reader
from recbole_midpg.loading.atomic_reader import (
    MISSING,
    NotPlain,
    TextColumn,
    Tokens,
    concatenate,
    merge,
    narrow,
    number_texts,
    read_columns,
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_characters='\t\n\r\0"', exclude_categories=["Cs"]),
    max_size=20,
)


def read(tmp_path, text, separator="\t", **kinds):
    path = tmp_path / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_columns(path, separator, kinds)


@given(st.lists(TEXTS))
def test_equal_texts_get_equal_numbers(texts):
    tokens = Tokens.of(texts)
    codes, first = number_texts(tokens.blob, tokens.offsets[:-1], tokens.lengths)
    expected = list(dict.fromkeys(texts))
    assert [expected[code] for code in codes] == texts
    assert [texts[place] for place in first] == expected


def test_texts_that_share_words():
    texts = ["a" * n for n in (8, 16, 7, 9, 17, 24, 8, 25, 16, 0, 1)] + ["a" * 16 + "b", "b" * 16]
    codes, _ = number_texts(Tokens.of(texts).blob, *bounds(Tokens.of(texts)))
    assert codes.tolist() == [0, 1, 2, 3, 4, 5, 0, 6, 1, 7, 8, 9, 10]


def bounds(tokens):
    return tokens.offsets[:-1], tokens.lengths


@given(st.lists(TEXTS), st.lists(TEXTS), st.data())
def test_tokens_are_a_list_of_texts(left, right, data):
    both = concatenate([Tokens.of(left), Tokens.of(right)])
    assert both.texts() == left + right
    assert len(both) == len(left + right)
    places = data.draw(st.lists(st.integers(0, len(both) - 1))) if len(both) else []
    taken = both.take(np.array(places, dtype=np.int64))
    assert taken.texts() == [(left + right)[place] for place in places]
    merged, codes = merge([Tokens.of(left), Tokens.of(right)])
    assert merged.texts() == list(dict.fromkeys(left + right))
    assert [[merged.texts()[code] for code in part] for part in codes] == [left, right]


def test_taking_many_texts_goes_piece_by_piece(monkeypatch):
    monkeypatch.setattr(atomic_reader, "_COPIED_TEXTS", 2)
    tokens = Tokens.of(["one", "", "three", "four", "five"])
    assert tokens.take(np.array([4, 4, 1, 0, 2])).texts() == ["five", "five", "", "one", "three"]


def test_tables_of_tokens():
    tokens = Tokens.of(["[PAD]", "b", "ä", "b"])
    assert tokens.array.tolist() == ["[PAD]", "b", "ä", "b"]
    assert tokens.positions == {"[PAD]": 0, "b": 3, "ä": 2}
    assert Tokens.of(["x", "y", "z"]).find(["z", "no", "x"]) == [2, 0]


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 23])
@pytest.mark.parametrize("last_line_ends", [True, False])
def test_columns_of_a_plain_file(block_bytes, last_line_ends, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_reader, "BLOCK_BYTES", block_bytes)
    lines = ["a:token\tb:float\tc:token", "x\t1.5\tlong text of words", "\tNA\ty", "07\t-2e3\ty"]
    text = "\n".join([*lines, "x\t\t7"]) + "\n" * last_line_ends
    columns = read(tmp_path, text, **{"c:token": "text", "b:float": "number", "a:token": "text"})
    assert list(columns) == ["a:token", "b:float", "c:token"]
    assert columns["a:token"].tokens.texts() == ["x", "07"]
    assert columns["a:token"].codes.tolist() == [0, -1, 1, 0]
    assert columns["a:token"].codes.dtype == np.int8
    np.testing.assert_array_equal(columns["b:float"], [1.5, np.nan, -2000.0, np.nan])
    assert columns["c:token"].to_objects().tolist() == ["long text of words", "y", "y", "7"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PLAIN, st.sampled_from([*MISSING, "0", "a"])), min_size=1))
def test_texts_are_those_that_pandas_reads(tmp_path, rows):
    text = "a\tb\n" + "".join(f"{a}\t{b}\n" for a, b in rows)
    columns = read(tmp_path, text, a="text", b="text")
    expected = pd.read_csv(io.StringIO(text, newline=""), sep="\t", dtype=object, engine="python")
    for name in "ab":
        assert pd.Series(columns[name].to_objects(), dtype=object).equals(
            expected[name].astype(object)
        )


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 23])
def test_words_that_are_read_as_missing_are_counted(block_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_reader, "BLOCK_BYTES", block_bytes)
    rows = ["NA\tx", "DE\t", "null\tx", "NA\tx", "\tx", "NAM\tx"]
    columns = read(tmp_path, "\n".join(["a\tb", *rows]) + "\n", a="text", b="text")
    assert columns["a"].missing_words == {"NA": 2, "null": 1}
    assert columns["b"].missing_words == {}
    assert columns["a"].tokens.texts() == ["DE", "NAM"]


def test_words_among_texts_that_pandas_has_read():
    values = np.array(["NA", "DE", np.nan, "null", "NA", "", "NAM", "DE"], dtype=object)
    column = TextColumn.of_cells(values)
    assert column.missing_words == {"NA": 2, "null": 1}
    assert column.codes.tolist() == [-1, 0, -1, -1, -1, -1, 1, 0]
    assert column.tokens.texts() == ["DE", "NAM"]
    assert TextColumn.of_cells(np.array([], dtype=object)).codes.tolist() == []


def test_no_rows(tmp_path):
    columns = read(tmp_path, "a\tb\n", a="text", b="number")
    assert len(columns["a"].codes) == len(columns["a"].tokens) == len(columns["b"]) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\tb\n1\t2\r\n", "carriage returns"),
        ("a\tb\n1\t\0\n", "null bytes"),
        ('a\tb\n"1"\t2\n', "quoted"),
        ('a\tb\n1\t"2"\n', "quoted"),
        ("a\tb\n\n1\t2\n", "more or fewer"),
        ("a\tb\n1\n1\t2\t3\n", "more or fewer"),
        ("a\tb\n1\t2\t3\t4\n", "more or fewer"),
        (b"a\tb\n\xff\t2\n", "UTF-8"),
        (b"a\xff\tb\n1\t2\n", "UTF-8"),
        ("a\n1\n", "one column"),
        ("a\ta\n1\t2\n", "first line"),
        ("\ufeffa\tb\n1\t2\n", "first line is unusual"),
        ("b\tc\n1\t2\n", "not in the first line"),
        ("a\tb\n1\tx\n", "unusual form"),
        ("a\tb\n1\t12345678901234567\n", "more digits"),
    ],
)
def test_other_files_are_refused(text, reason, tmp_path):
    with pytest.raises(NotPlain, match=reason):
        read(tmp_path, text, a="text", b="number")


def test_a_quote_within_a_value_is_plain(tmp_path):
    assert read(tmp_path, 'a\tb\n1"\tx"y"\n', b="text")["b"].tokens.texts() == ['x"y"']


@pytest.mark.parametrize("separator", ["::", '"', "é", "\n"])
def test_other_separators_are_refused(separator, tmp_path):
    with pytest.raises(NotPlain, match="separated by"):
        read(tmp_path, "a\tb\n1\t2\n", separator, a="text")


@pytest.mark.parametrize("separator", [",", " ", "|"])
def test_separators_of_one_byte(separator, tmp_path):
    text = separator.join("ab") + "\n" + separator.join("12") + "\n"
    assert read(tmp_path, text, separator, b="text")["b"].tokens.texts() == ["2"]


@pytest.mark.parametrize(
    ("count", "dtype"),
    [(0, np.int8), (127, np.int8), (128, np.int16), (32767, np.int16), (32768, np.int32)],
)
def test_codes_are_narrow(count, dtype):
    codes = narrow(np.arange(-1, count), count)
    assert codes.dtype == dtype
    assert codes.tolist() == list(range(-1, count))


def test_a_column_of_objects():
    column = TextColumn.of(np.array(["b", np.nan, "a", "b"], dtype=object))
    assert column.codes.tolist() == [0, -1, 1, 0]
    assert column.tokens.texts() == ["b", "a"]
