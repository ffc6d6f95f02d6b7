"""A dataset's values, through JSON and the arrays beside it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_midpg.common.plain_values import NotPlainError
from recbole_midpg.integration.dataset.dataset_state import (
    TokenTables,
    object_array,
    pack,
    unpack,
)
from recbole_midpg.loading.atomic_reader import Tokens


def through_json(value):
    arrays = {}
    text = json.dumps(pack(value, arrays))
    return unpack(json.loads(text), arrays)


@pytest.mark.parametrize(
    "value",
    [
        {"a": FeatureType.TOKEN, "b": FeatureSource.ITEM, "c": (1, [2.5, None]), "d": {"x", "y"}},
        {FeatureSource.USER: "u", 3: ["v"]},
        {"array": "a field of that name", "frame": 1},
        {"keys": 1, "values": 2},
    ],
)
def test_values_come_back(value):
    assert through_json({"of": value}) == {"of": value}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int8).reshape(2, 3),
        np.zeros((0, 4), np.float32),
        np.array([True, False]),
        np.array(["[PAD]", "ä"]),
        np.array([], dtype=np.str_),
    ],
)
def test_arrays_come_back(array):
    again = through_json(array)
    assert again.dtype == array.dtype and again.shape == array.shape
    assert again.tolist() == array.tolist()


ONE, TWO, NONE = np.array([1.5]), np.array([2.0, 3.0]), np.array([])


@pytest.mark.parametrize(
    "column",
    [
        [ONE, NONE, TWO],
        [(ONE, ONE), (TWO, TWO), (NONE, NONE)],
        [[0.5, 1], [2.0, 1]],
        [(1, 2), (3,)],
        [ONE, "x", None],
        [],
    ],
)
def test_columns_of_objects_come_back(column):
    again = through_json(object_array(column))
    assert again.dtype == object and repr(list(again)) == repr(column)


def test_rows_of_arrays_are_few_arrays():
    arrays = {}
    pack(object_array([ONE] * 1000), arrays)
    assert len(arrays) == 2


def test_frames_tensors_and_tables_come_back():
    tokens = Tokens.of(["[PAD]", "a", "ß"])
    value = {
        "frame": pd.DataFrame({"n": [1.5, np.nan], "array": [1, 2]}),
        "tensor": torch.arange(3),
        "field2id_token": TokenTables("array", {"item": tokens}),
        "field2token_id": TokenTables("positions", {"item": tokens}),
    }
    again = through_json(value)
    pd.testing.assert_frame_equal(pd.DataFrame(again["frame"]), value["frame"])
    assert torch.equal(again["tensor"], value["tensor"])
    assert again["field2id_token"]["item"].tolist() == ["[PAD]", "a", "ß"]
    assert again["field2token_id"]["item"] == {"[PAD]": 0, "a": 1, "ß": 2}


def test_what_two_attributes_share_is_kept_once():
    tokens, arrays = Tokens.of(["[PAD]", "a"]), {}
    tables = [TokenTables(form, {"item": tokens}) for form in ("array", "positions")]
    pack(tables, arrays)
    assert len(arrays) == 2  # the bytes and where each text begins


@pytest.mark.parametrize("value", [object(), np.array([b"x"]), {"a": [np.datetime64("2020")]}])
def test_what_would_need_a_pickle_is_refused(value):
    with pytest.raises(NotPlainError):
        pack([value], {})
