import numpy as np
import pandas as pd
import pytest

from recbole_midpg.generated import advertising_synth
from recbole_midpg.generated.advertising_synth import BASE_RATE, PUBLISHED, _Impressions
from recbole_midpg.generated.generated_set import CHUNK_ROWS


@pytest.fixture(scope="module")
def frame(advertising):
    return pd.read_csv(advertising.raw)


def test_shape(frame):
    share = 20_000 / 108_649_408
    assert frame.user_id.nunique() == round(43_397_838 * share)
    assert frame["ad"].nunique() == round(13_571 * share**0.5)
    assert frame["trade"].nunique() == 10
    assert frame["scenario"].nunique() == 3
    assert frame["label"].mean() == pytest.approx(BASE_RATE, abs=1e-4)
    assert frame["hour"].nunique() == 24
    assert frame["day"].is_monotonic_increasing


def test_ads_belong_to_groups_to_advertisers_to_trades(frame):
    for child, parent in (("ad", "group"), ("group", "advertiser"), ("advertiser", "trade")):
        assert (frame.groupby(child)[parent].nunique() == 1).all()


def test_popularity_has_a_long_tail(frame):
    for name in ("user_id", "ad"):
        counts = np.sort(frame[name].value_counts())[::-1]
        assert counts[: len(counts) // 10].sum() > 0.25 * len(frame)


def test_catalogue_of_the_published_size():
    impressions = _Impressions(np.random.default_rng(0), PUBLISHED["rows"])
    ads = impressions.ads
    assert len(ads.group) == 13_571
    assert len(np.unique(ads.group)) == 6_203
    assert len(np.unique(ads.advertiser)) == 300
    assert len(np.unique(ads.trade)) == 10
    last = impressions.chunk(len(impressions) - 1)
    assert len(last["user"]) == PUBLISHED["rows"] % CHUNK_ROWS
    assert last["user"].max() < PUBLISHED["users"]


def test_every_user_and_ad_has_a_row():
    impressions = _Impressions(np.random.default_rng(0), 200_000)
    chunks = [impressions.chunk(number) for number in range(len(impressions))]
    for name, size in (("user", 79_886), ("ad", 582)):
        values = np.concatenate([chunk[name] for chunk in chunks])
        assert len(values) == 200_000
        assert len(np.unique(values)) == size


def test_chunks_are_the_same_in_any_order():
    made = [
        [chunk.lines[::5_000] for chunk in advertising_synth.make(150_000, 3).chunks]
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(made[0]) == 3
