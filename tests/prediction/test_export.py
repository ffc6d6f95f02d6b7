"""Exported programs give the model's probabilities for any number of rows."""

import resource

import numpy as np
import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.prediction import Scorer
from recbole_midpg.prediction import export as export_module
from recbole_midpg.prediction.export import TOLERANCE, export_program
from tests.prediction.checkpoints import gaps_checkpoint

# Older ones cannot trace all models; what they cannot they say.
EXPORTS_ALL = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)
VARIANTS = [
    *((name, {}) for name in own_models()),
    ("M2M", {"meta_condition": "group"}),
    ("MIDPG", {"generator_input": "scenario"}),
    ("PLE", {"expert_levels": 2}),
    ("AdaSparse", {"pruning_form": "scaling"}),
    ("DeepFM", {}),
    ("DCNV2", {}),
]


def rows(count):
    users = [f"u{place % 5}" for place in range(count)]  # u0 is unknown: scenario 0
    items = [f"i{place % 4}" for place in range(count)]
    return {"user_id": users, "item_id": items, "price": range(count), "coupon": ["c1"] * count}


@pytest.mark.slow
@pytest.mark.parametrize(("model", "values"), VARIANTS)
def test_program_and_model_agree(tmp_path, model, values):
    small = {"mlp_hidden_size": [8, 8, 8], "n": 4, "m": 4, **values}
    scorer = Scorer.read(gaps_checkpoint(tmp_path / "saved", model, **small).path)
    path = tmp_path / "model.pt2"
    try:
        export_program(scorer, path)
    except UsageError as error:
        assert not EXPORTS_ALL and "cannot export" in str(error) and not path.exists()
        pytest.skip(str(error))
    finally:
        assert not getattr(scorer.scoring.model, "fixed_shapes", False)
    program = torch.export.load(path).module()
    for count in (1, 2, 7, 64):
        columns = rows(count)
        given = program(scorer.encode(columns)).numpy()
        np.testing.assert_allclose(given, scorer.scores(columns), rtol=0, atol=TOLERANCE)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["model.pt2"]


@pytest.mark.slow
@pytest.mark.skipif(not EXPORTS_ALL, reason="this torch cannot export")
def test_what_cannot_be_exported_is_told_and_nothing_is_written(tmp_path, monkeypatch):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"old")
    other = Scorer.read(gaps_checkpoint(tmp_path / "saved", "DSSM").path)
    with pytest.raises(UsageError, match="DSSM"):  # one row alone loses an axis
        export_program(other, path)
    scorer = Scorer.read(gaps_checkpoint(tmp_path / "saved", "DNN").path)
    with pytest.raises(UsageError, match="it cannot be written"):
        export_program(scorer, path / "model.pt2")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # as a full disk
    try:
        with pytest.raises(UsageError, match="it cannot be written"):
            export_program(scorer, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    monkeypatch.setattr(export_module, "TOLERANCE", -1.0)
    with pytest.raises(UsageError, match="with scores that differ by"):
        export_program(scorer, path)
    monkeypatch.setattr(type(scorer.scoring.model), "forward", lambda *_: 1 / 0)
    with pytest.raises(UsageError, match="cannot export DNN"):
        export_program(scorer, path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["model.pt2"]
