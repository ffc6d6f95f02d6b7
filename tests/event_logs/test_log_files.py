"""Files of a log, CSV and Parquet."""

import datetime
import gzip

import numpy as np
import pandas as pd
import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs import log_files
from recbole_midpg.event_logs.log_files import CsvLog, find_files, open_log
from recbole_midpg.event_logs.schema import BOOLEAN, WHOLE, LogColumn, LogForm, LogSchema, Outcome
from recbole_midpg.event_logs.times import TimeForm

SCHEMA = LogSchema(
    LogForm(),
    (
        LogColumn("id", "id", spelling=WHOLE),
        LogColumn("gaps", "gaps", spelling=WHOLE),
        LogColumn("price", "price", "float"),
        LogColumn("single", "single", "float"),
        LogColumn("city", "city"),
        LogColumn("kind", "kind"),
        LogColumn("member", "member", spelling=BOOLEAN),
        LogColumn("tags", "tags", "token_seq", separator="|"),
        LogColumn("at", "at", "float", time=TimeForm(zone="America/New_York")),
        LogColumn("zoned", "zoned", "float", time=TimeForm()),
        LogColumn("day", "day", "float", time=TimeForm()),
    ),
    Outcome("clicked", "clicked"),
)


def frame_of(rows):
    random = np.random.default_rng(5)
    at = pd.Timestamp("2026-10-25") + pd.to_timedelta(random.integers(0, 10**6, rows), "s")
    gaps = random.integers(0, 50, rows).astype(float)
    gaps[::7] = np.nan
    price = random.lognormal(size=rows)
    price[::11] = np.nan
    return pd.DataFrame(
        {
            "id": random.integers(0, 10**9, rows),
            "gaps": gaps,
            "price": price,
            "single": random.normal(size=rows).astype(np.float32),
            "city": [("Köln", 'the "big", city', "a\nb", None)[code] for code in at.second % 4],
            "kind": pd.Categorical(np.array(["x", "y"])[at.minute % 2]),
            "member": at.second % 2 == 0,
            "tags": ["|".join("abc"[: code % 4]) for code in at.minute],
            "at": at,
            "zoned": at.tz_localize("UTC").tz_convert("Asia/Tokyo"),
            "day": [time.date() for time in at],
            "clicked": random.integers(0, 2, rows),
        }
    )


def fields_of(path, form=SCHEMA.form):
    blocks = [SCHEMA.fields_of(block.columns) for block in open_log(path, form).blocks()]
    return {name: [text for block in blocks for text in block[name]] for name in blocks[0]}


def test_a_table_as_csv_and_as_parquet_has_the_same_fields(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 1 << 15)
    frame = frame_of(5_000)
    frame.to_csv(tmp_path / "log.csv", index=False)
    with gzip.open(tmp_path / "log.csv.gz", "wt", encoding="utf-8") as file:
        frame.to_csv(file, index=False, sep="\t", lineterminator="\r\n")
    frame["gaps"] = frame["gaps"].astype("Int64")
    frame["tags"] = frame["tags"].str.split("|")
    frame.to_parquet(tmp_path / "log.parquet", row_group_size=700)
    fields = fields_of(tmp_path / "log.csv")
    assert fields.keys() == SCHEMA.types.keys()
    assert len(fields["id"]) == len(frame)
    assert fields_of(tmp_path / "log.csv.gz", LogForm(separator="\t")) == fields
    assert fields_of(tmp_path / "log.parquet") == fields
    # and what a frame holds
    assert {name: column.tolist() for name, column in SCHEMA.fields_of(frame).items()} == fields


def test_blocks_know_their_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 64)
    monkeypatch.setattr("recbole_midpg.atomic_data_scripts.raw_file.BLOCK_BYTES", 32)
    path = tmp_path / "log.csv"
    path.write_text(
        "\ufeffa,b\r\n" + '"x\ny",1\r\n\r\n7\r\nz,2\r\n' * 50, encoding="utf-8", newline=""
    )
    shares = []
    blocks = list(CsvLog(path, LogForm()).blocks(report=shares.append))
    assert len(blocks) == 10
    lines = path.read_bytes().split(b"\n")
    starts = {"x\ny": b'"x', "z": b"z"}
    for block in blocks:
        for line, text in zip(block.lines, block.columns["a"].row_texts(), strict=True):
            assert lines[line - 1].startswith(starts[text])
        for bad in block.bad:
            assert lines[bad.line - 1] == b"7\r"
    assert sum(map(len, blocks)) == 100
    assert sum(len(block.bad) for block in blocks) == 50
    assert shares[-1] == 1
    assert blocks[0].where(0) == f"{path}, line 2"


def test_other_encodings(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes("stadt;n\nKöln;1\n".encode("latin-1"))
    (block,) = CsvLog(path, LogForm(separator=";")).blocks()
    assert block.bad[0].reason == "byte 0xf6 is not UTF-8 text"
    (block,) = CsvLog(path, LogForm(separator=";", encoding="latin-1")).blocks()
    assert block.columns["stadt"].row_texts().tolist() == ["Köln"]


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "the file is empty"),
        (b"\n1,2\n", "line 1: it is empty, expected the columns' names"),
        (b"a;b;c\n1;2;3\n", r"and 3 with ';' \(--delimiter ';'\)\."),
        (b"a\n1\n", "expected the names of several"),
        (b"a,b,a\n", "column 'a' is there twice"),
        (b"a,,b\n", "column 2 has no name"),
        (b"u1,17,2026-01-01\n", "it holds values, as '17', expected the columns' names"),
        ("a,b\n".encode("utf-16"), "it is UTF-16 text, expected UTF-8"),
        (b"stra\xdfe,b\n", "it is no utf-8 text \\(--encoding names another one"),
        (b'"a,b\n', "expected the names of several"),
        (b"a,b\r1,2\r", "line 1: it has carriage returns without line feeds, expected lines that"),
        (b"a,b\r1,2\n3,4\n", "carriage returns without line feeds"),
    ],
)
def test_what_is_no_log_is_told_in_a_sentence(tmp_path, content, problem):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=problem) as error:
        open_log(path, LogForm())
    assert str(path) in str(error.value)
    assert str(error.value).endswith(".")


def test_what_is_no_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "log.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UsageError, match="it is no whole Parquet file"):
        open_log(path, LogForm())


def test_without_pyarrow_a_sentence_names_the_extra(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    path = tmp_path / "log.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setattr(log_files, "import_module", absent)
    with pytest.raises(UsageError, match=r"pip install 'recbole-midpg\[parquet\]'"):
        open_log(path, LogForm())


def test_columns_that_hold_tables_are_listed(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {
            "a": [1, 2],
            "nested": [{"x": 1}, {"x": 2}],
            "none": pyarrow.nulls(2),
            "money": pyarrow.array([1, 2], pyarrow.decimal128(5, 2)),
            "day": [datetime.date(2026, 1, 1), None],
        }
    )
    parquet.write_table(table, tmp_path / "log.parquet")
    log = open_log(tmp_path / "log.parquet", LogForm())
    assert log.names == ["a", "none", "money", "day"]
    assert list(log.unusable) == ["nested"]
    (block,) = log.blocks()
    assert {name: column.row_texts().tolist() for name, column in block.columns.items()} == {
        "a": ["1", "2"],
        "none": ["", ""],
        "money": ["1.00", "2.00"],
        "day": ["2026-01-01", ""],
    }
    (block,) = log.blocks(["day"])
    assert list(block.columns) == ["day"]


def test_files_by_patterns(tmp_path):
    for name in ("b.csv", "a.csv", "c[1].csv"):
        (tmp_path / name).touch()
    found = find_files(
        "--csv", [str(tmp_path / "c[1].csv"), f"{tmp_path}/[ab]*.csv", f"{tmp_path}/a.csv"]
    )
    assert [path.rpartition("/")[2] for path in found] == ["c[1].csv", "a.csv", "b.csv"]
    with pytest.raises(UsageError, match="--csv: there is no file 'nothing"):
        find_files("--csv", ["nothing*.csv"])
    (tmp_path / "days").mkdir()
    for word in (f"{tmp_path}/days", f"{tmp_path}/days/", f"{tmp_path}/d*"):
        with pytest.raises(UsageError) as error:
            find_files("--csv", [word])
        folder = word.replace("d*", "days")
        assert str(error.value) == (
            f"--csv: {folder!r} is a folder, expected files, as '{tmp_path}/days/*.csv'."
        )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_is_no_file_of_a_log(tmp_path, kind):
    (tmp_path / f"log.{kind}").mkdir()
    with pytest.raises(
        UsageError, match=rf"log\.{kind}: it is a folder, expected a file of a log\."
    ):
        open_log(tmp_path / f"log.{kind}", LogForm())


@pytest.mark.parametrize("quoted", [True, False])
def test_line_ends_that_were_doubled_are_read(tmp_path, quoted):
    (tmp_path / "log.csv").write_bytes(b"a,b\r\r\n1,2\r\r\n")
    log = open_log(tmp_path / "log.csv", LogForm(quoted=quoted))
    assert log.names == ["a", "b"]


def test_a_pyarrow_that_cannot_be_imported_is_said_with_its_reason(tmp_path, monkeypatch):
    def fails(name):
        raise ImportError("pyarrow requires NumPy 2.0 or newer, found 1.26.4")

    monkeypatch.setattr("recbole_midpg.event_logs.log_files.import_module", fails)
    (tmp_path / "log.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"is needed \(pyarrow requires NumPy 2\.0 or newer"):
        open_log(tmp_path / "log.parquet", LogForm())
