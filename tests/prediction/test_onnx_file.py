"""Files of ONNX give the model's probabilities in onnxruntime, and say what their inputs mean."""

import json
import sys

import numpy as np
import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.prediction import Scorer, onnx_file
from recbole_midpg.prediction.export import TOLERANCE
from recbole_midpg.prediction.onnx_file import export_onnx
from tests.prediction.checkpoints import gaps_checkpoint

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# Older ones cannot translate all models; what they cannot they say.
EXPORTS_ALL = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)
MODELS = [
    *((name, {}) for name in own_models()),
    ("MIDPG", {"generator_input": "scenario"}),
    ("PLE", {"expert_levels": 2}),
    ("AdaSparse", {"pruning_form": "scaling"}),
    *((name, {}) for name in ("DeepFM", "DCNV2", "AutoInt", "xDeepFM")),
]


def rows(count):
    users = [f"u{place % 5}" for place in range(count)]  # u0 is unknown
    items = [f"i{place % 4}" for place in range(count)]
    return {"user_id": users, "item_id": items, "price": range(count), "coupon": ["c1"] * count}


def scorer_of(tmp_path, model, **values):
    small = {"mlp_hidden_size": [8, 8, 8], "n": 4, "m": 4, **values}
    return Scorer.read(gaps_checkpoint(tmp_path / "saved", model, **small).path)


def exported(scorer, path):
    try:
        export_onnx(scorer, path)
    except UsageError as error:
        assert not EXPORTS_ALL and "cannot export" in str(error) and not path.exists()
        pytest.skip(str(error))
    return onnxruntime.InferenceSession(path)


def scores_in_onnxruntime(session, encoded):
    return session.run(["score"], {name: column.numpy() for name, column in encoded.items()})[0]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "values"), MODELS)
def test_onnxruntime_and_model_agree_in_batches_of_any_size(tmp_path, model, values):
    scorer = scorer_of(tmp_path, model, **values)
    session = exported(scorer, tmp_path / "model.onnx")
    for count in (1, 2, 7, 64):
        columns = rows(count)
        given = scores_in_onnxruntime(session, scorer.encode(columns))
        np.testing.assert_allclose(given, scorer.scores(columns), rtol=0, atol=TOLERANCE)
    names = sorted(file.name for file in tmp_path.iterdir() if file.is_file())
    assert names == ["model.onnx", "model.vocabulary.json"]


def ids_of(entry, tokens):
    known = {"": entry["missing"], **entry["ids"]}
    return [known.get(token, entry["unknown"]) for token in tokens]


def scaled(entry, numbers):
    scaler = entry["scale"]["scaler"]
    return [[(number - scaler["mean"]) / scaler["deviation"], 1] for number in numbers]


def encoded_by(vocabulary, columns):
    """Encode rows with nothing but the vocabulary, as another language would."""
    inputs = {}
    for name, entry in vocabulary["inputs"].items():
        column = columns[name]
        if entry["type"] == "token":
            rows = ids_of(entry, column)
        elif entry["type"] == "float":
            rows = scaled(entry, map(float, column))
        else:
            split = [text.split(entry["separator"]) for text in column]
            if entry["type"] == "token_seq":
                rows = [filled(ids_of(entry, texts), entry["length"], 0) for texts in split]
            else:
                numbers = [scaled(entry, map(float, texts)) for texts in split]
                rows = [filled(parts, entry["length"], [0, 0]) for parts in numbers]
        kind = np.int64 if entry["type"].startswith("token") else np.float32
        inputs[name] = np.array(rows, kind)
    return inputs


def filled(values, length, filler):
    return (values + length * [filler])[:length]


@pytest.mark.parametrize(
    "min_count", [{"job": 2, "genres": 2}, pytest.param(None, marks=pytest.mark.slow)]
)
def test_the_vocabulary_alone_encodes_rows(tmp_path, min_count):
    scorer = scorer_of(tmp_path, "STAR", min_count=min_count)
    session = exported(scorer, tmp_path / "model.onnx")
    vocabulary = json.loads((tmp_path / "model.vocabulary.json").read_text())
    assert {entry.name for entry in session.get_inputs()} == vocabulary["inputs"].keys()
    assert (vocabulary["model"], vocabulary["dataset"]) == ("STAR", "gaps")
    columns = {
        **rows(3),
        "price": [1.5, 20, 300],
        "age": [20, 30, 50],
        "job": ["pilot", "nurse", "clown"],
        "genres": ["war", "drama war", "opera"],
        "sizes": ["1 2.5", "0.5", "3"],
    }
    given = session.run(["score"], encoded_by(vocabulary, columns))[0]
    np.testing.assert_allclose(given, scorer.scores(columns), rtol=0, atol=TOLERANCE)


def test_what_cannot_be_exported_is_said_and_nothing_is_written(tmp_path, monkeypatch):
    scorer = scorer_of(tmp_path, "DNN")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(UsageError, match=r"pip install 'recbole-midpg\[onnx\]'"):
            export_onnx(scorer, path)
    with monkeypatch.context() as patched:
        patched.setattr(onnx_file, "_MOST_BYTES", 1000)
        with pytest.raises(UsageError, match=r"weights take [\d,]+ bytes, expected at most 1,000"):
            export_onnx(scorer, path)
    with monkeypatch.context() as patched:
        patched.setattr(type(scorer.scoring.model), "forward", lambda *_: 1 / 0)
        with pytest.raises(UsageError, match="cannot export DNN"):
            export_onnx(scorer, path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["model.onnx"]
