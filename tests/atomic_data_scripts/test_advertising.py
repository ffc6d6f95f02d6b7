import pandas as pd

from recbole_midpg.atomic_data_scripts import prepare

from .raw_files import GOLDEN, GOLDEN_RAW, contents
from .recbole_reading import ALL_FIELDS, column, config_of, load

RAW = GOLDEN_RAW["advertising"]


def test_golden_file(tmp_path):
    prepare("advertising", RAW, tmp_path)
    assert contents(tmp_path / "advertising") == contents(GOLDEN / "advertising")


def test_recbole_and_report_agree_with_pandas(tmp_path, caplog):
    report = prepare("advertising", RAW, tmp_path)
    frame = pd.read_csv(RAW, dtype=str)
    dataset = load(config_of("advertising", tmp_path, **ALL_FIELDS), caplog)
    expected = {name: frame[name].tolist() for name in frame if name != "label"}
    expected["label"] = frame["label"].astype(float).tolist()
    assert {name: column(dataset, name) for name in expected} == expected
    assert report.positives == (frame["label"] == "1").sum()
    assert {name: entry[0] for name, entry in report.scenarios.items()} == dict(
        frame["scenario"].value_counts()
    )
    counted = {"user": "user_id", "item": "ad", **{n: n for n in ("trade", "advertiser", "group")}}
    assert report.entities == {name: frame[field].nunique() for name, field in counted.items()}


def test_config(tmp_path, caplog):
    prepare("advertising", RAW, tmp_path)
    dataset = load(config_of("advertising", tmp_path), caplog)
    assert set(dataset.field2type) == {
        *("user_id", "ad", "scenario", "hour", "label", "trade", "advertiser", "group"),
    }
