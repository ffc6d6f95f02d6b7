"""Rows that repeat another one: counted exactly, and followed into the splits."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_midpg.integration.dataset.repeated_rows import digests_of, repeats
from recbole_midpg.integration.dataset.split_columns import column_of
from tests.integration.dataset.test_trust import columns, prepared, some_config

CELLS = st.tuples(
    st.integers(0, 3),
    st.sampled_from([0.0, -0.0, 1.5, float("nan")]),
    st.lists(st.integers(0, 2), max_size=3),
)


def plain(row):
    """A row as a value that Python compares."""
    token, number, sequence = row
    return token, "missing" if np.isnan(number) else number + 0.0, tuple(sequence)


@given(st.lists(CELLS, max_size=40), st.booleans())
def test_rows_have_one_digest_where_they_are_equal(rows, in_pairs):
    sequences = np.empty(len(rows), object)
    for place, (_, _, sequence) in enumerate(rows):
        array = np.array(sequence, np.int64)
        sequences[place] = (array, np.ones_like(array)) if in_pairs else array
    frame = pd.DataFrame(
        {
            "token": np.array([row[0] for row in rows], np.int8),
            "number": np.array([row[1] for row in rows], np.float64),
            "sequence": pd.Series(sequences, dtype=object),
        }
    )
    digests = digests_of(frame)
    assert digests.dtype == np.uint64 and len(digests) == len(rows)
    pairs = set(zip(map(plain, rows), digests.tolist(), strict=True))
    assert len(pairs) == len({row for row, _ in pairs}) == len({digest for _, digest in pairs})


def test_repeats_by_hand():
    train, valid, test = (
        np.array(rows, np.uint64) for rows in ([1, 1, 2, 3], [4, 2], [3, 5, 1, 6])
    )
    assert repeats([train, valid, test]) == (
        "4 of 10 rows (40.00%) repeat another row exactly, and 50.00% of the test split's rows "
        "stand in the training split too."
    )
    assert repeats([train[1:], valid[:1], test[1:2]]) is None
    assert repeats([train, valid, test[:0]]).startswith("2 of 6 rows (33.33%)")


def test_a_log_without_repeats_has_no_line(caplog):
    prepared(columns())
    assert "repeat" not in caplog.text


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
@pytest.mark.parametrize("order", ["RO", "TO"])
def test_rows_that_stand_twice_are_followed_into_the_splits(caplog, model, order):
    """Of 4,000 rows the last 400 are the first 400 again, but for 100 that have another label."""
    values = columns(**{"timestamp:float": 1.6e9 + np.arange(4000)})
    for name in values:
        values[name][-400:] = values[name][:400]
    values["label:float"][-100:] = 1 - values["label:float"][-100:]
    judged = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": order, "group_by": None}
    settings = {"eval_args": {**judged, "mode": "labeled"}, "dataset_cache": False}
    run = prepared(values, model=model, **settings)
    (told,) = (message for message in caplog.messages if "repeat" in message)
    names = ("user_id", "item_id", "label")  # a user has one row, and its copy
    train, test = (
        list(zip(*(column_of(data._dataset, name).tolist() for name in names), strict=True))
        for data in (run.train_data, run.test_data)
    )
    seen = sum(row in set(train) for row in test) / len(test)
    assert told == (
        f"300 of 4,000 rows (7.50%) repeat another row exactly, and {seen:.2%} of the test split's "
        "rows stand in the training split too."
    )
    assert (seen > 0.05) == (order == "RO")
    assert run.dataset.fields() == run.train_data._dataset.fields()
    assert "row digest" not in {*run.dataset.inter_feat, *run.test_data._dataset.inter_feat}
    assert {*run.dataset.field2type} == {name.split(":")[0] for name in values}


def test_rows_of_another_second_are_others(caplog):
    """In float32 the time of day would be the same for two minutes."""
    values = columns(**{"timestamp:float": 1.6e9 + np.arange(4000)})
    for name in ("user_id:token", "item_id:token", "place:token", "label:float"):
        values[name][1::2] = values[name][::2]
    prepared(values)
    assert "repeat" not in caplog.text


def test_splits_are_those_without_counting():
    prepared(columns())
    given_values = {"load_col": None, "LABEL_FIELD": "label", "scenario_fields": ["place"]}
    given_values |= {"data_path": "dataset"}
    config = some_config(dict(given_values))
    init_seed(config["seed"], config["reproducibility"])
    counted = [data._dataset for data in data_preparation(config, create_dataset(config))]
    init_seed(config["seed"], config["reproducibility"])
    for ours, plainly in zip(counted, create_dataset(config).build(), strict=True):
        assert list(ours.inter_feat) == list(plainly.inter_feat)
        for name in plainly.inter_feat:
            assert ours.inter_feat[name].equal(plainly.inter_feat[name])


@pytest.mark.slow
def test_a_million_rows_take_about_a_second():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"f{i}": random.integers(0, 1000, 1_300_000) for i in range(20)})
    started = time.perf_counter()
    digests = digests_of(frame)
    assert repeats([digests[:1_000_000], digests[1_000_000:1_100_000], digests[1_100_000:]]) is None
    assert time.perf_counter() - started < 5
