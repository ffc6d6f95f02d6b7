import warnings

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts import amazon_electronics, prepare
from recbole_midpg.atomic_data_scripts.amazon_electronics import CATEGORIES, unix_seconds

from .raw_files import GOLDEN, GOLDEN_RAW, amazon_file, amazon_line, contents
from .recbole_reading import ALL_FIELDS, built, column, config_of, load

RAW = GOLDEN_RAW["amazon_electronics"]


@pytest.fixture
def frame():
    """The raw file as pandas reads it, every value as text."""
    return pd.read_csv(RAW, dtype=str, keep_default_na=False, encoding="utf-8-sig")


@pytest.fixture
def output(tmp_path):
    prepare("amazon_electronics", RAW, tmp_path)
    return tmp_path


def test_golden_file(output):
    expected = contents(GOLDEN / "amazon_electronics")
    assert contents(output / "amazon_electronics") == expected


def test_report_agrees_with_pandas(tmp_path, frame):
    report = prepare("amazon_electronics", RAW, tmp_path)
    positive = frame["rating"].astype(float) >= 4
    assert report.rows_out == report.rows_in == len(frame)
    assert report.positives == positive.sum()
    assert report.entities == {"user": frame.user_id.nunique(), "item": frame.item_id.nunique()}
    assert {name: entry[0] for name, entry in report.scenarios.items()} == dict(
        frame["category"].value_counts()
    )
    assert {name: entry[1] for name, entry in report.scenarios.items()} == dict(
        positive.groupby(frame["category"]).sum()
    )
    assert report.counts["brand=unk"] == (frame["brand"] == "").sum()
    assert report.counts["user_attr=unk"] == (frame["user_attr"] == "").sum()
    assert f"rows is {len(frame)}, published are 1,292,954" in report.differences


def test_recbole_reads_what_pandas_reads(output, frame, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        dataset = load(config_of("amazon_electronics", output, **ALL_FIELDS), caplog)
    days = pd.to_datetime(frame["timestamp"]) - pd.Timestamp(0)
    expected = {name: frame[name].tolist() for name in frame}
    expected["timestamp"] = (days / pd.Timedelta(seconds=1)).tolist()
    expected["label"] = (frame["rating"].astype(float) >= 4).astype(float).tolist()
    for name in ("brand", "user_attr"):
        expected[name] = [value or "unk" for value in frame[name]]
    del expected["rating"]  # RecBole turns it into the label
    assert {name: column(dataset, name) for name in expected} == expected
    assert dataset.inter_num == len(frame)
    assert dataset.user_num == frame["user_id"].nunique() + 1
    assert dataset.item_num == frame["item_id"].nunique() + 1
    assert dataset.num("category") == 10 + 1


def test_config_makes_fields_label_and_split(output):
    config = config_of("amazon_electronics", output)
    parts = [loader.dataset for loader in built(config)]
    assert [part.inter_num for part in parts] == [13, 1, 1]
    fields = set(parts[0].field2type)
    assert fields == {
        *("user_id", "item_id", "timestamp", "label", "model_attr", "category"),
        *("brand", "year", "user_attr"),
    }
    assert config["scenario_fields"] == ["category"]
    assert config["scenario_id_field"] in fields


def test_config_suits_attributes_in_inter(tmp_path, caplog):
    lines = [amazon_line(user_id=str(n % 7), year=str(2000 + n), brand="b") for n in range(20)]
    prepare("amazon_electronics", amazon_file(tmp_path, *lines), tmp_path)
    dataset = load(config_of("amazon_electronics", tmp_path), caplog)
    assert column(dataset, "year") == [str(2000 + n) for n in range(20)]
    assert "year" in dataset.inter_feat


def test_paper_names():
    assert len(CATEGORIES) == len(set(CATEGORIES.values())) == 10
    assert amazon_electronics.CONVERTER.published["rows"] == 1_292_954


@given(st.dates(pd.Timestamp(1900, 1, 1).date()))
def test_dates_are_midnights(date):
    assert unix_seconds(date.isoformat()) == str(int(pd.Timestamp(date).timestamp()))


@pytest.mark.parametrize(
    "value", ["", "2018-13-01", "2018-02-29", "2018-2-3", "2018-02-03 ", "٢٠١٨-02-03", "nan"]
)
def test_no_dates(value):
    with pytest.raises(ValueError, match="expected a date"):
        unix_seconds(value)
