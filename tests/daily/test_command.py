"""``recbole-midpg daily``: each day is scored before it is learned, and a cut-off run goes on."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import recbole_midpg
from recbole_midpg.common.errors import UsageError
from recbole_midpg.daily.command import days_in_order
from recbole_midpg.daily.learning import learn_file
from recbole_midpg.daily.learning_state import read_learning_state
from recbole_midpg.daily.measuring import scores_of
from recbole_midpg.daily.new_rows import predict_rows
from recbole_midpg.evaluation.binary_metrics import auc, log_loss, predicted_over_observed
from recbole_midpg.prediction.scorer import Scorer
from tests.daily.days import NAMES, day_rows, shop_checkpoint, write_day
from tests.support.typed import midpg


@pytest.fixture
def shop(tmp_path):
    return shop_checkpoint(tmp_path, "MIDPG")


def write_days(folder, numbers=(2, 3, 4)):
    for number in numbers:
        users = ["u1", "u2", f"new{number}"]
        write_day(folder / f"day{number}.csv", day_rows(number, users=users))


def daily(shop, cwd, days="days/*.csv", output="out"):
    words = ["--checkpoint", shop, "--days", days, "--output", output]
    return midpg("daily", *words, cwd=cwd)


def read_lines(folder):
    with (folder / "daily.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same_files(first, second):
    assert (first / "daily.csv").read_bytes() == (second / "daily.csv").read_bytes()
    assert (first / "daily.svg").read_bytes() == (second / "daily.svg").read_bytes()
    states = [read_learning_state(folder / "latest.pth") for folder in (first, second)]
    assert states[0].seen == states[1].seen
    weights = [state.scoring.model.state_dict() for state in states]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    moments = [state.optimizer["state"] for state in states]
    for place, entry in moments[0].items():
        assert all(torch.equal(value, moments[1][place][key]) for key, value in entry.items())


def test_each_day_is_scored_by_what_was_learned_before_it(shop, tmp_path):
    write_days(tmp_path / "days")
    result = daily(shop, tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("latest.pth", "daily.csv", "daily.png", "daily.svg", "daily.json")
    }
    lines = read_lines(tmp_path / "out")
    state = read_learning_state(shop)
    for number in (2, 3, 4):
        path = str(tmp_path / "days" / f"day{number}.csv")
        rows = day_rows(number, users=["u1", "u2", f"new{number}"])
        columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
        scores = Scorer(state.scoring).scores(columns)
        labels = [float(label) for label in columns["click"]]
        of_day = [line for line in lines if line["day"] == f"day{number}.csv"]
        assert [line["scenario"] for line in of_day] == ["(all)", "app", "web"]
        for line, kept in zip(of_day, [None, "app", "web"], strict=True):
            mine = [i for i, name in enumerate(columns["channel"]) if kept in (None, name)]
            chosen = torch.tensor(labels)[mine], torch.tensor(scores)[mine]
            assert int(line["rows"]) == len(mine)
            assert float(line["auc"]) == pytest.approx(auc(*chosen))
            assert float(line["logloss"]) == pytest.approx(log_loss(*chosen))
            assert float(line["pcoc"]) == pytest.approx(predicted_over_observed(*chosen))
        state = learn_file(state, path).state
    assert "day4.csv: 30 rows learned, new tokens: 1 of user_id." in result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()[2:6]] == [
        *("day2.csv", "day3.csv", "day4.csv", "mean")
    ]


@pytest.mark.slow
def test_the_same_command_goes_on_and_takes_new_days(shop, tmp_path):
    write_days(tmp_path / "days", (2, 3))
    assert daily(shop, tmp_path).returncode == 0
    write_days(tmp_path / "days", (2, 3, 4))
    assert daily(shop, tmp_path).returncode == 0
    again = daily(shop, tmp_path)
    assert again.returncode == 0 and "learned" not in again.stderr
    assert daily(shop, tmp_path, output="whole").returncode == 0
    same_files(tmp_path / "out", tmp_path / "whole")


def test_days_without_a_row_or_of_one_class(shop, tmp_path):
    days = tmp_path / "days"
    write_day(days / "1.csv", [])
    write_day(days / "2.csv", [(*row[:4], "0", row[5]) for row in day_rows(2)])
    write_day(days / "3.csv", [])
    result = daily(shop, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1.csv: it has no row, nothing is learned." in result.stderr
    lines = read_lines(tmp_path / "out")
    empty = {"scenario": "(all)", "rows": "0", "positives": "0", "auc": "", "logloss": ""}
    assert empty.items() <= lines[0].items() and empty.items() <= lines[-1].items()
    assert (lines[1]["rows"], lines[1]["auc"], lines[1]["pcoc"]) == ("30", "", "")
    assert float(lines[1]["logloss"]) > 0
    assert daily(shop, tmp_path).returncode == 0


def test_what_is_read_is_not_written_over(shop, tmp_path):
    write_days(tmp_path / "days", (2,))
    assert daily(shop, tmp_path, output="first").returncode == 0
    latest = tmp_path / "first" / "latest.pth"
    before = latest.read_bytes()
    result = daily(latest, tmp_path, output="first")
    assert result.returncode == 2
    assert "first/latest.pth': it is --checkpoint, expected another file." in result.stderr
    assert latest.read_bytes() == before
    write_day(tmp_path / "days" / "daily.csv", day_rows(3))
    result = daily(shop, tmp_path, output="days")
    assert "days/daily.csv': it is one of --days, expected another file." in result.stderr
    result = daily(shop, tmp_path, output="days/day2.csv")
    assert "--output: 'days/day2.csv' is a file, expected a folder." in result.stderr
    assert result.returncode == 2


def test_days_in_another_order_or_twice(shop, tmp_path):
    days = tmp_path / "days"
    write_day(days / "1.csv", day_rows(5))
    write_day(days / "2.csv", day_rows(4))
    result = daily(shop, tmp_path)
    assert result.returncode == 2
    assert "2.csv: its rows begin at 400, before those of 1.csv" in result.stderr
    assert [line["day"] for line in read_lines(tmp_path / "out")] == ["1.csv"] * 3
    write_day(days / "2.csv", day_rows(5))
    result = daily(shop, tmp_path)
    assert result.returncode == 2
    assert "2.csv: its 30 rows were learned already, as 1.csv" in result.stderr
    (days / "2.csv").unlink()
    write_day(days / "0.csv", day_rows(6))
    assert "comes before" in daily(shop, tmp_path).stderr
    write_day(days / "1.csv", day_rows(7))
    (days / "0.csv").unlink()
    assert "has changed since it was learned" in daily(shop, tmp_path).stderr


def test_another_checkpoint_is_refused(shop, tmp_path):
    write_days(tmp_path / "days", (2,))
    assert daily(shop, tmp_path).returncode == 0
    other = shop_checkpoint(tmp_path, "MIDPG", learning_rate=0.5)
    result = daily(other, tmp_path)
    assert result.returncode == 2
    assert "goes on from another checkpoint than" in result.stderr
    result = daily(shop, tmp_path, days="nowhere/*.csv")
    assert "--days: 'nowhere/*.csv' stands for no file." in result.stderr


def test_files_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("day10.csv", "day9.csv", "day2026-11-02.csv", "day2026-1-30.csv"):
        (tmp_path / name).write_text("")
    names = [path.rpartition("/")[2] for path in days_in_order([str(tmp_path / "*.csv")])]
    assert names == ["day9.csv", "day10.csv", "day2026-1-30.csv", "day2026-11-02.csv"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "day9.csv").write_text("")
    with pytest.raises(UsageError, match="have one name"):
        days_in_order([str(tmp_path / "*.csv"), str(tmp_path / "other" / "*.csv")])


def test_no_picture_without_matplotlib(shop, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write_days(tmp_path / "days", (2,))
    result = daily(shop, tmp_path)
    assert result.returncode == 0
    assert "no picture is drawn, all else is written" in result.stderr
    assert not (tmp_path / "out" / "daily.png").exists()


def test_unknown_and_missing_scenarios_have_lines_of_their_own(shop, tmp_path):
    rows = day_rows(2, channels=["app", "kiosk", ""], rows=30)
    path = write_day(tmp_path / "2.csv", rows)
    scores = scores_of(predict_rows(read_learning_state(shop).scoring, path, None))
    assert [line["name"] for line in scores] == ["(all)", "app", "kiosk", "(missing)"]
    assert [line["rows"] for line in scores] == [30, 10, 10, 10]


@pytest.mark.slow
def test_a_killed_command_ends_with_the_same_bits(shop, tmp_path):
    for number in range(2, 10):
        rows = day_rows(number, users=["u1", "u2", f"new{number}"], rows=2000)
        write_day(tmp_path / "days" / f"day{number}.csv", rows)
    assert daily(shop, tmp_path, output="whole").returncode == 0
    words = ["daily", "--checkpoint", shop, "--days", "days/*.csv", "--output", "killed"]
    program = "from recbole_midpg.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(recbole_midpg.__file__).parents[1])}
    kills = 0
    for turn in range(30):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        begun = time.monotonic()
        # Somewhere in loading, scoring, learning or writing: later in each turn, from before a fast
        # machine has begun to after a slow one has ended.
        while process.poll() is None and time.monotonic() - begun < 1.5 * 1.15**turn:
            time.sleep(0.01)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert process.returncode == 0 and kills >= 3
    same_files(tmp_path / "whole", tmp_path / "killed")
