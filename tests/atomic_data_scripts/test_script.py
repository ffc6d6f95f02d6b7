import io
import os
import signal
import subprocess
import sys
import time

import pytest

from recbole_midpg.atomic_data_scripts import amazon_electronics, iaac, script
from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar

from .raw_files import GOLDEN_BAD, GOLDEN_RAW

AMAZON = (amazon_electronics.CONVERTER,)


def test_prints_the_summary(tmp_path, capsys):
    raw = str(GOLDEN_RAW["amazon_electronics"])
    assert script.run(AMAZON, ["--raw", raw, "--output", str(tmp_path)]) == 0
    printed, progress = capsys.readouterr()
    assert "15 rows in = 15 rows out + 0 rows rejected" in printed
    assert "warning: rows is 15, published are 1,292,954" in printed
    assert progress == ""
    assert script.run(AMAZON, ["--raw", raw, "--output", str(tmp_path)]) == 0
    assert "up to date" in capsys.readouterr().out


def test_tells_an_error_in_a_sentence(tmp_path, capsys):
    raw = str(GOLDEN_BAD["amazon_electronics"])
    assert script.run(AMAZON, ["--raw", raw, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    options = ["--raw", raw, "--output", str(tmp_path), "--on-error", "skip"]
    assert script.run(AMAZON, options) == 0
    assert "33 rows in = 2 rows out + 31 rows rejected" in capsys.readouterr().out


def test_one_raw_file_may_become_two_datasets(tmp_path):
    options = ["--raw", str(GOLDEN_RAW["iaac"]), "--output", str(tmp_path)]
    converters = (iaac.CONVERTER, iaac.CONVERTER_BY_TIME)
    assert script.run(converters, [*options, "--dataset", "iaac_time"]) == 0
    assert script.run(converters, options) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"iaac", "iaac_time"}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_interrupt_of_a_run(tmp_path):
    """As a user would: the script by its path, and control-C in the middle."""
    raw = tmp_path / "df_electronics.csv"
    header, *lines = GOLDEN_RAW["amazon_electronics"].read_text(encoding="utf-8-sig").split("\n")
    raw.write_text("\n".join([header, *(lines * 50_000)]), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, amazon_electronics.__file__, "--raw", raw, "--output", tmp_path],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("amazon_electronics/.converting-*/reading-1/*.inter")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "Interrupted: the unfinished files were removed."
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == [raw]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("recbole_midpg.atomic_data_scripts.progress_bar.time.monotonic", clock)
    return clock


def test_progress_tells_rate_and_time_left(clock):
    stream = io.StringIO()
    progress = ProgressBar("iaac", show=True, stream=stream)
    clock.now = 0.1
    progress.update(0.01, 10)
    assert stream.getvalue() == ""
    clock.now = 40.0
    progress.update(0.25, 1_000_000)
    assert stream.getvalue() == "\riaac: 25%, 1,000,000 rows, 25,000 rows/s, 2 min 00 s left"
    progress.close()
    assert stream.getvalue().endswith(" \r")


def test_progress_is_silent_where_nobody_looks(clock):
    stream = io.StringIO()
    progress = ProgressBar("iaac", stream=stream)
    clock.now = 40.0
    progress.update(0.5, 100)
    progress.close()
    assert stream.getvalue() == ""
