"""Scores of new rows are those that RecBole's own way to the model gives."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_midpg.common.errors import UsageError
from recbole_midpg.generated import generate
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.prediction import Scorer
from recbole_midpg.prediction.files import score_file
from recbole_midpg.prediction.recognition import ValueCounts
from tests.prediction.checkpoints import (
    checkpoint_of,
    gaps_checkpoint,
    ml_100k_checkpoint,
    predictions_in_file_order,
    predictions_of_test_data,
    tokens_of_test_data,
)
from tests.support.recbole_data import DATA, Config

SCALES = {
    "as they are": {"numerical_scaling": "none"},
    "normalised": {"normalize_all": True},
    "one normalised": {"normalize_all": None, "normalize_field": ["price"]},
    "equal buckets": {
        "discretization": {
            "price": {"method": "ED", "bucket": 3},
            "sizes": {"method": "ED", "bucket": 4},
        }
    },
    "logarithmic buckets": {"discretization": {"price": {"method": "LD"}, "age": {"method": "LD"}}},
    "both": {"normalize_all": True, "discretization": {"age": {"method": "ED", "bucket": 2}}},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """MIDPG on ml-100k."""
    return ml_100k_checkpoint(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def gaps_scorer(tmp_path_factory):
    """MIDPG on fields of every type with missing values."""
    return Scorer.read(gaps_checkpoint(tmp_path_factory.mktemp("gaps")).path)


def atomic_file(source: str) -> pd.DataFrame:
    path = DATA / "gaps" / f"gaps.{source}"
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return frame.rename(columns=lambda column: column.split(":")[0])


def gaps_rows() -> pd.DataFrame:
    return atomic_file("inter")


@pytest.mark.parametrize("model", own_models())
def test_every_model_scores_the_test_rows_bit_for_bit(tmp_path, model):
    checkpoint = ml_100k_checkpoint(tmp_path, model)
    scores = Scorer.read(checkpoint.path).scores(tokens_of_test_data(checkpoint))
    assert scores.dtype == np.float32 and len(scores) == 10_000
    np.testing.assert_array_equal(scores, predictions_of_test_data(checkpoint))


def test_features_of_users_and_items_are_joined_where_the_rows_do_not_bring_them(films):
    tokens = tokens_of_test_data(films)
    only = {name: tokens[name] for name in ("user_id", "item_id")}
    scores = Scorer.read(films.path).scores(only)
    np.testing.assert_array_equal(scores, predictions_of_test_data(films))


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("model", ["MIDPG", "DeepFM"])
def test_numbers_and_sequences_are_encoded_as_in_training(tmp_path, model, scales):
    values = {"numerical_scaling": "none", **SCALES[scales]}
    checkpoint = gaps_checkpoint(tmp_path, model, **values)
    expected = predictions_in_file_order(checkpoint, stock=True)
    scorer = Scorer.read(checkpoint.path)
    rows = gaps_rows()
    np.testing.assert_array_equal(scorer.scores(rows), expected)
    complete = rows.merge(atomic_file("user"), "left", "user_id").merge(
        atomic_file("item"), "left", "item_id"
    )
    np.testing.assert_array_equal(scorer.scores(complete), expected)


@pytest.mark.parametrize("values", [{}, {"normalize_field": ["price"]}], ids=str)
@pytest.mark.parametrize("model", ["MIDPG", "DeepFM"])
def test_standardised_numbers_are_those_of_training(tmp_path, model, values):
    checkpoint = gaps_checkpoint(tmp_path, model, normalize_all=None, **values)
    # A user and an item meet once, so that a test row's tokens name its line.
    tokens = pd.DataFrame(tokens_of_test_data(checkpoint))[["user_id", "item_id"]]
    rows = tokens.merge(gaps_rows(), "left")
    assert (rows["price"] == "").any()
    scorer = Scorer.read(checkpoint.path)
    expected = predictions_of_test_data(checkpoint)
    np.testing.assert_array_equal(scorer.scores(rows), expected)
    scorer.save(tmp_path / "gaps.scorer")
    np.testing.assert_array_equal(Scorer.read(tmp_path / "gaps.scorer").scores(rows), expected)


@pytest.mark.parametrize("name", ["amazon_electronics_synth", "iaac_synth"])
def test_generated_sets_are_scored_from_their_own_inter_file(tmp_path, name):
    generate(name, tmp_path / "dataset", 10_000)
    values = {"data_path": str(tmp_path / "dataset"), "checkpoint_dir": str(tmp_path / "saved")}
    checkpoint = checkpoint_of(Config(model="MIDPG", dataset=name, config_dict=values))
    output = tmp_path / "scores.csv"
    scored = score_file(
        Scorer.read(checkpoint.path), tmp_path / f"dataset/{name}/{name}.inter", output
    )
    assert scored.rows == 10_000
    assert all(counts.unknown == 0 for counts in scored.counts.values())
    scores = np.loadtxt(output, dtype=np.float32, skiprows=1)
    np.testing.assert_array_equal(scores, predictions_in_file_order(checkpoint))


def test_a_saved_scorer_needs_no_dataset(tmp_path, films, monkeypatch):
    scorer = Scorer.read(films.path)
    scorer.save(tmp_path / "films.scorer")
    monkeypatch.setattr("recbole_midpg.integration.scoring.scoring._learned_by_training", None)
    tokens = tokens_of_test_data(films)
    again = Scorer.read(tmp_path / "films.scorer")
    np.testing.assert_array_equal(again.scores(tokens), predictions_of_test_data(films))
    assert again.fields == scorer.fields
    assert [path.name for path in tmp_path.iterdir()] == ["films.scorer"]


@pytest.mark.parametrize("scales", SCALES)
def test_a_saved_scorer_keeps_scales_and_features(tmp_path, scales):
    scorer = Scorer.read(gaps_checkpoint(tmp_path, **SCALES[scales]).path)
    scorer.save(tmp_path / "gaps.scorer")
    expected = scorer.scores(gaps_rows())
    np.testing.assert_array_equal(
        Scorer.read(tmp_path / "gaps.scorer").scores(gaps_rows()), expected
    )


def test_unseen_empty_and_missing_tokens_are_one_and_the_same(gaps_scorer):
    rows = {"user_id": ["u1"] * 5, "item_id": ["i1"] * 5, "price": [20.0] * 5}
    coupons = {**rows, "coupon": ["never seen", "", "NA", None, float("nan")]}
    assert gaps_scorer.encode(coupons)["coupon"].tolist() == [0] * 5
    scores = gaps_scorer.scores(coupons)
    # Equal rows of one batch: where a row stands decides by which instructions it is summed.
    assert scores == pytest.approx([scores[0]] * 5, rel=1e-6)
    assert scores[0] != gaps_scorer.scores({**rows, "coupon": ["c1"] * 5})[0]


def test_an_unknown_user_has_the_features_of_nobody(gaps_scorer):
    columns = gaps_scorer.encode(
        {"user_id": ["u1", "nobody"], "item_id": ["i1", "i1"], "price": [1, 1], "coupon": ["", ""]}
    )
    assert columns["user_id"].tolist() == [1, 0]
    assert columns["job"].tolist() == [1, 0]
    assert columns["age"][1].tolist() == [0.0, 1.0]  # the mean


def test_missing_numbers_are_the_mean_of_training(gaps_scorer):
    rows = {"user_id": ["u1"] * 3, "item_id": ["i1"] * 3, "coupon": [""] * 3}
    mean = gaps_scorer.scoring.fields.scored["price"].encoder.scale.scaler.mean
    scores = gaps_scorer.scores({**rows, "price": [np.nan, mean, mean + 5]})
    assert scores[0] == scores[1] != scores[2]


def test_a_column_written_otherwise_is_logged_once_and_counted(gaps_scorer, caplog):
    scorer = Scorer(gaps_scorer.scoring)
    rows = {"user_id": ["U1", "U2", ""], "item_id": ["i1", "i9", "i2"], "price": [1, 2, None]}
    rows |= {"coupon": ["c1"] * 3, "genres": ["drama|war", "war", ""], "other": ["x"] * 3}
    first = scorer.scores(rows)
    told = [record.getMessage() for record in caplog.records]
    assert [(record.levelname, record.name) for record in caplog.records] == [
        ("WARNING", "root")
    ] * 2
    assert told[0].startswith("user_id: 2 of 2 values (100.0%) are unknown") and "'u1'" in told[0]
    assert told[1].startswith("genres: 1 of 2 values (50.0%)") and "'|' between tokens" in told[1]
    np.testing.assert_array_equal(scorer.scores(rows), first)
    assert len(caplog.records) == 2
    counts = scorer.counts(rows, scorer.encode(rows))
    assert counts == {
        "user_id": ValueCounts(0, 2, 1, ("U1", "U2")),
        "item_id": ValueCounts(2, 1, 0, ("i9",)),
        "price": ValueCounts(2, 0, 1),
        "coupon": ValueCounts(3, 0, 0),
        "genres": ValueCounts(1, 1, 1, ("drama|war",)),
    }
    assert list(scorer.warnings(counts).values()) == told
    assert scorer.counts(pd.DataFrame(rows), scorer.encode(pd.DataFrame(rows))) == counts


def test_sequences_may_be_texts_or_lists_and_unknown_tokens_are_absent(gaps_scorer):
    rows = {"user_id": ["u1"] * 4, "item_id": ["i9"] * 4, "price": [1] * 4, "coupon": [""] * 4}
    genres = ["drama war", ["drama", "war"], "drama never war", "drama  war"]
    encoded = gaps_scorer.encode({**rows, "genres": genres})["genres"]
    assert encoded.tolist() == [[1, 2], [1, 2], [1, 0], [1, 2]]  # cut to two, as in training


def test_numbers_stand_for_the_tokens_that_they_are_written_as(films):
    scorer = Scorer.read(films.path)
    expected = scorer.scores({"user_id": ["196", "186", ""], "item_id": ["242", "302", "377"]})
    frame = pd.DataFrame({"user_id": [196, 186, None], "item_id": [242, 302, 377]})
    np.testing.assert_array_equal(scorer.scores(frame), expected)
    assert scorer.scores(frame[:0]).shape == (0,)


def test_a_feature_that_is_nowhere_is_named(gaps_scorer):
    with pytest.raises(UsageError, match=r"'coupon' is missing.*found user_id.*'cuopon'\?"):
        gaps_scorer.scores({"user_id": ["u1"], "item_id": ["i1"], "price": [1], "cuopon": ["c1"]})
    with pytest.raises(UsageError, match="'user_id' is missing"):
        gaps_scorer.scores({"item_id": ["i1"], "price": [1], "coupon": ["c1"]})


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("price", ["1", "dear"], "row 2, column 'price': 'dear' is not a finite number"),
        ("price", [1.0, float("inf")], "row 2, column 'price': inf is not a finite number"),
        ("price", ["1", [2]], r"row 2, column 'price': .* is not a finite number"),
        ("coupon", ["c1", ["c1"]], r"row 2, column 'coupon': \['c1'\] is not one token"),
        ("sizes", ["1.5", "1 x"], "row 2, column 'sizes': '1 x' is not a sequence of finite"),
        ("coupon", ["c1"], "lengths are .* expected one length"),
    ],
)
def test_a_bad_value_is_told_with_its_row_and_column(gaps_scorer, column, values, words):
    rows = {"user_id": ["u1", "u1"], "item_id": ["i1", "i1"], "price": [1, 1], "coupon": ["", ""]}
    with pytest.raises(UsageError, match=words):
        gaps_scorer.scores({**rows, column: values})


CELLS = st.one_of(
    st.sampled_from(["u1", "u2", "i1", "i3", "c1", "drama war", "", "NA", None]),
    st.text(max_size=9),
)


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS, CELLS), max_size=12),
    numbers=st.lists(st.none() | st.floats(-1e12, 1e12), min_size=12, max_size=12),
)
@settings(deadline=None, max_examples=60)
def test_any_mix_of_tokens_keeps_count_and_order(gaps_scorer, rows, numbers):
    names = ["user_id", "item_id", "coupon", "genres", "job"]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns["price"] = numbers[: len(rows)]
    scores = gaps_scorer.scores(columns)
    assert scores.shape == (len(rows),)
    assert np.isfinite(scores).all()
    backwards = gaps_scorer.scores({name: values[::-1] for name, values in columns.items()})
    np.testing.assert_allclose(backwards[::-1], scores, rtol=0, atol=1e-6)
