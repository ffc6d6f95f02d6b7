import contextlib
import logging
import re
import sys
from pathlib import Path

import pytest
from recbole.utils import init_logger

from recbole_midpg.evaluation.run_report import Epoch
from recbole_midpg.integration.run import terminal
from recbole_midpg.integration.run.terminal import FOR_TERMINAL, show, show_digest
from tests.support.recbole_data import gaps_config


class FullDisk:
    """A stream on which nothing can be written."""

    def write(self, _):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")


@pytest.fixture
def file_handler():
    logging.getLogger().handlers[:] = []  # pytest's, beside which RecBole sets up none
    init_logger(gaps_config())
    (handler,) = (
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.FileHandler)
    )
    yield handler
    with contextlib.suppress(OSError):
        handler.close()


def test_a_log_on_a_full_disk_is_given_up_in_one_line(file_handler, capsys):
    logging.getLogger().handlers[0].stream = sys.stderr  # as pytest has replaced it
    file_handler.stream = FullDisk()
    for number in range(3):
        logging.warning("line %d", number)
    told = capsys.readouterr().err
    assert told.count("ends here (No space left on device)") == 1
    assert "Traceback" not in told and "line 2" in told
    assert file_handler not in logging.getLogger().handlers


def test_a_line_that_cannot_be_made_is_told_as_ever(file_handler, capsys):
    file_handler.handle(logging.LogRecord("some", 30, "file", 1, "line %d", ("one",), None))
    assert "Traceback" in capsys.readouterr().err
    assert file_handler in logging.getLogger().handlers


def test_the_terminal_is_wrapped_once_however_many_runs_a_process_has():
    init_logger(gaps_config())
    wrapped = sys.stderr
    for _ in range(3):
        init_logger(gaps_config())
    assert sys.stderr is wrapped


def test_the_terminal_shows_a_digest_of_what_the_file_has(file_handler, capsys):
    logging.getLogger().handlers[0].stream = sys.stderr  # as pytest has replaced it
    logging.info("detail")
    logging.info("both", extra=FOR_TERMINAL)
    logging.warning("problem")
    show("header")
    shown = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().err)
    assert [line.split()[-1] for line in shown.splitlines()] == ["both", "problem", "header"]
    show_digest(verbose=True)
    logging.info("detail")
    show("header")
    assert capsys.readouterr().err.split()[-1].startswith("detail")
    file_handler.flush()
    logged = Path(file_handler.baseFilename).read_text().splitlines()
    assert [line.split()[-1] for line in logged] == ["detail", "both", "problem", "detail"]


@pytest.mark.parametrize(
    ("eval_step", "lines"),
    [
        (0, ["epoch 0: loss 0.5", "epoch 1: loss 0.5", "epoch 2: loss 0.5"]),
        (2, ["epoch 0: loss 0.5", "epoch 1: loss 0.5; valid auc 0.7, best", "epoch 2: loss 0.5"]),
    ],
    ids=["no validation", "every second epoch"],
)
def test_each_epoch_is_told_once(eval_step, lines, monkeypatch):
    told = []
    monkeypatch.setattr(terminal, "show", told.append)
    epochs = terminal.EpochLines(eval_step, places=1)
    for number in range(3):
        epoch = Epoch(number, {"loss": 0.5}, 1.0)
        epochs.trained(epoch)
        if eval_step and (number + 1) % eval_step == 0:
            epoch.valid["auc"] = 0.7
            epochs.evaluated(is_best=True)
    epochs.finish()
    assert [re.sub(r"[\d.]+ s, ", "", line).removesuffix(" so far") for line in told] == lines
