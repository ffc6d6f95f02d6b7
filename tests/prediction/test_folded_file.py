"""A checkpoint folded into a file, and the file read back."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run.checkpoint import load_data_and_model
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.midpg import MIDPG
from recbole_midpg.prediction.folded_file import fold_checkpoint, load_folded
from tests.integration.run.test_checkpoint import trained


def checkpoint_of(model_class, tmp_path, **values):
    trainer, _ = trained(model_class, checkpoint_dir=str(tmp_path / "saved"), **values)
    return trainer.saved_model_file


@pytest.mark.parametrize("model_class", [DPG, MIDPG])
def test_file_predicts_what_the_checkpoint_predicts(model_class, tmp_path):
    checkpoint = checkpoint_of(model_class, tmp_path, generator_input="scenario")
    fold_checkpoint(checkpoint, tmp_path / "folded.pth")
    assert isinstance(torch.load(tmp_path / "folded.pth", weights_only=True), dict)
    folded = load_folded(tmp_path / "folded.pth")
    _, model, _, _, _, test_data = load_data_and_model(checkpoint)
    model.eval()
    for batch, *_ in test_data:
        torch.testing.assert_close(folded.predict(batch), model.predict(batch), rtol=0, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["folded.pth"]


def test_other_models_are_refused(tmp_path):
    output = tmp_path / "folded.pth"
    with pytest.raises(UsageError, match="it holds a DNN, expected a DPG or MIDPG"):
        fold_checkpoint(checkpoint_of(DNN, tmp_path), output)
    with pytest.raises(UsageError, match="expected a model trained with generator_input: scenario"):
        fold_checkpoint(checkpoint_of(DPG, tmp_path), output)
    assert not output.exists()


def test_files_that_cannot_be_read_or_written_are_told(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        fold_checkpoint(tmp_path / "none.pth", tmp_path / "folded.pth")
    with pytest.raises(UsageError, match="there is no folder"):
        fold_checkpoint(tmp_path / "none.pth", tmp_path / "none" / "folded.pth")
    checkpoint = checkpoint_of(DPG, tmp_path, generator_input="scenario")
    with pytest.raises(UsageError, match="it is a folder"):
        fold_checkpoint(checkpoint, tmp_path / "saved")  # a folder
    with pytest.raises(UsageError, match="there is no such file"):
        load_folded(tmp_path / "none.pth")
    with pytest.raises(UsageError, match="the file holds no folded model"):
        load_folded(checkpoint)
