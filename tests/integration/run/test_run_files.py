import logging
import re
from pathlib import Path

import pytest
from recbole.config import Config
from recbole.trainer import trainer as recbole_trainer
from recbole.utils import get_local_time, get_tensorboard, utils
from recbole.utils import logger as recbole_logger

from recbole_midpg.integration.run import run_files
from recbole_midpg.integration.run.run import Run
from tests.integration.run.test_progress import rows, settings  # noqa: F401


def test_every_module_of_recbole_has_our_names():
    for module in (recbole_trainer, utils, recbole_logger):
        assert module.get_local_time is run_files.get_local_time


def test_names_of_one_second_differ(monkeypatch):
    monkeypatch.setattr(run_files, "_stock_get_local_time", lambda: "Nov-26-2026_14-00-05")
    names = {get_local_time() for _ in range(1000)}
    assert len(names) == 1000
    assert all(re.fullmatch(r"Nov-26-2026_14-00-05-[0-9a-f]{8}", name) for name in names)


def test_two_runs_of_one_second_keep_their_own_checkpoints(rows, monkeypatch):  # noqa: F811
    """The second run's checkpoints come between the first one's last and its test."""
    monkeypatch.setattr(run_files, "_stock_get_local_time", lambda: "Nov-26-2026_14-00-05")
    alone, first, second = (
        Run.prepare(
            Config(
                "DPG", "some", config_dict=settings(epochs=2, dropout_prob=0.0, learning_rate=rate)
            )
        )
        for rate in (0.1, 0.1, 0.001)
    )
    alone.train(saved=True, verbose=False)
    alone.test(saved=True)
    first.train(saved=True, verbose=False)
    second.train(saved=True, verbose=False)
    first.test(saved=True)
    assert first.test_results == alone.test_results
    assert len(list(Path("saved").glob("DPG-*.pth"))) == 3


@pytest.mark.parametrize(
    ("log", "boards"),
    [
        ("log/DNN/DNN-ml.1-Nov-26.log", ["DNN-ml.1-Nov-26"]),
        # Two benchmarks with a seed in common.
        ("benchmark/a/logs/DNN-2020.log", ["DNN-2020", "DNN-2020-2", "DNN-2020-3"]),
    ],
)
def test_a_board_is_named_after_its_log_and_has_no_other_run_s(log, boards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(log).parent.mkdir(parents=True)
    logger = logging.Logger("one")
    logger.addHandler(logging.FileHandler(log))
    writers = [get_tensorboard(logger) for _ in boards]
    assert [Path(writer.log_dir) for writer in writers] == [
        Path("log_tensorboard") / board for board in boards
    ]
    for writer in writers:
        writer.close()


def test_a_board_without_a_log_is_named_by_the_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (get_tensorboard(logging.Logger("one")) for _ in range(2))
    assert first.log_dir != second.log_dir
    first.close(), second.close()
