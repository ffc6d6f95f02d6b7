"""A shop's log in every form becomes the dataset that a hand would have written."""

import csv
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data import create_dataset

from recbole_midpg.integration.config.config import build_config
from tests.own_data.shop_log import (
    CLICKS,
    NAMES,
    ROLES,
    atomic_lines,
    day_rows,
    rows_of_days,
    write_log,
)
from tests.support.typed import midpg

ROWS = rows_of_days(range(3))


def prepare(folder: Path, *words, name="shop"):
    return midpg("prepare", name, *words, cwd=folder)


def inter_of(folder: Path, name="shop") -> str:
    return (folder / "dataset" / name / f"{name}.inter").read_text(encoding="utf-8")


def test_the_log_has_what_makes_logs_hard():
    assert len(ROWS) > len(set(ROWS))
    assert {row.time_zone for row in ROWS} >= {None}
    counts = sorted(sum(row.channel == name for row in ROWS) for name in {r.channel for r in ROWS})
    assert len(counts) == 5 and counts[-1] > 15 * counts[0]
    prices = sorted(row.price for row in ROWS if row.price is not None)
    assert prices[-1] > 50 * prices[len(prices) // 2]
    assert any(row.price is None for row in ROWS) and any(row.age is None for row in ROWS)
    new = day_rows(3, is_next=True)
    for name in ("user", "item", "channel"):
        assert {getattr(row, name) for row in new} - {getattr(row, name) for row in ROWS}, name
    assert day_rows(2) == day_rows(2) != day_rows(1)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_the_atomic_file_is_the_one_made_by_hand(tmp_path, ending):
    write_log(tmp_path / f"log.{ending}", ROWS)
    kind = "--parquet" if ending == "parquet" else "--csv"
    made = prepare(tmp_path, kind, f"log.{ending}", *CLICKS)
    assert made.returncode == 0, made.stderr
    assert inter_of(tmp_path).splitlines() == list(atomic_lines(ROWS))
    copies = len(ROWS) - len(set(ROWS))
    assert f"{copies} rows are exact copies of an earlier one" in made.stdout
    assert f"{len(ROWS):,} rows in = {len(ROWS):,} rows out + 0 rows rejected" in made.stdout


def test_a_file_a_day_is_as_good_as_one(tmp_path):
    for day in range(3):
        write_log(tmp_path / "days" / f"{day}.csv{'.gz' * (day % 2)}", day_rows(day))
    made = prepare(tmp_path, "--csv", "days/*", *CLICKS)
    assert made.returncode == 0, made.stderr
    assert inter_of(tmp_path).splitlines() == list(atomic_lines(ROWS))


def test_csv_and_parquet_give_the_same_tensors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for ending, kind in (("csv", "--csv"), ("parquet", "--parquet")):
        folder = tmp_path / ending
        write_log(folder / f"log.{ending}", ROWS)
        assert prepare(folder, kind, f"log.{ending}", *CLICKS).returncode == 0
        monkeypatch.chdir(folder)
        dataset = create_dataset(build_config("MIDPG", "shop"))
        splits = dataset.build()
        found.append([split.inter_feat.interaction for split in (dataset, *splits)])
    for of_csv, of_parquet in zip(*found, strict=True):
        assert of_csv.keys() == of_parquet.keys()
        for name, column in of_csv.items():
            torch.testing.assert_close(column, of_parquet[name], rtol=0, atol=0, equal_nan=True)


# --------------------------------------------------------------------------------------------------
# Wrong files


def _lines(tmp_path) -> list[str]:
    text = write_log(tmp_path / "log.csv", ROWS[:200]).read_text(encoding="utf-8")
    return text.splitlines()


def _joined(lines) -> bytes:
    return ("\n".join(lines) + "\n").encode()


WRONG = {
    "empty": (lambda lines: b"", r"log\.csv.*empty"),
    "only names": (lambda lines: _joined(lines[:1]), "there are no rows below the columns' names"),
    "semicolons": (
        lambda lines: _joined(line.replace(",", ";") for line in lines),
        r"line 1: one column is found with the separator ',',.*and 12 with ';' \(--delimiter ';'\)",
    ),
    "no names": (lambda lines: _joined(lines[1:]), "line 1: it holds values, as '0'"),
    "no time": (
        lambda lines: _joined([lines[0].replace("gesehen am", "seen"), *lines[1:]]),
        "--time: there is no column 'gesehen am'",
    ),
    "mixed encodings": (
        lambda lines: _joined(lines[:50]) + "\n".join(lines[50:]).encode("cp1252", "replace"),
        "line 51: byte 0x.. is not UTF-8 text",
    ),
    "utf-16": (lambda lines: _joined(lines).decode().encode("utf-16"), "it is UTF-16 text"),
    "no csv at all": (lambda lines: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9, r"log\.csv, line 1: "),
    "a label that is none": (
        lambda lines: _joined([*lines[:9], lines[9][:-3] + "5,0", *lines[10:]]),
        "line 10: column 'clicked': '5' is not allowed, expected 1 or true for 1, 0 or false for 0",
    ),
    "a value too many": (
        lambda lines: _joined([*lines[:9], lines[9] + ",1", *lines[10:]]),
        "line 10: 13 values, expected 12 as in line 1",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_told_in_a_sentence(tmp_path, wrong):
    spoil, sentence = WRONG[wrong]
    (tmp_path / "log.csv").write_bytes(spoil(_lines(tmp_path)))
    refused = prepare(tmp_path, "--csv", "log.csv", *CLICKS)
    assert refused.returncode == 2, refused.stderr
    assert re.search(sentence, refused.stderr), refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["log.csv"]


def test_a_day_of_other_columns_is_told_with_its_file(tmp_path):
    write_log(tmp_path / "days" / "1.csv", day_rows(1))
    second = write_log(tmp_path / "days" / "2.csv", day_rows(2))
    second.write_text(second.read_text(encoding="utf-8").replace("Preis", "Price", 1))
    refused = prepare(tmp_path, "--csv", "days/*.csv", *CLICKS)
    assert refused.returncode == 2
    assert "days/2.csv: it lacks column 'Preis €', expected the columns of days/1.csv." in (
        refused.stderr
    )


# --------------------------------------------------------------------------------------------------
# Wild rows

# So many that the wild ones do not decide what a column is.
TEXTS = [row.texts() for row in ROWS[:300]]
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
WILD = st.lists(
    st.one_of(
        st.sampled_from(TEXTS),
        st.lists(VALUES, min_size=1, max_size=14).filter(lambda values: "".join(values).strip()),
        st.tuples(st.sampled_from(TEXTS), st.integers(0, 11), VALUES).map(
            lambda drawn: [*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :]]
        ),
    ),
    max_size=20,
)


@settings(max_examples=40)
@given(rows=WILD)
def test_rows_in_are_rows_out_and_rejected(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("wild")
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([NAMES, *TEXTS, *rows])
    made = prepare(folder, "--csv", "log.csv", *CLICKS, "--on-error", "skip")
    assert made.returncode == 0, made.stderr
    found = re.search(
        r"([\d,]+) rows in = ([\d,]+) rows out \+ ([\d,]+) rows rejected", made.stdout
    )
    n_in, n_out, n_rejected = (int(number.replace(",", "")) for number in found.groups())
    assert n_in == n_out + n_rejected == len(TEXTS) + len(rows)
    # Whatever stands in a value, a row is a line, and a rejected one is listed.
    assert inter_of(folder).count("\n") == n_out + 1
    listed = folder / "dataset" / "shop" / "shop.rejected.tsv"
    lines = listed.read_text(encoding="utf-8").split("\n")[1:-1] if listed.exists() else []
    assert len(lines) == n_rejected
    shutil.rmtree(folder)


# --------------------------------------------------------------------------------------------------
# Two outcomes


def test_purchases_of_clicked_rows_alone(tmp_path):
    write_log(tmp_path / "log.csv", ROWS)
    words = (*ROLES, "--label", "bought", "--given", "clicked")
    made = prepare(tmp_path, "--csv", "log.csv", *words)
    assert made.returncode == 0, made.stderr
    clicked = [row for row in ROWS if row.clicked]
    found = inter_of(tmp_path).splitlines()
    expected = [{**row.fields(), "bought:float": str(int(row.bought))} for row in clicked]
    for fields in expected:
        del fields["clicked:float"]
    assert found[0].split("\t") == list(expected[0])
    assert [line.split("\t") for line in found[1:]] == [list(f.values()) for f in expected]
    assert f"{len(ROWS) - len(clicked):,} rows are left out, in which clicked is not 1." in (
        made.stdout
    )
