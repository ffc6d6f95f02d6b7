import contextlib
import logging
import sys

import pytest
from recbole.utils import init_logger

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
