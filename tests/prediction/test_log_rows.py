"""Raw rows of a log and Parquet files are scored as an atomic file of the same rows."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config

from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs.schema import (
    WHOLE,
    LogColumn,
    LogForm,
    LogSchema,
    Outcome,
    schema_path,
)
from recbole_midpg.event_logs.times import TimeForm
from recbole_midpg.prediction import Scorer, scoring_pass
from recbole_midpg.prediction.evaluation import Resampling, evaluate_rows
from recbole_midpg.prediction.files import score_file, score_rows
from recbole_midpg.prediction.labels import find_label
from recbole_midpg.prediction.log_rows import LogRowFile
from recbole_midpg.prediction.rows import open_rows
from recbole_midpg.prediction.sources import open_source
from tests.prediction import test_files
from tests.prediction.checkpoints import checkpoint_of
from tests.support.recbole_data import gaps_config
from tests.support.typed import midpg

SCHEMA = LogSchema(
    LogForm(separator=";"),
    (
        LogColumn("user", "user_id", spelling=WHOLE),
        LogColumn("item", "item_id"),
        LogColumn("the channel", "channel"),
        LogColumn("price", "price", "float"),
        LogColumn("tags", "tags", "token_seq", separator=","),
        LogColumn("when", "when", "float", time=TimeForm(zone="Europe/Berlin")),
        LogColumn("note", "note"),
    ),
    Outcome("bought", "bought", ("yes",), ("no",)),
    given=Outcome("clicked", "clicked"),
    missing=("unknown",),
    left_out={"row": "its values are all distinct"},
)
TYPES = "user_id:token item_id:token channel:token price:float tags:token_seq when:float note:token"
NAMES = ["row", *(column.name for column in SCHEMA.columns), "clicked", "bought"]
# A raw row, and what stands in an atomic file for it.
ROWS = [
    ("1;7;Köln;app;1.50;a,b;2025-11-20 08:00:00;n;1;yes", "7\tKöln\tapp\t1.5\ta|b\t1763622000\tn"),
    ("2;7.0;x;web;2;;2025-11-20T07:30:00Z;n;1;no", "7\tx\tweb\t2\t\t1763623800\tn"),
    ('3;9;"a;""b""";app;unknown; c ;2025-11-20;n;0;no', "9\ta;\"b\"\tapp\t\tc\t1763593200\tn"),
    ("4;unknown;x;tv;1e3;a,unknown,b;2025-11-21 00:00:01;n;1;no",
     "\tx\ttv\t1000\ta|b\t1763679601\tn"),
    ("5; 12 ;y;;-0.25;b,zzz;unknown;n;0;", "12\ty\t\t-0.25\tb|zzz\t\tn"),
]  # fmt: skip
HEADER = ";".join(["row", "user", "item", "the channel", *NAMES[4:]])

RAW, ATOMIC = ([row[place] for row in ROWS] for place in range(2))
LABELS = ["1", "0", "0", "0", ""]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model of a dataset that was made of such a log."""
    folder = tmp_path_factory.mktemp("log")
    (folder / "shop").mkdir()
    random = np.random.default_rng(1)
    lines = ["\t".join([*TYPES.split(), "bought:float"])]
    for row in range(80):
        atomic = ATOMIC[random.integers(len(ATOMIC))].split("\t")
        atomic[0] = str(random.integers(5, 12))
        lines.append("\t".join([*atomic, str(row % 2)]))
    (folder / "shop" / "shop.inter").write_text("\n".join(lines) + "\n")
    schema_path(folder / "shop", "shop").write_text(json.dumps(SCHEMA.to_plain()))
    values = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": None,
        "unload_col": {"inter": ["note"]},
        "threshold": None,
        "LABEL_FIELD": "bought",
        "seq_separator": "|",
        "numerical_features": ["price", "when"],
        "scenario_fields": ["channel"],
        "embedding_size": 4,
        "mlp_hidden_size": [16, 12, 8],
        "eval_batch_size": 3,
        "show_progress": False,
    }
    return checkpoint_of(Config(model="MIDPG", dataset="shop", config_dict=values)).path


@pytest.fixture(scope="module")
def scorer(checkpoint):
    return Scorer.read(checkpoint)


def write(path, rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_atomic(path, rows=ATOMIC):
    return write(path, rows, TYPES.replace(" ", "\t"))


def scores_in(path):
    return [row["score"] for row in csv.DictReader(path.open(encoding="utf-8"))]


@pytest.mark.parametrize("block_rows", [1, 4, 1 << 15])
def test_raw_rows_are_scored_as_the_atomic_file(tmp_path, scorer, monkeypatch, block_rows):
    monkeypatch.setattr(scoring_pass, "_BLOCK_ROWS", block_rows)
    monkeypatch.setattr("recbole_midpg.event_logs.log_files.BLOCK_BYTES", 64)
    score_file(scorer, write_atomic(tmp_path / "next.inter", ATOMIC * 5), tmp_path / "a.csv")
    raw = write(tmp_path / "next.csv", RAW * 5)
    with open_source(scorer, str(raw), None, None) as source:
        scored = score_rows(scorer, source, tmp_path / "b.csv", ["row", "item", "when", "channel"])
    rows = list(csv.DictReader((tmp_path / "b.csv").open(encoding="utf-8")))
    assert [row["score"] for row in rows] == scores_in(tmp_path / "a.csv")
    assert len({row["score"] for row in rows}) > 3 and scored.rows == 25
    assert [row["row"] for row in rows] == ["1", "2", "3", "4", "5"] * 5
    assert rows[0]["item"] == "Köln" and rows[2]["item"] == 'a;"b"'
    assert rows[3]["when"] == "2025-11-21 00:00:01" and rows[3]["channel"] == "tv"
    assert scored.counts["channel"].unknown == 0 and scored.counts["tags"].unknown == 0


def test_the_scorer_takes_a_frame_of_the_log(tmp_path, checkpoint, scorer):
    score_file(scorer, write_atomic(tmp_path / "next.inter"), tmp_path / "a.csv")
    frame = pd.read_csv(write(tmp_path / "next.csv", RAW), sep=";", dtype=str, na_filter=False)
    exported = tmp_path / "model.scorer"
    Scorer.read(checkpoint).save(exported)
    for reader in (scorer, Scorer.read(exported)):
        scores = reader.scores_of_log(frame)
        assert scores.astype("U").tolist() == scores_in(tmp_path / "a.csv")
    rows = {name: frame[name].tolist() for name in frame}
    np.testing.assert_array_equal(scorer.scores_of_log(rows), scores)
    with pytest.raises(UsageError, match=r"columns: column 'the channel' is missing"):
        scorer.scores_of_log(frame.rename(columns={"the channel": "channel"}))
    with pytest.raises(UsageError, match=r"row 2, column 'price': 'dear' is not allowed, expec"):
        scorer.scores_of_log(frame.assign(price=["1", "dear", "2", "3", "4"]))


def test_a_model_of_no_log_says_so(tmp_path):
    scorer = Scorer.read(checkpoint_of(gaps_config(checkpoint_dir=str(tmp_path))).path)
    assert scorer.log_schema is None
    with pytest.raises(UsageError, match="was not made of a log by recbole-midpg prepare"):
        scorer.scores_of_log({"user": ["1"]})


def frame_of_rows():
    """The rows as a program would have them in a frame, and so in a Parquet file."""
    return pd.DataFrame(
        {
            "row": [1, 2, 3, 4, 5],
            "user": [7, 7, 9, np.nan, 12],
            "item": pd.Categorical(["Köln", "x", 'a;"b"', "x", "y"]),
            "the channel": ["app", "web", "app", "tv", None],
            "price": [1.5, 2, np.nan, 1000, -0.25],
            "tags": [["a", "b"], [], ["c"], ["a", "b"], ["b", "zzz"]],
            "when": pd.to_datetime(
                ["2025-11-20 08:00", "2025-11-20 08:30", "2025-11-20", "2025-11-21 00:00:01", None],
                format="ISO8601",
            ),
            "note": "n",
            "clicked": [True, True, False, True, False],
            "bought": ["yes", "no", "no", "no", None],
        }
    )


def test_a_log_as_parquet_is_scored_alike(tmp_path, checkpoint, scorer):
    score_file(scorer, write_atomic(tmp_path / "next.inter"), tmp_path / "a.csv")
    frame_of_rows().to_parquet(tmp_path / "next.parquet")
    words = ["predict", "--checkpoint", checkpoint, "--input", "next.parquet"]
    result = midpg(*words, "--output", "b.csv", "--keep", "row", "tags", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert scores_in(tmp_path / "b.csv") == scores_in(tmp_path / "a.csv")
    lines = (tmp_path / "b.csv").read_text().splitlines()
    assert lines[1].startswith("1,a b,") and lines[5].startswith("5,b zzz,")
    assert "item_id: 5 known, 0 unknown, 0 missing" in result.stderr


def test_evaluation_of_a_log_takes_the_rows_that_training_takes(tmp_path, checkpoint, scorer):
    """Of all five, those that were clicked; a label may be missing in the others."""
    write(tmp_path / "next.csv", RAW)
    words = ["evaluate", "--checkpoint", checkpoint, "--input", "next.csv", "--resamples", "0"]
    result = midpg(*words, "--output", "r.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "given: clicked is 1 in 3 of 5 rows" in result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["all"]["rows"], report["all"]["positives"]) == (3, 1)
    clicked = [0, 1, 3]
    header = TYPES.replace(" ", "\t") + "\tbought:float"
    rows = [f"{ATOMIC[row]}\t{LABELS[row]}" for row in clicked]
    with open_rows(write(tmp_path / "next.inter", rows, header), scorer.fields, "\t") as file:
        atomic = evaluate_rows(scorer, file, resampling=Resampling(0))
    assert report["all"]["logloss"]["value"] == atomic.whole.logloss.value
    assert {s["name"]: s["rows"] for s in report["scenarios"]} == {"app": 1, "web": 1, "tv": 1}


@pytest.mark.parametrize(
    ("words", "rows", "positives"),
    [
        (["--label", "clicked", "--given", "clicked"], 3, 3),
        (["--label", "bought"], 3, 1),
        (["--cluster", "the channel"], 3, 1),
        (["--cluster", "channel"], 3, 1),
        (["--cluster", "note"], 3, 1),
    ],
)
def test_columns_of_a_log_are_named_as_it_names_them(tmp_path, checkpoint, words, rows, positives):
    write(tmp_path / "next.csv", RAW)
    to = ["--input", "next.csv", "--resamples", "2", "--output", "r.json"]
    result = midpg("evaluate", "--checkpoint", checkpoint, *to, *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["all"]["rows"], report["all"]["positives"]) == (rows, positives)
    assert "not used" not in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--label", "click"], "column 'click' is missing, the label of each row; found user_id, "),
        (["--label", "row"], "column 'row' has no field in the dataset, the label of each row"),
        (["--label", "click"], "when, note, clicked, bought; did you mean 'clicked'?"),
        (["--cluster", "row"], "--cluster: 'row' is not a column with a field in the dataset of"),
        (["--cluster", "when"], "--cluster: 'when' is a float field, expected a token field"),
        (["--cluster", "clicked"], "--cluster: 'clicked' is a float field, expected a token"),
    ],
)
def test_columns_of_a_log_that_cannot_be_named(tmp_path, checkpoint, words, told):
    write(tmp_path / "next.csv", RAW)
    to = ["--input", "next.csv", "--resamples", "2"]
    result = midpg("evaluate", "--checkpoint", checkpoint, *to, *words, cwd=tmp_path)
    assert result.returncode == 2
    assert told in result.stderr and "Traceback" not in result.stderr


def test_an_outcome_beside_the_label_can_be_evaluated(tmp_path, scorer):
    """As of a log that was prepared with --label bought --outcome clicked."""
    plain = {**SCHEMA.to_plain(), "given": None}
    plain["outcomes"] = [SCHEMA.to_plain()["given"]]
    schema = LogSchema.from_plain(plain)
    path = write(tmp_path / "next.csv", RAW[:4])
    source = LogRowFile(
        schema, path, scorer.fields, skip_bad_lines=False, labelled=True, besides=["clicked"]
    )
    label = find_label(scorer.scoring.config, source, "clicked")
    (block,) = source.blocks(8)
    assert label.read(block, source).tolist() == [True, True, False, True]


def test_a_new_column_of_a_log_is_named_once(tmp_path, checkpoint):
    write(tmp_path / "next.csv", [f"{row};x" for row in RAW], HEADER + ";weather")
    words = ["predict", "--checkpoint", checkpoint, "--input", "next.csv", "--output", "s.csv"]
    result = midpg(*words, cwd=tmp_path)
    assert result.stderr.splitlines()[0] == "next.csv: columns not used: weather."
    assert result.stderr.count("not used") == 1
    result = midpg(*words, "--force", "--keep", "weather", cwd=tmp_path)
    assert "not used" not in result.stderr and result.returncode == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "next.csv"),
        (HEADER + "\n", "next.csv: the file has no rows."),
        (
            HEADER.replace(";", ",") + "\n",
            "and 10 with ',', expected the form of the log that the dataset was made of: utf-8 "
            "text with the separator ';'.",
        ),
        ("stra\udcdfe;b\n", "line 1: it is no utf-8 text, expected the form of the log"),
        (HEADER.replace("price", "prise") + "\n", "line 1: column 'price' is missing, which the"),
        ("1;7;x;app;1;a;2025-11-20;n;1;yes\n" * 2, "next.csv, line 1"),
        (f"{HEADER}\n1;7;x;app;dear;a;2025-11-20;n;1;yes\n", "line 2, column 'price': 'dear' is"),
        (f"{HEADER}\n1;7;x;app;1;a;20.11.2025;n;1;yes\n", "line 2, column 'when': '20.11.2025'"),
        (f"{HEADER}\n1;7;x;app;1\n", "line 2: 5 values, expected 10 as in line 1"),
        (f"{HEADER}\n1;7;x;\udce4;1;a;2025-11-20;n;1;yes\n", "line 2: byte 0xe4 is not UTF-8"),
    ],
)
def test_a_log_that_has_changed_is_told_in_a_sentence(tmp_path, checkpoint, content, told):
    (tmp_path / "next.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    words = ["predict", "--checkpoint", checkpoint, "--input", "next.csv", "--output", "s.csv"]
    result = midpg(*words, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "--delimiter" not in result.stderr and "--encoding" not in result.stderr
    assert told in result.stderr and len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["next.csv"]


def test_bad_lines_are_skipped_and_counted(tmp_path, checkpoint, scorer):
    bad = ["6;7;x;app;dear;a;now;n;1;yes", "7;7;x", "8;7;x;app;1;a;2025-11-20;n;perhaps;perhaps"]
    write(tmp_path / "next.csv", [*RAW[:2], *bad, *RAW[2:]])
    words = ["--checkpoint", checkpoint, "--input", "next.csv", "--on-error", "skip"]
    result = midpg("predict", *words, "--output", "s.csv", "--keep", "row", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (
        "warning: 2 of 8 lines are bad and have no score, the first one: next.csv, line 4, col"
        in (result.stderr)
    )
    # What became of a row is not looked at, where it is only scored.
    rows = [line.split(",")[0] for line in (tmp_path / "s.csv").read_text().splitlines()[1:]]
    assert rows == ["1", "2", "8", "3", "4", "5"]
    result = midpg("evaluate", *words, "--resamples", "0", cwd=tmp_path)
    assert "warning: 3 of 8 lines are bad" in result.stderr
    write(tmp_path / "next.csv", bad[:2])
    result = midpg("predict", *words, "--output", "t.csv", cwd=tmp_path)
    assert result.returncode == 2
    assert "next.csv: every one of its 2 rows is bad" in result.stderr


VALUES = st.text(st.characters(exclude_characters='\r\n;"\0', codec="utf-8"), max_size=6)
LINES = st.lists(
    st.one_of(
        st.sampled_from(RAW),
        st.lists(VALUES, min_size=9, max_size=11).map(";".join),
        st.tuples(st.sampled_from(RAW), st.integers(0, 9), VALUES).map(
            lambda given: ";".join(
                given[2] if place == given[1] else value
                for place, value in enumerate(given[0].split(";"))
            )
        ),
    ).filter(lambda line: line.strip("\ufeff ")),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100)
@given(lines=LINES, rows=st.integers(1, 5))
def test_rows_in_are_rows_out_and_rejected(tmp_path_factory, scorer, lines, rows):
    path = write(tmp_path_factory.mktemp("rows") / "next.csv", lines)
    file = LogRowFile(SCHEMA, path, scorer.fields, skip_bad_lines=True)
    try:
        blocks = list(file.blocks(rows))
    except UsageError:
        assert file.rejected == len(lines)
        return
    assert all(len(block) == rows for block in blocks[:-1])
    found = [block.line_of(row) for block in blocks for row in range(len(block))]
    assert len(found) + file.rejected == len(lines)
    assert found == sorted(set(found))
    # Each is the row of its line, and what is made of it alone.
    columns = {name: np.concatenate([b.columns[name] for b in blocks]) for name in file.names}
    for place, line in enumerate(found):
        values = next(csv.reader([lines[line - 2]], delimiter=";"))
        alone = SCHEMA.fields_of({n: [v] for n, v in zip(NAMES, values, strict=True)}, file.names)
        assert {n: columns[n][place] for n in file.names} == {n: alone[n][0] for n in alone}


def test_parquet_of_fields_is_scored_as_csv(tmp_path):
    """For a model of no log: ids with gaps, lists, dictionary columns, points in time."""
    scorer = Scorer.read(checkpoint_of(gaps_config("MIDPG", checkpoint_dir=str(tmp_path))).path)
    (tmp_path / "new.csv").write_text(test_files.HEADER + "\n".join(test_files.ROWS) + "\n")
    frame = pd.read_csv(tmp_path / "new.csv")
    frame["item_id"] = frame["item_id"].astype("category")
    frame["genres"] = [["drama", "war"], [], None, ["war"]]
    frame.to_parquet(tmp_path / "new.parquet")
    score_file(scorer, tmp_path / "new.parquet", tmp_path / "p.csv", ["note", "genres"])
    texts = frame.assign(genres=["drama war", "", "", "war"])
    texts.to_csv(tmp_path / "new.csv", index=False)
    score_file(scorer, tmp_path / "new.csv", tmp_path / "c.csv", ["note", "genres"])
    assert (tmp_path / "p.csv").read_text() == (tmp_path / "c.csv").read_text()
    frame.assign(price=[{"a": 1}] * 4).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(UsageError, match=r"bad\.parquet: column 'price' is of type struct<a: "):
        score_file(scorer, tmp_path / "bad.parquet", tmp_path / "p.csv")
    frame.drop(columns="price").to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(UsageError, match=r"bad\.parquet: column 'price' is missing"):
        score_file(scorer, tmp_path / "bad.parquet", tmp_path / "p.csv")
    frame.assign(price=["1", "dear", "2", "3"]).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(UsageError, match=r"bad\.parquet, row 2, column 'price': 'dear' is not"):
        score_file(scorer, tmp_path / "bad.parquet", tmp_path / "p.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match=r"bad\.parquet: it is no whole Parquet file"):
        score_file(scorer, tmp_path / "bad.parquet", tmp_path / "p.csv")
