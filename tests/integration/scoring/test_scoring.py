"""What is kept of a dataset to score rows without it, and what is refused."""

import shutil

import numpy as np
import pytest
import torch
from recbole.data.dataset.dataset import Dataset

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run.checkpoint import config_to_plain
from recbole_midpg.integration.scoring.scoring import read_scoring_model, write_scoring_model
from tests.prediction.checkpoints import gaps_checkpoint
from tests.support.recbole_data import DATA, GAPS, gaps_config


@pytest.fixture
def own_data(tmp_path):
    """The dataset in a folder of the test's own."""
    shutil.copytree(DATA / "gaps", tmp_path / "data" / "gaps")
    return tmp_path / "data"


def told_of(path) -> str:
    with pytest.raises(UsageError) as error:
        read_scoring_model(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_model_finds_in_the_table_what_it_found_in_the_dataset(tmp_path):
    checkpoint = gaps_checkpoint(tmp_path, "DeepFM")
    table = read_scoring_model(checkpoint.path).fields
    dataset = Dataset(gaps_config("DeepFM"))
    names = [name for name in dataset.fields() if name != "label"]
    assert table.fields() == names
    for name in names:
        assert table.num(name) == dataset.num(name)
        assert table.field2type[name] is dataset.field2type[name]
        assert table.fields(source=[dataset.field2source[name]]).count(name) == 1
    assert table.inter_num == 4  # of ten rows, what the split leaves for training


def test_features_are_kept_in_few_bytes(tmp_path):
    users, items = read_scoring_model(gaps_checkpoint(tmp_path).path).entities
    assert (users.id_field, items.id_field) == ("user_id", "item_id")
    assert users.columns["job"].dtype == items.columns["genres"].dtype == torch.int8


def test_the_file_holds_plain_values_only(tmp_path):
    scoring = read_scoring_model(gaps_checkpoint(tmp_path).path)
    write_scoring_model(scoring, tmp_path / "gaps.scorer")
    content = torch.load(tmp_path / "gaps.scorer", weights_only=True)
    tokens = {
        values["encoder"]["field"]: values["encoder"].get("tokens") for values in content["fields"]
    }
    assert bytes(tokens["user_id"]["bytes"].numpy())[:13] == b"[PAD]u1u2u3u4"
    assert tokens["user_id"]["lengths"].dtype == torch.int8
    assert tokens["price"] is None


def test_a_checkpoint_needs_its_dataset(tmp_path, own_data):
    path = gaps_checkpoint(tmp_path / "saved", data_path=str(own_data)).path
    read_scoring_model(path)
    with (own_data / "gaps" / "gaps.user").open("a") as file:
        file.write("u5\t30\tnurse\n")
    assert "its weights do not fit the dataset gaps" in told_of(path)
    shutil.rmtree(own_data)
    assert "the dataset gaps is not in" in told_of(path)


def test_models_that_do_not_score_rows_are_refused(tmp_path):
    ranked = gaps_config("BPR", eval_args={**GAPS["eval_args"], "mode": "full"})
    config = config_to_plain(ranked)
    torch.save({"config": config, "state_dict": {}}, tmp_path / "bpr.pth")
    assert "it holds a BPR, expected a context-aware model" in told_of(tmp_path / "bpr.pth")


def test_files_of_another_version_or_with_parts_missing_are_refused(tmp_path):
    scoring = read_scoring_model(gaps_checkpoint(tmp_path).path)
    path = tmp_path / "gaps.scorer"
    write_scoring_model(scoring, path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "version": 3}, path)
    assert "it is a scorer of version 3, expected 2" in told_of(path)
    del content["fields"][0]["encoder"]
    torch.save(content, path)
    assert "the file holds no scorer" in told_of(path)


def test_the_cache_is_neither_read_nor_changed(tmp_path, monkeypatch):
    """Its numbers are normalised already; the scale has to come from the files."""
    values = {"dataset_cache": True, "normalize_all": True}
    checkpoint = gaps_checkpoint(tmp_path, **values)
    cache = tmp_path / "cache"
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    scale = read_scoring_model(checkpoint.path).fields.scored["price"].encoder.scale
    assert scale.bounds == (10.0, 60.0)
    assert np.isclose(scale.missing, np.mean([10, 30, 20, 40, 50, 30, 60]))
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def texts(*tokens):
    """Tokens as versions 1 and 2 of the file have them."""
    blob = "".join(tokens).encode() + bytes(8)
    lengths = torch.tensor([len(token) for token in tokens], dtype=torch.int8)
    return {"bytes": torch.tensor(list(blob), dtype=torch.uint8), "lengths": lengths}


# What version 0.2 has written for test_a_file_of_the_second_version_is_read's checkpoint.
FIELDS = [
    {
        "type": "TOKEN", "source": "USER_ID", "size": 5,
        "encoder": {"field": "user_id", "tokens": texts("[PAD]", "u1", "u2", "u3", "u4")},
    },
    {
        "type": "TOKEN", "source": "ITEM_ID", "size": 4,
        "encoder": {"field": "item_id", "tokens": texts("[PAD]", "i1", "i2", "i3")},
    },
    {
        "type": "FLOAT", "source": "INTERACTION", "size": 4,
        "encoder": {
            "field": "price",
            "scale": {
                "missing": 34.285714285714285, "bounds": None,
                "buckets": {
                    "method": "ED", "lower": 10.0, "upper": 60.000000001, "count": 3, "size": 4,
                },
                "scaler": None,
            },
        },
    },
    {
        "type": "TOKEN", "source": "INTERACTION", "size": 3,
        "encoder": {"field": "coupon", "tokens": texts("[PAD]", "c1", "c2")},
    },
    {
        "type": "FLOAT", "source": "USER", "size": 3,
        "encoder": {
            "field": "age",
            "scale": {
                "missing": 30.0, "bounds": None,
                "buckets": {
                    "method": "LD", "levels": torch.tensor([9.0, 12.0, 14.0], dtype=torch.float64),
                },
                "scaler": None,
            },
        },
    },
    {
        "type": "TOKEN", "source": "USER", "size": 3,
        "encoder": {"field": "job", "tokens": texts("[PAD]", "nurse", "pilot")},
    },
    {
        "type": "TOKEN_SEQ", "source": "ITEM", "size": 3,
        "encoder": {
            "field": "genres", "tokens": texts("[PAD]", "drama", "war"), "separator": " ",
            "width": 2,
        },
    },
    {
        "type": "FLOAT_SEQ", "source": "ITEM", "size": 2,
        "encoder": {
            "field": "sizes",
            "scale": {
                "missing": 1.25, "bounds": None, "buckets": None,
                "scaler": {"method": "standard", "mean": 1.25, "deviation": 0.829156219959259},
            },
            "separator": " ", "width": 2,
        },
    },
]  # fmt: skip


def test_a_file_of_the_second_version_is_read(tmp_path):
    methods = {"age": {"method": "LD"}, "price": {"method": "ED", "bucket": 3}}
    scoring = read_scoring_model(gaps_checkpoint(tmp_path, discretization=methods).path)
    path = tmp_path / "gaps.scorer"
    write_scoring_model(scoring, path)
    content = torch.load(path, weights_only=True)
    content["version"], content["fields"] = 2, FIELDS
    torch.save(content, path)
    again = read_scoring_model(path).fields.scored
    columns = {
        "user_id": ["u2", "new", None], "item_id": ["i3", "", "i1"], "price": [5.0, None, 59.0],
        "coupon": ["c2", "c1", "c3"], "age": [20.0, None, 90.0], "job": ["pilot", "nurse", ""],
        "genres": ["war drama", "", "drama"], "sizes": ["1 2", "", "0.5"],
    }  # fmt: skip
    assert again.keys() == scoring.fields.scored.keys() == columns.keys()
    for name, column in columns.items():
        here = scoring.fields.scored[name].encoder.encode(column)
        assert np.array_equal(again[name].encoder.encode(column), here), name


def test_a_file_of_the_first_version_is_read_as_it_was_written(tmp_path):
    """It scales no number by a scaler, and says so by not naming one."""
    scoring = read_scoring_model(gaps_checkpoint(tmp_path, numerical_scaling="none").path)
    path = tmp_path / "gaps.scorer"
    write_scoring_model(scoring, path)
    content = torch.load(path, weights_only=True)
    for field in content["fields"]:
        assert field["encoder"].get("scale", {}).pop("scaler", None) is None
    torch.save({**content, "version": 1}, path)
    again = read_scoring_model(path).fields.scored["price"].encoder
    assert again == scoring.fields.scored["price"].encoder


def test_damaged_scalers_are_told(tmp_path):
    path = gaps_checkpoint(tmp_path).path
    content = torch.load(path, weights_only=True)
    scalers = content.pop("number_scalers")
    torch.save(content, path)
    assert "the checkpoint has scalers of no field, expected price, age, sizes" in told_of(path)
    for damage in (
        {"price": 3},
        {"price": {"method": "standard", "mean": 1.0, "deviation": 0.0}},
        {"price": {"method": "standard", "mean": float("nan"), "deviation": 1.0}},
        {"price": {"method": "another", "mean": 1.0, "deviation": 1.0}},
        {"price": {"method": "standard", "mean": "x", "deviation": 1.0}},
        {"price": {"mean": 1.0}},
        [1],
    ):
        broken = {**scalers, **damage} if isinstance(damage, dict) else damage
        torch.save({**content, "number_scalers": broken}, path)
        assert "its scalers are damaged" in told_of(path)
