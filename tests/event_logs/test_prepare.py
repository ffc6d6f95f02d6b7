"""``recbole-midpg prepare NAME --csv FILES`` as a user types it."""

import gzip
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_midpg.atomic_data_scripts.dataset_files import was_cut_off
from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs.column_kinds import ColumnRoles
from recbole_midpg.event_logs.log_files import open_log
from recbole_midpg.event_logs.prepare import prepare_log
from recbole_midpg.event_logs.schema import LogForm, LogSchema, read_plain_schema
from recbole_midpg.integration.config.config import build_config
from tests.support.typed import midpg, run_recbole

ROLES = (
    *("--label", "clicked", "--user", "user_id", "--item", "item id", "--scenario", "channel"),
    *("--time", "event_time", "--multi", "tags=|"),
)


def log_of(rows, seed=3):
    random = np.random.default_rng(seed)
    clicked = random.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "impression": np.arange(rows),
            "user_id": random.integers(0, 40, rows),
            "item id": random.integers(0, 30, rows),
            "channel": random.choice(["app", "web", "Außen"], rows),
            "event_time": pd.Timestamp("2026-11-01") + pd.to_timedelta(np.arange(rows), "min"),
            "price": random.lognormal(size=rows).round(2),
            "stock": random.integers(0, 500, rows),
            "tags": random.choice(["a|b", "", "c", "b|c|d"], rows),
            "age": np.where(random.random(rows) < 0.1, np.nan, random.integers(18, 70, rows)),
            "member": random.random(rows) < 0.5,
            "version": "v1",
            "empty": np.nan,
            "dwell": clicked * random.random(rows).round(3),
            "bought": clicked * random.integers(0, 2, rows),
            "clicked": clicked,
        }
    )


@pytest.fixture
def log(tmp_path):
    log_of(1_500).to_csv(tmp_path / "log.csv", index=False)
    return tmp_path


def test_a_log_becomes_a_dataset_that_trains(log):
    made = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert made.returncode == 0, made.stderr
    lines = {line.split()[0]: line for line in made.stdout.splitlines() if line}
    for column, words in {
        "impression": "an id of rows",
        "user_id": "token",
        "price": "numbers with fractions",
        "stock": "whole numbers, more than 100 distinct",
        "tags": "sequence",
        "age": "whole numbers, at most 100 distinct",
        "member": "true or false",
        "version": "the same in all rows",
        "empty": "always missing",
        "dwell": "tells the label",
        "bought": "comes with positive rows only",
    }.items():
        assert words in lines[column], column
    assert "1,500 rows in = 1,500 rows out + 0 rows rejected" in made.stdout
    config = read_config_file(log / "dataset_configs" / "shop.yaml")
    assert config["scenario_fields"] == ["channel"]
    assert config["eval_args"]["order"] == "TO"
    assert config["numerical_features"] == ["price", "stock"]
    assert not {"dwell", "bought", "impression"} & set(config["load_col"]["inter"])
    trained = run_recbole("--dataset=shop", "--model=DNN", "--epochs=1", cwd=log)
    assert trained.returncode == 0, trained.stderr


def test_the_schema_is_in_the_config_and_reads_the_next_file_as_the_first(log, monkeypatch):
    midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    monkeypatch.chdir(log)
    plain = build_config("DNN", "shop")["log_schema"]
    assert plain == read_plain_schema(log / "dataset" / "shop", "shop")
    schema = LogSchema.from_plain(plain)
    written = (log / "dataset/shop/shop.inter").read_text(encoding="utf-8").splitlines()
    names = [name.partition(":")[0] for name in written[0].split("\t")]
    rows = [
        row
        for block in open_log(log / "log.csv", schema.form).blocks()
        for row in zip(*(schema.fields_of(block.columns)[name] for name in names), strict=True)
    ]
    assert ["\t".join(row) for row in rows] == written[1:]
    refused = run_recbole("--dataset=shop", "--model=DNN", "--log_schema=x", cwd=log)
    assert refused.returncode == 2
    assert "log_schema: 'x' is not allowed" in refused.stderr


def test_several_files_and_parquet_make_the_same_rows(log):
    frame = log_of(1_500)
    midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    frame[:700].to_csv(log / "day1.csv", index=False)
    with gzip.open(log / "day2.csv.gz", "wt", encoding="utf-8") as file:
        frame[700:].to_csv(file, index=False, lineterminator="\r\n")
    midpg("prepare", "days", "--csv", "day1.csv", "day2.csv.gz", *ROLES, cwd=log)
    text = (log / "dataset/shop/shop.inter").read_bytes()
    assert (log / "dataset/days/days.inter").read_bytes() == text
    pytest.importorskip("pyarrow")
    frame.assign(tags=frame["tags"].str.split("|")).to_parquet(log / "log.parquet")
    made = midpg("prepare", "pq", "--parquet", "*.parquet", *ROLES, cwd=log)
    assert made.returncode == 0, made.stderr
    assert (log / "dataset/pq/pq.inter").read_bytes() == text


def test_purchases_given_clicks(log):
    roles = ["bought" if word == "clicked" else word for word in ROLES]
    made = midpg("prepare", "cvr", "--csv", "log.csv", *roles, "--given", "clicked", cwd=log)
    assert made.returncode == 0, made.stderr
    clicked = int(log_of(1_500)["clicked"].sum())
    assert f"{1_500 - clicked:,} rows are left out, in which clicked is not 1." in made.stdout
    text = (log / "dataset/cvr/cvr.inter").read_text(encoding="utf-8")
    assert text.count("\n") == clicked + 1
    assert "clicked" not in text.partition("\n")[0]


def test_other_outcomes_are_loaded_and_no_features(log):
    roles = ["bought" if word == "clicked" else word for word in ROLES]
    made = midpg("prepare", "both", "--csv", "log.csv", *roles, "--outcome", "clicked", cwd=log)
    assert made.returncode == 0, made.stderr
    config = read_config_file(log / "dataset_configs" / "both.yaml")
    assert {"clicked", "bought"} <= set(config["load_col"]["inter"])
    assert "clicked" not in config["numerical_features"]
    header = (log / "dataset/both/both.inter").read_text(encoding="utf-8").partition("\n")[0]
    assert header.endswith("clicked:float\tbought:float")


def test_bad_lines_stop_or_are_listed(log):
    lines = (log / "log.csv").read_text(encoding="utf-8").splitlines()
    bad = {
        10: lines[10] + ",more",
        20: lines[20].rsplit(",", 1)[0] + ",2",
        30: lines[30].replace("2026-11-01", "yesterday"),
        40: ",".join(["40", "", *lines[40].split(",")[2:]]),
    }
    text = "\n".join(bad.get(number, line) for number, line in enumerate(lines))
    (log / "log.csv").write_text(text + "\n" + lines[1] + "\n\n", encoding="utf-8")
    stopped = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert stopped.returncode == 2
    assert "log.csv, line 11: 16 values, expected 15 as in line 1" in stopped.stderr
    assert not list((log / "dataset" / "shop").glob("*"))
    made = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, "--on-error", "skip", cwd=log)
    assert made.returncode == 0, made.stderr
    assert "1,501 rows in = 1,497 rows out + 4 rows rejected" in made.stdout
    assert "1 rows are exact copies of an earlier one; they are kept." in made.stdout
    rejected = (log / "dataset/shop/shop.rejected.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[1] for line in rejected[1:]] == ["11", "21", "31", "41"]
    assert "expected 1 or true for 1" in rejected[2]
    assert "expected a time as" in rejected[3]
    assert "'' is missing, expected a value in each row" in rejected[4]


def test_an_edited_config_stays(log):
    midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    config = log / "dataset_configs" / "shop.yaml"
    config.write_text("scenario_fields: [member]\n", encoding="utf-8")
    again = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, "--drop", "age", cwd=log)
    assert again.returncode == 2
    assert "shop.inter: it is there already" in again.stderr
    assert "--force writes over it." in again.stderr
    (log / "dataset/shop/shop.inter").unlink()
    made = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert "stays as it is" in made.stdout
    assert config.read_text(encoding="utf-8") == "scenario_fields: [member]\n"
    midpg("prepare", "shop", "--csv", "log.csv", *ROLES, "--force", cwd=log)
    assert "USER_ID_FIELD" in config.read_text(encoding="utf-8")
    manifest = json.loads((log / "dataset/shop/shop.manifest.json").read_text(encoding="utf-8"))
    assert manifest["report"]["rows_out"] == 1_500


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--label", "cliked"], "--label: there is no column 'cliked'.*did you mean 'clicked'"),
        (["--drop", "clicked"], "column 'clicked': --label and --drop name it"),
        (["--zone", "Mars"], "--zone: 'Mars' is no time zone"),
        (["--delimiter", ";"], r"one column is found with the separator ';'.*--delimiter ','"),
        (["--delimiter", ";;"], "expected one character"),
        (["--encoding", "utf-16"], "--encoding: 'utf-16' is not allowed"),
        (["--time", "channel"], "column 'channel': --scenario and --time name it"),
        (["--time-format", "x"], "--time-format: 'x' is not allowed"),
        (["--time-format", "%H:%M"], "'%H:%M' is not allowed, as it reads .* as 1900-01-01"),
        (["--time-format", "%Q"], "'%Q' is not allowed, as it is no pattern.*year, month and day"),
        (["--duplicates", "stop"], "--duplicates: 'stop' is for --raw"),
        (["--sample", "0.5"], "--sample: 0.5 is for --raw"),
        (["--csv", "nothing.csv"], "--csv: there is no file 'nothing.csv'"),
        (["--delimiter", ""], "--delimiter: '' is not allowed, expected one character"),
        (["--zone", ""], "--zone: '' is no time zone"),
        (["--encoding", ""], "--encoding: '' is not allowed"),
        (["--missing", "-", ""], "--missing: '' is not allowed, expected words"),
        (["--multi", "tags="], "--multi: 'tags=' is not allowed, expected COLUMN=SEPARATOR"),
        (["--multi", "tags=|", "tags=;"], "--multi: column 'tags' is named twice"),
        (["--scenario", "channel", "channel"], "--scenario: column 'channel' is named twice"),
        (["--drop", "age", "age"], "--drop: column 'age' is named twice"),
        (["--number", "tags", "--token", "tags"], "column 'tags': --number and --token name it"),
        (["--positive", "7"], "--positive: no row has '7' in column 'clicked', expected some of"),
        (["--positive", "1", "99"], "no row has '99' in column 'clicked', expected some of 0, 1"),
        (["--positive", "NA"], "--positive: no row has 'NA' in column 'clicked'"),
    ],
)
def test_wrong_words(log, words, problem):
    refused = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, *words, cwd=log)
    assert refused.returncode == 2
    assert re.search(problem, refused.stderr), refused.stderr
    assert not (log / "dataset" / "shop" / "shop.inter").exists()


@pytest.mark.parametrize("option, value", [("--zone", "Asia/Tokyo"), ("--time-format", "iso")])
def test_what_is_said_of_times_is_for_a_time(log, option, value):
    words = [word for word in ROLES if word not in ("--time", "event_time")]
    refused = midpg("prepare", "shop", "--csv", "log.csv", *words, option, value, cwd=log)
    assert refused.returncode == 2
    assert f"{option}: {value!r} is for --time, which is absent." in refused.stderr


def test_options_of_logs_are_for_logs(tmp_path):
    refused = midpg("prepare", "iaac", "--raw", "x.txt", "--label", "clicked", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--label: it is for your own log, expected --csv or --parquet." in refused.stderr
    refused = midpg("prepare", "iaac", "--csv", "x.csv", *ROLES, cwd=tmp_path)
    assert "NAME: 'iaac' is a known dataset" in refused.stderr


def test_an_empty_log(tmp_path):
    (tmp_path / "log.csv").write_text("clicked,user_id,item id,channel,event_time,tags\n")
    refused = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=tmp_path)
    assert refused.returncode == 2
    assert "there are no rows below the columns' names" in refused.stderr


@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_a_log_of_bad_lines_alone_names_the_first(log, mode):
    header, *rows = (log / "log.csv").read_text(encoding="utf-8").splitlines()
    (log / "log.csv").write_text("\n".join([header, "", *(f"{row}," for row in rows)]) + "\n")
    refused = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, "--on-error", mode, cwd=log)
    assert refused.returncode == 2
    assert "log.csv, line 3: 16 values, expected 15 as in line 1, in '0," in refused.stderr
    assert refused.stderr.endswith("; no line of the log is a row.\n")
    assert not list((log / "dataset" / "shop").glob("*"))


def test_a_log_in_another_encoding_alone_is_told_so(log):
    header, *rows = (log / "log.csv").read_text(encoding="utf-8").splitlines()
    text = "\n".join([header, *(row for row in rows if "Außen" in row), ""])
    (log / "log.csv").write_text(text, encoding="latin-1")
    refused = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert "log.csv, line 2: byte 0xdf is not UTF-8 text" in refused.stderr
    assert "--encoding names another one, as latin-1" in refused.stderr


def test_the_table_has_a_line_for_each_column(log):
    rows = log_of(1_500).assign(note="a\nb\x1b[31m\tlong enough to be cut", empty="")
    rows.to_csv(log / "log.csv", index=False)
    made = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert made.returncode == 0, made.stderr
    table = made.stdout.partition("\n\n")[0].splitlines()
    assert len(table) == 1 + len(rows.columns)
    (line,) = [line for line in table if line.startswith("note ")]
    assert r"  a\nb\x1b[31m\tlong enough to  " in line


def test_a_name_with_a_space_is_printed_as_it_is_typed(log):
    made = midpg("prepare", "my shop's", "--csv", "log.csv", *ROLES, cwd=log)
    assert made.returncode == 0, made.stderr
    words = shlex.split(made.stdout.splitlines()[-1])
    assert words == ["Next:", "run_recbole", "--model=MIDPG", "--dataset=my shop's"]
    trained = run_recbole(*words[3:], "--model=DNN", "--epochs=1", cwd=log)
    assert trained.returncode == 0, trained.stderr


def test_what_is_no_file_of_a_log(log):
    (log / "days").mkdir()
    refused = midpg("prepare", "shop", "--csv", "days", *ROLES, cwd=log)
    assert refused.returncode == 2
    assert "--csv: 'days' is a folder, expected files, as 'days/*.csv'." in refused.stderr
    with zipfile.ZipFile(log / "model.pth", "w") as archive:
        for member in range(90):
            archive.writestr(f"archive/data/{member}", "x")
    refused = midpg("prepare", "shop", "--csv", "model.pth", *ROLES, cwd=log)
    assert refused.returncode == 2
    assert "model.pth: holds archive/data/0, archive/data/1, " in refused.stderr
    assert "archive/data/4 and 85 others, expected exactly one file" in refused.stderr


def test_label_of_several_positive_values(tmp_path):
    frame = log_of(300)
    frame["stars"] = np.arange(300) % 5 + 1
    frame.drop(columns=["clicked", "dwell", "bought"]).to_csv(tmp_path / "log.csv", index=False)
    roles = ["stars" if word == "clicked" else word for word in ROLES]
    made = midpg("prepare", "s", "--csv", "log.csv", *roles, "--positive", "4", "5", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (schema,) = (LogSchema.from_plain(read_plain_schema(tmp_path / "dataset/s", "s")),)
    assert schema.label.positive == ("4", "5")
    assert schema.form == LogForm()
    assert " 120 " in next(line for line in made.stdout.splitlines() if line.startswith("  all"))


def test_a_word_for_missing_values_that_is_nowhere_is_said(log):
    words = ("prepare", "shop", "--csv", "log.csv", *ROLES, "--missing", "v1", "nosuchword", "NA")
    for _ in ("written", "up to date"):
        made = midpg(*words, cwd=log)
        assert made.returncode == 0, made.stderr
        said = [line for line in made.stdout.splitlines() if line.startswith("--missing")]
        assert said == ["--missing: no column has 'nosuchword' as a whole value."]


def test_a_label_that_is_the_same_in_all_rows_is_said(log):
    log_of(1_500).assign(clicked=0).to_csv(log / "log.csv", index=False)
    made = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert made.returncode == 0, made.stderr
    assert "The label clicked is 0 in all rows: there is nothing to learn." in made.stdout


def test_a_positive_value_of_a_label_with_many_values(tmp_path):
    frame = log_of(3_000).assign(clicked=np.arange(3_000))
    frame.to_csv(tmp_path / "log.csv", index=False)
    words = ("prepare", "shop", "--csv", "log.csv", *ROLES, "--positive", "2999")
    refused = midpg(*words, "3000", cwd=tmp_path)
    assert "no row has '3000' in column 'clicked', expected its values, as '0'." in refused.stderr
    assert midpg(*words, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["ml-100k", "iaac_time", "teacher_dnn_synth"])
def test_a_dataset_that_has_a_config_file_in_the_package_is_no_name(log, name):
    refused = midpg("prepare", name, "--csv", "log.csv", *ROLES, cwd=log)
    assert refused.returncode == 2
    assert f"NAME: {name!r} is a known dataset, expected a name of your own." in refused.stderr
    assert not (log / "dataset").exists()


def with_times(log, times):
    """The log with other values of its time, ``(rows,)`` or one."""
    log_of(1_500).assign(event_time=times).to_csv(log / "log.csv", index=False)


@pytest.mark.parametrize(
    "value, would_be",
    [
        (20261101, " (1970-08-23 12:05:01 as seconds since 1970)"),
        (2026, " (1970-01-01 00:33:46 as seconds since 1970)"),
        (46327.5, " (1970-01-01 12:52:07 as seconds since 1970)"),
        (20261101120000, ""),
        (0, " (1970-01-01 00:00:00 as seconds since 1970)"),
    ],
)
def test_numbers_that_are_hardly_unix_times(log, value, would_be):
    with_times(log, value)
    refused = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert refused.returncode == 2
    assert f"column 'event_time', as '{value}'{would_be}, 0 are times in ISO" in refused.stderr
    assert "years 1980 to 2099," in refused.stderr
    assert "%Y%m%d of 20261120" in refused.stderr
    assert not list((log / "dataset" / "shop").glob("*"))


def test_dates_as_whole_numbers(log):
    with_times(log, [20261101 + day % 3 for day in range(1_500)])
    words = ("prepare", "shop", "--csv", "log.csv", *ROLES, "--time-format")
    made = midpg(*words, "%Y%m%d", cwd=log)
    assert made.returncode == 0, made.stderr
    line = "event_time: from 2026-11-01 00:00:00 to 2026-11-03 00:00:00 (UTC)."
    assert line in made.stdout
    again = midpg(*words, "%Y%m%d", cwd=log)
    assert line in again.stdout
    # Who names the unit is believed: a log may count from its own beginning.
    made = midpg(*words, "seconds", "--force", cwd=log)
    assert made.returncode == 0, made.stderr
    assert "from 1970-08-23 12:05:01 to 1970-08-23 12:05:03 (UTC)." in made.stdout


def test_a_few_numbers_that_are_hardly_unix_times_are_bad_lines(log):
    with_times(log, [1_793_515_404 if row % 100 else 0 for row in range(1_500)])
    words = ("prepare", "shop", "--csv", "log.csv", *ROLES)
    refused = midpg(*words, cwd=log)
    assert refused.returncode == 2
    assert (
        "log.csv, line 2: column 'event_time': '0' is not allowed, expected sec" in refused.stderr
    )
    made = midpg(*words, "--on-error", "skip", cwd=log)
    assert "1,500 rows in = 1,485 rows out + 15 rows rejected" in made.stdout
    assert "from 2026-11-01 06:43:24 to 2026-11-01 06:43:24 (UTC)." in made.stdout


def test_times_around_the_change_of_clocks_are_counted(log):
    times = ["2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-10-25 02:30:00+02:00"]
    with_times(log, times * 500)
    words = ("prepare", "shop", "--csv", "log.csv", *ROLES, "--zone", "Europe/Berlin")
    made = midpg(*words, cwd=log)
    assert made.returncode == 0, made.stderr
    for sentence in (
        "event_time: 500 rows have a time that Europe/Berlin leaves out as summer time begins, ",
        "read as the first moment after it.",
        "event_time: 500 rows have a time that Europe/Berlin has twice as summer time ends, read ",
        "as the second.",
    ):
        assert sentence in made.stdout
    assert "from 2026-03-29 03:00:00 to 2026-10-25 02:30:00 (Europe/Berlin)." in made.stdout
    again = midpg(*words, cwd=log)
    assert "nothing to do" in again.stdout
    assert "500 rows have a time that Europe/Berlin has twice" in again.stdout


@pytest.mark.slow
def test_several_processes_make_the_same_files(log, monkeypatch):
    lines = (log / "log.csv").read_text(encoding="utf-8").splitlines()
    lines[700] += ",more"
    (log / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(log)
    monkeypatch.setattr("recbole_midpg.event_logs.log_files.BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr("recbole_midpg.atomic_data_scripts.raw_file.BLOCK_BYTES", 1 << 13)
    monkeypatch.setattr("recbole_midpg.event_logs.profile._SAMPLE_ROWS", 300)
    roles = ColumnRoles(
        "clicked", "user_id", "item id", ("channel",), "event_time", multi={"tags": "|"}
    )

    def prepared(processes):
        made = prepare_log(
            "shop",
            ["log.csv"],
            LogForm(),
            roles,
            f"of-{processes}",
            on_error="skip",
            processes=processes,
        )
        names = ("shop.inter", "shop.rejected.tsv", "shop.schema.json")
        return made.columns, [(log / f"of-{processes}/shop" / n).read_bytes() for n in names]

    assert prepared(2) == prepared(1)
    with pytest.raises(UsageError, match=r"log.csv, line 701: 16 values, expected 15"):
        prepare_log("shop", ["log.csv"], LogForm(), roles, "stopped", processes=2)
    assert not list((log / "stopped" / "shop").glob("*"))
    assert not multiprocessing.active_children()


def test_a_second_command_does_nothing(log):
    first = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    inter = log / "dataset/shop/shop.inter"
    written, text = inter.stat(), inter.read_bytes()
    second = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert second.returncode == 0, second.stderr
    assert "shop: up to date in dataset/shop, nothing to do" in second.stdout
    assert inter.stat().st_mtime_ns == written.st_mtime_ns
    table = first.stdout.partition("\n\n")[0]
    assert second.stdout.startswith(table)
    inter.write_bytes(text.replace(b"app", b"web"))
    changed = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert changed.returncode == 2
    assert "or changed; --force writes over it." in changed.stderr
    midpg("prepare", "shop", "--csv", "log.csv", *ROLES, "--force", cwd=log)
    assert inter.read_bytes() == text
    log_of(1_499).to_csv(log / "log.csv", index=False)
    assert midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log).returncode == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_a_command_that_is_killed_between_renames_is_completed_by_the_same(log):
    words = ("prepare", "shop", "--csv", "log.csv", *ROLES)
    midpg(*words, cwd=log)
    folder = log / "dataset/shop"
    whole = {path.name: path.read_bytes() for path in folder.glob("shop.[is]*")}
    for renames in range(4):  # the manifest in its own folder, two files, the manifest again
        shutil.rmtree(folder)
        assert _killed_before_rename(renames, lambda: midpg(*words, cwd=log)) == -signal.SIGKILL
        assert was_cut_off(folder) == (renames > 0)
        if renames:
            refused = run_recbole("--dataset=shop", "--model=DNN", cwd=log)
            assert "the same recbole-midpg prepare shop completes it" in refused.stderr
        made = midpg(*words, cwd=log)
        assert made.returncode == 0, made.stderr
        assert ("nothing to do" in made.stdout) == (renames > 0)
        assert {path.name: path.read_bytes() for path in folder.glob("shop.[is]*")} == whole
        assert not list(folder.glob(".*"))


def _killed_before_rename(renames, command):
    """Run a command in a process that is killed after so many renames; its exit status."""
    process = os.fork()
    if process == 0:
        done = []
        replace = Path.replace

        def counted(path, target):
            if len(done) == renames:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(path)
            return replace(path, target)

        Path.replace = counted
        try:
            command()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_mixed_encodings_are_told_in_a_sentence(log):
    lines = (log / "log.csv").read_text(encoding="utf-8").splitlines()
    lines[900] = lines[900].replace("web", "Außen").replace("app", "Außen")
    later = "\n".join(lines[900:]).encode("latin-1")
    earlier = "\n".join(lines[:900])
    (log / "log.csv").write_bytes(earlier.encode() + b"\n" + later + b"\n")
    refused = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert refused.returncode == 2
    assert re.search(r"log\.csv, line 901: byte 0xdf is not UTF-8 text.*mixes", refused.stderr)
    assert "--encoding" in refused.stderr
    ascii_only = earlier.replace("Außen", "Aussen").encode()
    (log / "log.csv").write_bytes(ascii_only + b"\n" + later + b"\n")
    refused = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=log)
    assert "line 901: byte 0xdf" in refused.stderr
    assert "--encoding names another one, as latin-1" in refused.stderr


def test_an_id_of_rows_is_one_beside_copies_of_rows(tmp_path):
    rows = log_of(1_500)
    pd.concat([rows, rows[:45]]).to_csv(tmp_path / "log.csv", index=False)
    made = midpg("prepare", "shop", "--csv", "log.csv", *ROLES, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (line,) = [line for line in made.stdout.splitlines() if line.startswith("impression ")]
    assert "left out" in line and "an id of rows" in line
