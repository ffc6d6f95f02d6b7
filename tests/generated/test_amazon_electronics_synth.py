import numpy as np
import pandas as pd
import pytest
from recbole.data import create_dataset

from recbole_midpg.generated.amazon_electronics_synth import ANGLES, N_PERIODS, PERIOD_DAYS
from tests.atomic_data_scripts.recbole_reading import config_of


@pytest.fixture(scope="module")
def frame(amazon):
    return pd.read_csv(amazon.raw, keep_default_na=False)


def test_shape(frame):
    share = 20_000 / 1_292_954
    assert frame.user_id.nunique() == pytest.approx(1_157_633 * share, abs=3)
    assert frame.item_id.nunique() == round(9_560 * share**0.5)
    assert set(frame.category) == set(ANGLES)
    assert (frame.brand != "").sum() == pytest.approx(331_120 * share, abs=1)
    assert (frame.user_attr != "").sum() == pytest.approx(174_124 * share, abs=4)
    assert (frame.rating >= 4).mean() == pytest.approx(0.77, abs=1e-4)
    cells = frame[frame.user_attr != ""].groupby(["user_attr", "model_attr"]).size()
    assert cells["Female", "Female"] == round(34_259 * share)
    assert cells["Male", "Male"] == round(30_907 * share)


def test_items_and_users_are_what_they_are(frame):
    items = frame.groupby("item_id")[["model_attr", "category", "brand", "year"]].nunique()
    assert (items == 1).all(axis=None)
    assert (frame.groupby("user_id")["user_attr"].nunique() == 1).all()
    assert (frame["year"] <= frame["timestamp"].str[:4].astype(int)).all()
    assert frame["year"].between(1999, 2018).all()


def test_order_of_the_real_file(frame):
    assert frame["timestamp"].is_monotonic_increasing
    assert frame["timestamp"].iloc[[0, -1]].tolist() == ["1999-06-13", "2018-10-01"]
    for ids in (frame.item_id, frame.user_id):
        assert ids.drop_duplicates().tolist() == list(range(ids.nunique()))


def test_popularity_has_a_long_tail(frame):
    counts = np.sort(frame.item_id.value_counts())[::-1]
    assert counts[: len(counts) // 10].sum() > 0.4 * len(frame)
    users = frame.user_id.value_counts()
    assert 1.05 < users.mean() < 1.2
    assert users.max() <= 41


def test_recbole_makes_buckets_of_the_periods(amazon, frame):
    dataset = create_dataset(config_of(amazon.name, amazon.output))
    dataset._change_feat_format()
    buckets = dataset.inter_feat["timestamp"].numpy()
    days = (pd.to_datetime(frame["timestamp"]) - pd.Timestamp("1999-06-13")).dt.days
    np.testing.assert_array_equal(buckets[:, 0], 1)
    np.testing.assert_array_equal(buckets[:, 1] - 1, days // PERIOD_DAYS)
    assert days.max() // PERIOD_DAYS == N_PERIODS - 1 == buckets[:, 1].max() - 1
