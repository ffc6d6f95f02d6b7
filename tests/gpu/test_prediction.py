"""Scores and programs of a model that a GPU has trained."""

import numpy as np
import pytest
import torch

from recbole_midpg.prediction import Scorer
from recbole_midpg.prediction.export import TOLERANCE, export_program
from tests.gpu.runs import gpu_tests_device
from tests.prediction.checkpoints import gaps_checkpoint
from tests.prediction.test_export import EXPORTS_ALL, VARIANTS
from tests.prediction.test_export import rows as some_rows
from tests.prediction.test_files import HEADER, ROWS
from tests.support.processes import run_python

PREDICT = """
from recbole_midpg.cli import main
raise SystemExit(main(["predict", "--checkpoint", {checkpoint!r}, "--input", "new.csv",
                       "--output", {output!r}]))
"""


def on_device(checkpoint):
    """A checkpoint, after a look at where its model is."""
    checkpoint.model.to(checkpoint.config["device"])
    assert next(checkpoint.model.parameters()).device.type == gpu_tests_device()
    return checkpoint


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "STAR", "DeepFM"])
def test_the_same_command_without_a_gpu_gives_the_same_scores(tmp_path, model):
    checkpoint = on_device(gaps_checkpoint(tmp_path, model)).path
    (tmp_path / "new.csv").write_text(HEADER + "\n".join(ROWS))
    for output, environment in (("gpu.csv", {}), ("cpu.csv", {"CUDA_VISIBLE_DEVICES": ""})):
        code = PREDICT.format(checkpoint=str(checkpoint), output=output)
        result = run_python(code, tmp_path, **environment)
        assert result.returncode == 0, result.stderr
    scores = [np.loadtxt(tmp_path / f"{device}.csv", skiprows=1) for device in ("gpu", "cpu")]
    assert len(scores[0]) == len(ROWS)
    np.testing.assert_allclose(*scores, atol=1e-5)


@pytest.mark.skipif(not EXPORTS_ALL, reason="this torch cannot export")
@pytest.mark.parametrize(("model", "values"), VARIANTS)
def test_a_program_runs_where_its_model_was(tmp_path, model, values):
    small = {"mlp_hidden_size": [8, 8, 8], "n": 4, "m": 4, **values}
    checkpoint = on_device(gaps_checkpoint(tmp_path / "saved", model, **small))
    scorer = Scorer.read(checkpoint.path)
    device = scorer.scoring.config["device"]
    assert device.type == gpu_tests_device()
    export_program(scorer, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for count in (1, 7, 64):
        columns = scorer.encode(some_rows(count))
        given = program({name: column.to(device) for name, column in columns.items()}).cpu()
        np.testing.assert_allclose(
            given.numpy(), scorer.scores(some_rows(count)), rtol=0, atol=TOLERANCE
        )
