"""From a shop's log to the next days' scores, by the commands alone."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.own_data.shop_log import (
    CLICKS,
    NEW_CHANNEL,
    ROLES,
    day_rows,
    rows_of_days,
    write_atomic,
    write_log,
)
from tests.support.typed import midpg, run_recbole

DAYS = rows_of_days(range(4))
NEXT = day_rows(4, is_next=True)
TINY = (
    *("--epochs=2", "--embedding_size=4", "--mlp_hidden_size=[16,8]", "--train_batch_size=256"),
    "--show_progress=False",
)
BY_DAYS = """
numeric: {"Preis_€": log}
min_count: {Kunde: 3, channel: 30}
time_split: {days: [1, 1], zone: Europe/Berlin}
"""


def fine(result):
    assert result.returncode == 0, result.stderr
    return result


def configure_days(folder: Path, name: str = "shop") -> None:
    """Edit a dataset's config as its reader would: days for the split, and what numbers are."""
    path = folder / "dataset_configs" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("  split: ")]
    path.write_text("\n".join(lines) + BY_DAYS, encoding="utf-8")


def train(folder: Path, ending: str, model="MIDPG") -> str:
    """Prepare the log, edit its config and train; the checkpoint."""
    write_log(folder / f"log.{ending}", DAYS)
    kind = "--parquet" if ending == "parquet" else "--csv"
    fine(midpg("prepare", "shop", kind, f"log.{ending}", *CLICKS, cwd=folder))
    configure_days(folder)
    # So that the checkpoint finds it from the folders of the tests.
    place = f"--data_path={folder / 'dataset'}"
    words = (f"--model={model}", "--dataset=shop", place, "--checkpoint_dir=first", *TINY)
    fine(run_recbole(*words, cwd=folder))
    (checkpoint,) = (folder / "first").glob("*.pth")
    return str(checkpoint)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with a model of four days; nothing is written there any more."""
    folder = tmp_path_factory.mktemp("shop")
    return folder, train(folder, "csv")


@pytest.fixture
def days(shop, tmp_path):
    """The checkpoint; in the current folder are the next days."""
    for day in (4, 5, 6):
        write_log(tmp_path / "days" / f"{day}.csv", day_rows(day, is_next=True))
    return shop[1]


def scores_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["score"] for row in csv.DictReader(file)]


def predict(folder: Path, checkpoint: str, rows: str, output: str, *words) -> list[str]:
    options = ("--checkpoint", checkpoint, "--input", rows, "--output", output, *words)
    fine(midpg("predict", *options, cwd=folder))
    return scores_of(folder / output)


def test_the_raw_next_day_is_scored_as_one_made_by_hand(days, tmp_path):
    write_atomic(tmp_path / "next.inter", NEXT)
    by_hand = predict(tmp_path, days, "next.inter", "hand.csv")
    assert len(by_hand) == len(NEXT) and len(set(by_hand)) > len(NEXT) / 2
    for ending in ("csv", "csv.gz", "parquet"):
        write_log(tmp_path / f"next.{ending}", NEXT)
        output = f"{ending}.scores.csv"
        scores = predict(tmp_path, days, f"next.{ending}", output, "--keep", "impression", "品")
        assert scores == by_hand, ending
        with (tmp_path / output).open(encoding="utf-8", newline="") as file:
            kept = [(row["impression"], row["品"]) for row in csv.DictReader(file)]
        assert kept == [(str(row.impression), row.item) for row in NEXT]


def test_the_next_day_is_evaluated(days, tmp_path):
    words = ("--checkpoint", days, "--input", "days/4.csv", "--output", "day4.json")
    shown = fine(midpg("evaluate", *words, "--resamples", "20", cwd=tmp_path))
    report = json.loads((tmp_path / "day4.json").read_text(encoding="utf-8"))
    assert report["all"]["rows"] == len(NEXT)
    assert report["all"]["positives"] == sum(row.clicked for row in NEXT)
    # The scenario that training has not seen, with the one that min_count made unknown.
    by_name = {group["name"]: group["rows"] for group in report["scenarios"]}
    assert by_name["app"] == sum(row.channel == "app" for row in NEXT)
    new = sum(row.channel == NEW_CHANNEL for row in NEXT)
    assert f"channel: {len(NEXT) - new} known, {new} unknown ('{NEW_CHANNEL}')" in shown.stderr
    again = midpg("evaluate", *words, cwd=tmp_path)
    assert again.returncode == 2 and "--force" in again.stderr


def test_a_model_learns_the_next_day(days, tmp_path):
    words = ("--continue_from", days, "--new_rows", "days/4.csv", "--checkpoint_out", "learned.pth")
    learned = fine(run_recbole(*words, cwd=tmp_path))
    assert f"4.csv: {len(NEXT)} rows learned, new tokens: " in learned.stderr
    assert "1 of channel" in learned.stderr
    seconds = [int(row.time.timestamp()) for row in NEXT]
    line = next(line for line in learned.stdout.splitlines() if line.startswith("4.csv"))
    assert line.split()[1:4] == [str(len(NEXT)), str(min(seconds)), str(max(seconds))]
    before = predict(tmp_path, days, "days/5.csv", "before.csv")
    after = predict(tmp_path, "learned.pth", "days/5.csv", "after.csv")
    assert len(after) == len(before) and after != before
    # It says what it has seen, and does not learn it twice.
    again = run_recbole("--continue_from", "learned.pth", "--new_rows", "days/4.csv", cwd=tmp_path)
    assert again.returncode == 2 and "were learned already" in again.stderr


def test_a_day_learned_from_raw_rows_is_the_day_made_by_hand(days, tmp_path):
    write_atomic(tmp_path / "4.inter", NEXT)
    write_log(tmp_path / "4.parquet", NEXT)
    found = []
    for rows in ("days/4.csv", "4.parquet", "4.inter"):
        output = f"{Path(rows).suffix[1:]}.pth"
        words = ("--continue_from", days, "--new_rows", rows, "--checkpoint_out", output)
        fine(run_recbole(*words, cwd=tmp_path))
        found.append(predict(tmp_path, output, "days/5.csv", f"{output}.csv"))
    assert found[0] == found[1] == found[2]


def test_days_are_scored_and_then_learned(days, tmp_path):
    words = ("--checkpoint", days, "--days", "days/*.csv", "--output", "daily")
    fine(midpg("daily", *words, cwd=tmp_path))
    with (tmp_path / "daily" / "daily.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    whole = [line for line in lines if line["scenario"] == "(all)"]
    rows = {f"{day}.csv": day_rows(day, is_next=True) for day in (4, 5, 6)}
    assert {line["day"]: int(line["rows"]) for line in whole} == {
        d: len(r) for d, r in rows.items()
    }
    for day, of_day in rows.items():
        named = {line["scenario"] for line in lines if line["day"] == day} - {"(all)"}
        assert named == {row.channel for row in of_day}
    # What it scored first is what the checkpoint says of that day.
    evaluated = ("--checkpoint", days, "--input", "days/4.csv", "--resamples", "0")
    fine(midpg("evaluate", *evaluated, "--output", "4.json", cwd=tmp_path))
    report = json.loads((tmp_path / "4.json").read_text(encoding="utf-8"))
    assert float(whole[0]["logloss"]) == pytest.approx(report["all"]["logloss"]["value"], abs=1e-6)


def with_bad_lines(path: Path) -> int:
    """Write two bad lines into a log, the second one last; the number of the first one's line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    number = len(lines) // 2
    cells = lines[number - 1].split(",")
    place = lines[0].split(",").index("gesehen am")
    late = [*cells[:place], "later", *cells[place + 1 :]]
    path.write_text(
        "\n".join([*lines[: number - 1], ",".join(late), *lines[number - 1 :], "x", ""])
    )
    return number


def test_bad_lines_of_a_day_are_left_out_where_that_is_asked_for(days, tmp_path):
    clean = ("--continue_from", days, "--new_rows", "days/4.csv", "--checkpoint_out", "clean.pth")
    fine(run_recbole(*clean, cwd=tmp_path))
    line = with_bad_lines(tmp_path / "days" / "4.csv")
    words = ("--continue_from", days, "--new_rows", "days/4.csv", "--checkpoint_out", "l.pth")
    stopped = run_recbole(*words, cwd=tmp_path)
    assert stopped.returncode == 2 and f"days/4.csv, line {line}, " in stopped.stderr
    assert not (tmp_path / "l.pth").exists()
    learned = fine(run_recbole(*words, "--on_error", "skip", cwd=tmp_path))
    told = "warning: 2 lines of 4.csv are bad and were left out, the first one: days/4.csv, line"
    assert f"{told} {line}, column 'gesehen am'" in learned.stderr
    rows = [
        predict(tmp_path, f"{name}.pth", "days/5.csv", f"{name}.csv") for name in ("clean", "l")
    ]
    assert rows[0] == rows[1]

    words = ("--checkpoint", days, "--days", "days/4.csv", "--output", "daily")
    stopped = midpg("daily", *words, cwd=tmp_path)
    assert stopped.returncode == 2 and not (tmp_path / "daily" / "latest.pth").exists()
    assert told in fine(midpg("daily", *words, "--on-error", "skip", cwd=tmp_path)).stderr
    with (tmp_path / "daily" / "daily.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["rows"] == str(len(NEXT))


def test_an_exported_model_takes_the_raw_day(days, tmp_path):
    scores = predict(tmp_path, days, "days/4.csv", "a.csv")
    fine(midpg("export", "--checkpoint", days, "--output", "m.scorer", cwd=tmp_path))
    assert predict(tmp_path, "m.scorer", "days/4.csv", "b.csv") == scores


@pytest.mark.slow
def test_csv_and_parquet_train_the_same_model(days, tmp_path):
    checkpoint = train(tmp_path / "parquet", "parquet")
    scores = predict(tmp_path, days, "days/4.csv", "csv.csv")
    assert predict(tmp_path, checkpoint, "days/4.csv", "parquet.csv") == scores


@pytest.mark.slow
def test_the_whole_way_in_processes_of_their_own(tmp_path):
    """As typed in a shell: no state is shared but what lies in files."""
    main = "from recbole_midpg.cli import main; raise SystemExit(main())"

    def typed(program, *words):
        start = ["-m", "recbole_midpg"] if program == "run_recbole" else ["-c", main]
        command = [sys.executable, *start, *map(str, words)]
        fine(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False))

    write_log(tmp_path / "log.csv", DAYS)
    write_log(tmp_path / "4.csv", NEXT)
    write_log(tmp_path / "5.csv", day_rows(5, is_next=True))
    typed("recbole-midpg", "prepare", "shop", "--csv", "log.csv", *CLICKS)
    typed("run_recbole", "--model=MIDPG", "--dataset=shop", "--checkpoint_dir=first", *TINY)
    (first,) = (tmp_path / "first").glob("*.pth")
    predict = ("recbole-midpg", "predict", "--checkpoint")
    typed(*predict, first, "--input", "4.csv", "--output", "s.csv")
    words = ("--continue_from", first, "--new_rows", "4.csv", "--checkpoint_out", "l.pth")
    typed("run_recbole", *words)
    typed(*predict, "l.pth", "--input", "5.csv", "--output", "t.csv")
    assert len(scores_of(tmp_path / "t.csv")) == len(day_rows(5, is_next=True))


@pytest.mark.slow
def test_a_trained_model_as_a_program_of_onnx(days, tmp_path):
    pytest.importorskip("onnxscript")
    fine(midpg("export", "--checkpoint", days, "--output", "m.onnx", cwd=tmp_path))
    vocabulary = json.loads((tmp_path / "m.vocabulary.json").read_text(encoding="utf-8"))
    assert "k-ü7" in json.dumps(vocabulary, ensure_ascii=False)


# --------------------------------------------------------------------------------------------------
# Clicks and purchases


@pytest.mark.slow
def test_clicks_and_purchases_of_one_log(tmp_path):
    write_log(tmp_path / "log.csv", DAYS)
    write_log(tmp_path / "4.csv", NEXT)
    both = (*ROLES, "--label", "bought", "--outcome", "clicked")
    fine(midpg("prepare", "both", "--csv", "log.csv", *both, cwd=tmp_path))
    words = ("--dataset=both", "--model=ESMM_DNN", "--click_field=clicked", *TINY)
    trained = fine(run_recbole(*words, "--checkpoint_dir=esmm", cwd=tmp_path))
    assert "ctcvr" in trained.stdout.lower()
    (checkpoint,) = (tmp_path / "esmm").glob("*.pth")
    assert len(predict(tmp_path, str(checkpoint), "4.csv", "s.csv")) == len(NEXT)
    judged = ("evaluate", "--checkpoint", checkpoint, "--input", "4.csv", "--resamples=0")
    assert "label: bought\n" in fine(midpg(*judged, cwd=tmp_path)).stderr
    assert "label: clicked\n" in fine(midpg(*judged, "--task=CTR", cwd=tmp_path)).stderr
    clicked = sum(row.clicked for row in NEXT)
    of_clicks = f"label: bought\ngiven: clicked is 1 in {clicked:,} of {len(NEXT):,} rows\n"
    assert of_clicks in fine(midpg(*judged, "--task=CVR", cwd=tmp_path)).stderr


@pytest.mark.slow
def test_purchases_given_clicks(tmp_path):
    write_log(tmp_path / "log.csv", DAYS)
    write_log(tmp_path / "4.csv", NEXT)
    given = (*ROLES, "--label", "bought", "--given", "clicked")
    fine(midpg("prepare", "given", "--csv", "log.csv", *given, cwd=tmp_path))
    words = ("--dataset=given", "--model=DNN", "--checkpoint_dir=cvr", *TINY)
    fine(run_recbole(*words, cwd=tmp_path))
    (checkpoint,) = (tmp_path / "cvr").glob("*.pth")
    # All rows have a score; those that were clicked are evaluated, and learned from.
    assert len(predict(tmp_path, str(checkpoint), "4.csv", "s.csv")) == len(NEXT)
    clicked = sum(row.clicked for row in NEXT)
    words = ("--checkpoint", checkpoint, "--input", "4.csv", "--resamples", "0")
    evaluated = fine(midpg("evaluate", *words, cwd=tmp_path))
    assert f"given: clicked is 1 in {clicked:,} of {len(NEXT):,} rows" in evaluated.stderr
    words = ("--continue_from", checkpoint, "--new_rows", "4.csv", "--checkpoint_out", "l.pth")
    learned = fine(run_recbole(*words, cwd=tmp_path))
    assert f"4.csv: {clicked} rows learned" in learned.stderr


# --------------------------------------------------------------------------------------------------
# What may be wrong with the next day


def _changed(name: str, value: str):
    """A day whose third row has another value in a column."""

    def change(lines):
        names = lines[0].split(",")
        values = next(csv.reader([lines[3]]))
        values[names.index(name)] = value
        return [
            *lines[:3],
            ",".join(f'"{v}"'.replace('" 品"', '"" 品"') for v in values),
            *lines[4:],
        ]

    return change


WRONG = {
    "empty": (lambda lines: [], r"4\.csv.*empty"),
    "only names": (lambda lines: lines[:1], r"4\.csv: (the file has no rows|it has no row)"),
    "no names": (lambda lines: lines[1:], r"4\.csv, line 1: it holds values"),
    "semicolons": (
        lambda lines: [line.replace(",", ";") for line in lines],
        r"4\.csv, line 1: one column is found with the separator ','",
    ),
    "a column is missing": (
        lambda lines: [lines[0].replace("Preis €", "Preis"), *lines[1:]],
        r"4\.csv, line 1: column 'Preis €' is missing.*is it 'Preis'",
    ),
    "another type": (
        _changed("Preis €", "12 Euro"),
        r"4\.csv, line 4, column 'Preis €': '12 Euro' is not allowed, expected a number",
    ),
    "mixed encodings": (
        lambda lines: [*lines[:5], lines[5].replace("ü", "\udcfc"), *lines[6:]],
        r"4\.csv, line 6: byte 0xfc is not UTF-8 text",
    ),
}


@pytest.mark.parametrize("command", ["predict", "evaluate", "continue", "daily"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_next_day_is_told_in_a_sentence(shop, tmp_path, command, wrong):
    spoil, sentence = WRONG[wrong]
    path = write_log(tmp_path / "4.csv", day_rows(4))
    lines = spoil(path.read_text(encoding="utf-8").splitlines())
    text = "".join(line + "\n" for line in lines)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    words = {
        "predict": ("--checkpoint", shop[1], "--input", "4.csv", "--output", "s.csv"),
        "evaluate": ("--checkpoint", shop[1], "--input", "4.csv", "--output", "r.json"),
        "continue": (
            "--continue_from",
            shop[1],
            "--new_rows",
            "4.csv",
            "--checkpoint_out",
            "l.pth",
        ),
        "daily": ("--checkpoint", shop[1], "--days", "4.csv", "--output", "daily"),
    }[command]
    if command == "continue":
        refused = run_recbole(*words, cwd=tmp_path)
    else:
        refused = midpg(command, *words, cwd=tmp_path)
    if (wrong, command) == ("only names", "daily"):  # a day on which nothing happened
        assert (refused.returncode, "nothing is learned" in refused.stderr) == (0, True)
        return
    assert refused.returncode == 2, refused.stderr
    assert re.search(sentence, refused.stderr), refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    # The folder of caches is the fixture's, where matplotlib lists the fonts it has found.
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["4.csv"]
