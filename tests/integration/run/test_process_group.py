import os
from pathlib import Path

import pytest
import torch
from recbole.trainer import trainer as recbole_trainer
from recbole.utils import utils as recbole_utils

from recbole_midpg.integration.run import process_group
from tests.support.recbole_data import gaps_config


def test_a_folder_that_another_process_has_just_made_is_fine(monkeypatch):
    """RecBole looks first and makes it then; between the two another rank may have made it."""
    assert recbole_trainer.ensure_dir is recbole_utils.ensure_dir is process_group.ensure_dir
    Path("saved").mkdir()
    monkeypatch.setattr("os.path.exists", lambda _: False)
    recbole_trainer.ensure_dir("saved")
    recbole_trainer.ensure_dir("a/b")
    assert Path("a/b").is_dir()


@pytest.mark.parametrize(("hidden", "device"), [(True, "cpu"), (False, "cuda")])
def test_gpus_that_the_user_hides_stay_hidden(hidden, device, monkeypatch):
    monkeypatch.setattr(process_group, "_GPUS_ARE_HIDDEN", hidden)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # RecBole writes here
    config = gaps_config()
    assert config["device"] == torch.device(device)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ("" if hidden else "0")
