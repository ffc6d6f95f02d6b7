from pathlib import Path

from recbole.trainer import trainer as recbole_trainer
from recbole.utils import utils as recbole_utils

from recbole_midpg.integration import process_group


def test_a_folder_that_another_process_has_just_made_is_fine(monkeypatch):
    """RecBole looks first and makes it then; between the two another rank may have made it."""
    assert recbole_trainer.ensure_dir is recbole_utils.ensure_dir is process_group.ensure_dir
    Path("saved").mkdir()
    monkeypatch.setattr("os.path.exists", lambda _: False)
    recbole_trainer.ensure_dir("saved")
    recbole_trainer.ensure_dir("a/b")
    assert Path("a/b").is_dir()
