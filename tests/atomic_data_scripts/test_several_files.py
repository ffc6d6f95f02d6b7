"""Datasets of several raw files: rows of many, side tables, lines without a header."""

import gzip
import zipfile
from dataclasses import replace

import pytest

from recbole_midpg.atomic_data_scripts import convert
from recbole_midpg.atomic_data_scripts import raw_file as raw_file_module
from recbole_midpg.atomic_data_scripts.columns import (
    FILE,
    MISSING,
    Column,
    free_text,
    one_of,
    token,
    unused,
    whole_number,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, LeftOut, SideTable
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.raw_files import RawFiles, are_in
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows, rejected_rows

LATIN = Delimited("::", header=False, encoding="latin-1")
TOWNS = SideTable(
    "users.txt",
    LATIN,
    (Column("user", (), whole_number), token("town", free_text(MISSING)), *unused("note")),
    key="user",
    of="user",
    describes="user",
)
SHOP = Converter(
    name="shop",
    title="Visits of two shops",
    raw_name="visits_*.csv",
    form=Delimited(","),
    columns=(
        token("user", whole_number),
        token("item", whole_number),
        Column("bought", ("label:float",), one_of(("0", "1", "2"))),
        Column(
            "shop",
            ("shop:token",),
            lambda name: name[-5:-4],
            made_of=(FILE,),
        ),
        Column("visit", (), lambda pair: pair, made_of=("user", "item")),
    ),
    side_tables=(TOWNS,),
    left_out=(LeftOut("label", "2".__eq__, "without an outcome"),),
    entities=(Entity("user", "user"), Entity("item", "item")),
    label="bought",
    is_positive="1".__eq__,
    scenario="shop",
    tallied=("town",),
    key="visit",
    homepage=None,
    licence="none",
)
VISITS = {
    "visits_a.csv": "user,item,bought\n1,10,1\n2,10,0\n",
    "more/visits_b.csv": "user,item,bought\n1,11,2\n3,12,1\n1,10,0\n",
    "users.txt": "1::Köln: Süd::x\n2::Ulm::y\n9::Rom::z\n",
}


def folder_of(path, files=VISITS, **changed):
    for name, text in {**files, **changed}.items():
        target = path / "raw" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="latin-1")
    return path / "raw"


def test_rows_of_all_files_with_their_side_tables(tmp_path):
    report = convert(SHOP, folder_of(tmp_path), tmp_path)
    assert atomic_rows(tmp_path / "shop" / "shop.inter") == [
        {"user": "3", "item": "12", "label": "1", "shop": "b"},
        {"user": "1", "item": "10", "label": "0", "shop": "b"},
        {"user": "1", "item": "10", "label": "1", "shop": "a"},
        {"user": "2", "item": "10", "label": "0", "shop": "a"},
    ]
    assert atomic_rows(tmp_path / "shop" / "shop.user") == [
        {"user": "3", "town": "unk"},
        {"user": "1", "town": "Köln: Süd"},
        {"user": "2", "town": "Ulm"},
    ]
    assert report.tallies["town"] == {"Köln: Süd": [2, 1], "Ulm": [1, 0], "unk": [1, 1]}
    assert report.left_out == {"without an outcome": 1}
    assert "5 rows in = 4 rows out + 0 rows rejected + 1 rows without" in report.summary()
    assert (report.rows_in, report.rows_out, report.positives) == (5, 4, 2)
    assert (report.copies, report.repeats) == (0, 1)
    assert not convert(SHOP, tmp_path / "raw", tmp_path).changed
    folder_of(tmp_path, {"users.txt": "1::Bonn::x\n"})
    assert convert(SHOP, tmp_path / "raw", tmp_path).changed


@pytest.mark.parametrize("size", [4, 11, 30])
def test_blocks_of_any_size_give_the_same(tmp_path, monkeypatch, size):
    raw = folder_of(tmp_path)
    convert(SHOP, raw, tmp_path / "whole", duplicates="drop-repeats")
    monkeypatch.setattr(raw_file_module, "BLOCK_BYTES", size)
    convert(SHOP, raw, tmp_path / "parts", duplicates="drop-repeats")
    for name in ("shop.inter", "shop.user", "shop.rejected.tsv"):
        paths = [tmp_path / folder / "shop" / name for folder in ("whole", "parts")]
        assert paths[0].read_text() == paths[1].read_text()


def test_packed_or_not_the_files_are_the_same(tmp_path):
    convert(SHOP, folder_of(tmp_path), tmp_path / "plain")
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, text in VISITS.items():
            archive.writestr(f"data/{name}", text.encode("latin-1"))
            (packed / f"{name.replace('/', '_')}.gz").write_bytes(
                gzip.compress(text.encode("latin-1"))
            )
    (packed / "more_visits_b.csv.gz").rename(packed / "visits_b.csv.gz")
    expected = (tmp_path / "plain" / "shop" / "shop.inter").read_text().splitlines()
    for raw in (tmp_path / "all.zip", packed):
        convert(SHOP, raw, tmp_path / raw.stem)
        made = (tmp_path / raw.stem / "shop" / "shop.inter").read_text().splitlines()
        assert sorted(made) == sorted(expected)
        assert RawFiles(raw, SHOP).size > 100


def test_bad_lines_are_named_by_their_file_and_its_line(tmp_path):
    raw = folder_of(
        tmp_path,
        {
            "visits_a.csv": VISITS["visits_a.csv"] + "x,1,1\n",
            "visits_b.csv": "user,item,bought\n1,11,3\n4,1,1\n",
            "users.txt": "1::A::x\n2::B\n1::A::y\n1::C::z\n",
        },
    )
    with pytest.raises(UsageError, match=r"users.txt, line 2: expected 3 columns, found 2"):
        convert(SHOP, raw, tmp_path)
    report = convert(SHOP, raw, tmp_path, on_error="skip")
    rejected = [row[:3] for row in rejected_rows(tmp_path / "shop" / "shop.rejected.tsv")]
    assert rejected == [
        ["users.txt:2", "", "expected 3 columns, found 2"],
        ["visits_a.csv:4", "user", "expected a whole number"],
        ["visits_b.csv:2", "bought", "expected one of 0, 1, 2"],
    ]
    assert (report.rows_in, report.rows_out, report.rows_rejected) == (5, 3, 2)
    assert (report.side_rejected, report.side_repeats) == (1, {"users.txt": 1})
    told = report.summary()
    assert "1 lines of side tables rejected" in told
    assert "1 lines of users.txt say something else of an id than an earlier one" in told
    (raw / "users.txt").write_text("1::A::x\n")
    with pytest.raises(UsageError, match=r"visits_a.csv, line 4, column user: 'x' is not allowed"):
        convert(SHOP, raw, tmp_path)
    (raw / "visits_a.csv").write_text(VISITS["visits_a.csv"])
    with pytest.raises(UsageError, match=r"visits_b.csv, line 2, column bought: '3' is not"):
        convert(SHOP, raw, tmp_path)


def test_a_sample_keeps_users_whole(tmp_path):
    visits = "".join(f"{n % 100},{n},{n % 2}\n" for n in range(1_000))
    raw = folder_of(
        tmp_path, {"visits_a.csv": "user,item,bought\n" + visits, "users.txt": "1::A::x\n"}
    )
    report = convert(SHOP, raw, tmp_path, sample=0.3)
    rows = atomic_rows(tmp_path / "shop" / "shop.inter")
    users = {row["user"] for row in rows}
    assert 15 < len(users) < 45
    assert len(rows) == 10 * len(users) == report.rows_out
    assert report.left_out == {"outside of the sample": 1_000 - len(rows)}
    assert not convert(SHOP, raw, tmp_path, sample=0.3).changed
    assert convert(SHOP, raw, tmp_path, sample=0.6).rows_out > len(rows)
    assert users < {row["user"] for row in atomic_rows(tmp_path / "shop" / "shop.inter")}
    assert convert(SHOP, raw, tmp_path).rows_out == 1_000
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(UsageError, match=rf"sample: {wrong} is not allowed, expected a number"):
            convert(SHOP, raw, tmp_path, sample=wrong)


def test_repeated_keys_of_several_files(tmp_path):
    raw = folder_of(tmp_path, {"visits_c.csv": VISITS["visits_a.csv"], **VISITS})
    with pytest.raises(
        UsageError, match=r"visits_a.csv, line 2, column visit: '1 10' stands in line 4 of more/v"
    ):
        convert(SHOP, raw, tmp_path, duplicates="stop")
    report = convert(SHOP, raw, tmp_path, duplicates="drop-copies")
    rejected = [row[:3] for row in rejected_rows(tmp_path / "shop" / "shop.rejected.tsv")]
    assert rejected == [
        ["visits_c.csv:2", "visit", "is an exact copy of line 4 of more/visits_b.csv"],
        ["visits_c.csv:3", "visit", "is an exact copy of line 3 of visits_a.csv"],
    ]
    assert (report.copies, report.repeats) == (2, 1)


def test_each_row_must_have_its_line_in_a_complete_side_table(tmp_path):
    converter = replace(SHOP, side_tables=(replace(TOWNS, complete=True),))
    with pytest.raises(
        UsageError, match=r"visits_b.csv, line 3, column users.txt: '3' .* users.txt has no line of"
    ):
        convert(converter, folder_of(tmp_path), tmp_path)


def test_a_form_is_chosen_by_the_files_that_are_there(tmp_path):
    other = replace(SHOP, raw_name="old_*.csv", form=Delimited(";"), side_tables=(), tallied=())
    converter = replace(SHOP, other_forms=(other,))
    raw = folder_of(tmp_path, {"old_a.csv": "user;item;bought\n1;10;1\n"})
    assert convert(converter, raw, tmp_path).rows_out == 1
    assert convert(converter, raw / "old_a.csv", tmp_path).rows_out == 1
    folder_of(tmp_path)
    assert convert(converter, raw, tmp_path).rows_out == 4
    with pytest.raises(UsageError, match=r"expected a folder or zip archive with visits_\*.csv, u"):
        convert(converter, raw / "visits_a.csv", tmp_path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match="raw: there is no such file"):
        convert(SHOP, tmp_path / "raw", tmp_path)
    raw = folder_of(tmp_path, {"visits_a.csv": "user,item,bought\n1,2,1\n", "._visits_b.csv": "x"})
    assert not are_in(raw, SHOP)
    with pytest.raises(UsageError, match=r"raw: does not hold the raw files of shop, expected a"):
        convert(SHOP, raw, tmp_path)
    folder_of(tmp_path)
    assert are_in(raw, SHOP)
    (raw / "users.txt").write_text("")
    with pytest.raises(UsageError, match=r"users.txt: the file is empty"):
        convert(SHOP, raw, tmp_path)


def test_a_file_that_is_there_twice(tmp_path):
    raw = folder_of(tmp_path, {**VISITS, "copy/visits_a.csv": "user,item,bought\n1,2,1\n"})
    words = r"raw: holds copy/visits_a.csv and visits_a.csv, expected one of them"
    with pytest.raises(UsageError, match=words):
        convert(SHOP, raw, tmp_path)
    (raw / "users.txt").rename(raw / "copy" / "users.txt")
    twice = replace(SHOP, several_files=True)
    assert convert(twice, raw, tmp_path).rows_out == 5
    with zipfile.ZipFile(raw / "copy.zip", "w") as archive:
        archive.write(raw / "copy" / "visits_a.csv", "visits_a.csv")
    with pytest.raises(UsageError, match=r"holds copy.zip/visits_a.csv and copy/visits_a.csv"):
        convert(twice, raw, tmp_path)


def test_a_file_that_changes_while_it_is_read(tmp_path):
    files = RawFiles(folder_of(tmp_path), SHOP)
    files.check_unchanged()
    before = files.sha256()
    (tmp_path / "raw" / "users.txt").write_text("1::A::x\n")
    with pytest.raises(UsageError, match=r"users.txt: the file changed while it was read"):
        files.check_unchanged()
    assert RawFiles(tmp_path / "raw", SHOP).sha256() != before
