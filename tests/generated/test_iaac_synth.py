import numpy as np
import pandas as pd
import pytest

from recbole_midpg.generated import read_truth
from recbole_midpg.generated.iaac_synth import _numbered_ids

SHARE = 20_000 / 478_138


@pytest.fixture(scope="module")
def frame(iaac):
    return pd.read_csv(iaac.raw, sep=" ", dtype=str, keep_default_na=False)


def test_shape(frame, iaac):
    assert frame.shape == (20_000, 27)
    assert frame.user_id.nunique() == round(197_694 * SHARE)
    assert frame.item_id.nunique() == round(10_075 * SHARE**0.5)
    assert frame.shop_id.nunique() == round(3_959 * SHARE**0.5)
    assert frame.is_trade.astype(int).sum() == round(9_021 * SHARE)
    counts = {"0": 360_817, "1": 94_070, "2": 10_349, "-1": 12_902}
    rows = frame.user_gender_id.value_counts()
    for gender, published in counts.items():
        assert rows[gender] == pytest.approx(published * SHARE, abs=1)
    assert iaac.report.counts["user_age_level=-1"] == round(964 * SHARE)
    assert iaac.report.counts["day=2018-09-24"] == pytest.approx(57_421 * SHARE, abs=1)


def test_levels_and_missing_values(frame):
    missing = (frame == "-1").any()
    assert set(missing[missing].index) >= {"item_brand_id", "item_city_id", "item_sales_level"}
    ageless = frame["user_age_level"] == "-1"
    for name in ("user_occupation_id", "user_star_level"):
        assert ((frame[name] == "-1") == ageless).all()
    scoreless = frame["shop_score_service"] == "-1"
    assert ((frame["shop_score_delivery"] == "-1") == scoreless).all()
    assert set(frame.context_page_id) == {str(page) for page in range(4001, 4021)}
    assert frame.item_category_list.str.startswith("7908382889764677758;").all()
    assert frame.item_category_list.str.endswith(";8868887661186419229").any()
    assert frame.item_category_list.str.split(";").str[1].nunique() == 13


def test_attributes_belong_to_users_items_and_shops(frame):
    for entity in ("user", "item", "shop"):
        names = [name for name in frame if name.startswith(f"{entity}_")]
        assert (frame.groupby(f"{entity}_id")[names].nunique() == 1).all(axis=None)


def test_copies_and_repeated_keys(iaac, frame):
    assert iaac.report.copies == frame.duplicated().sum() == round(27 * SHARE)
    assert iaac.report.repeats == round(24 * SHARE)
    copies = frame[frame.duplicated(keep=False)]
    assert (copies.is_trade == "0").all()
    truth = read_truth(iaac.folder)
    first, second = copies.index[:2]
    assert truth["probability"][first] == truth["probability"][second]


def test_ids_differ():
    ids = _numbered_ids("user", np.arange(200_000))
    assert len(np.unique(ids)) == 200_000
    assert max(map(len, ids)) <= 19
    assert set(ids.tolist()).isdisjoint(_numbered_ids("item", np.arange(1_000)).tolist())
