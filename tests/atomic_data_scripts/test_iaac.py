from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts import convert, iaac, prepare
from recbole_midpg.atomic_data_scripts.iaac import category_path, number_list, predicted, rate
from recbole_midpg.common.errors import UsageError

from .raw_files import GOLDEN, GOLDEN_RAW, contents
from .recbole_reading import ALL_FIELDS, built, column, config_of, load

RAW = GOLDEN_RAW["iaac"]
RATES = [
    *("shop_review_positive_rate", "shop_score_service"),
    *("shop_score_delivery", "shop_score_description"),
]
LISTS = ["item_category_list", "item_property_list", "predict_category_property"]


@pytest.fixture
def frame():
    """The raw file as pandas reads it, every value as text."""
    return pd.read_csv(RAW, sep=" ", dtype=str, keep_default_na=False)


@pytest.mark.parametrize("name", ["iaac", "iaac_time"])
def test_golden_files(tmp_path, name):
    prepare(name, RAW, tmp_path)
    assert contents(tmp_path / name) == contents(GOLDEN / name)


def test_report_agrees_with_pandas(tmp_path, frame):
    report = prepare("iaac", RAW, tmp_path)
    bought = frame["is_trade"] == "1"
    assert report.rows_out == report.rows_in == len(frame)
    assert report.positives == bought.sum()
    assert report.entities == {
        name: frame[f"{name}_id"].nunique() for name in ("user", "item", "shop")
    }
    assert report.copies == frame.duplicated().sum()
    assert report.copies + report.repeats == frame.duplicated("instance_id").sum()
    for field in ("user_gender_id", "user_age_level", "user_star_level", "context_page_id"):
        tally = report.tallies[field]
        assert {value: entry[0] for value, entry in tally.items()} == dict(
            frame[field].value_counts()
        )
        assert {value: entry[1] for value, entry in tally.items()} == dict(
            bought.groupby(frame[field]).sum()
        )


def days_and_hours(frame):
    moments = pd.to_datetime(frame["context_timestamp"].astype("int64"), unit="s")
    local = moments.dt.tz_localize("UTC").dt.tz_convert("Asia/Shanghai")
    return local.dt.strftime("%Y-%m-%d").tolist(), local.dt.hour.astype(str).tolist()


def test_recbole_reads_what_pandas_reads(tmp_path, frame, caplog):
    prepare("iaac", RAW, tmp_path)
    dataset = load(config_of("iaac", tmp_path, **ALL_FIELDS), caplog)
    expected = {
        name: frame[name].tolist()
        for name in frame
        if name not in (*RATES, *LISTS, "is_trade", "context_timestamp")
    }
    expected |= {name: frame[name].str.split(";").tolist() for name in LISTS}
    paths = frame["item_category_list"].str.split(";")
    expected["item_category"] = [path[1] if len(path) > 1 else "-1" for path in paths]
    expected["item_category_leaf"] = [path[-1] for path in paths]
    expected["day"], expected["hour"] = days_and_hours(frame)
    expected["context_timestamp"] = frame["context_timestamp"].astype(float).tolist()
    expected["label"] = frame["is_trade"].astype(float).tolist()
    assert {name: column(dataset, name) for name in expected} == expected

    for name in RATES:
        numbers = frame.set_index("item_id")[name].astype(float).replace(-1.0, np.nan)
        of_items = numbers[~numbers.index.duplicated()]
        filled = numbers.fillna(of_items.mean())
        assert column(dataset, name) == pytest.approx(filled.tolist())
        assert [value == "-1" for value in column(dataset, f"{name}_bucket")] == list(
            numbers.isna()
        )
    assert dataset.inter_num == len(frame)
    assert dataset.num("user_gender_id") == 4 + 1


def test_config_of_a_random_split(tmp_path):
    prepare("iaac", RAW, tmp_path)
    config = config_of("iaac", tmp_path)
    parts = [loader.dataset for loader in built(config)]
    assert sum(part.inter_num for part in parts) == 11
    fields = set(parts[0].field2type)
    assert {"instance_id", "context_id", "day", *RATES}.isdisjoint(fields)
    assert {"hour", "predict_property", "shop_score_service_bucket", "label"} <= fields
    assert config["scenario_id_field"] == "user_gender_id"


def test_last_day_is_the_test_set(tmp_path, frame, caplog):
    prepare("iaac_time", RAW, tmp_path)
    config = config_of("iaac_time", tmp_path)
    load(config, caplog)
    days, _ = days_and_hours(frame)
    parts = [loader.dataset for loader in built(config)]
    expected = {0: days[:0], 1: ["2018-09-23"], 2: ["2018-09-24"]}
    expected[0] = [day for day in days if day < "2018-09-23"]
    for place, part in enumerate(parts):
        wanted = expected[place] if place == 0 else [d for d in days if d in expected[place]]
        assert part.inter_num == len(wanted)
    test_items = column(parts[2], "item_id")
    assert test_items == frame["item_id"][[day == "2018-09-24" for day in days]].tolist()


def test_profiles_are_scenarios(tmp_path, frame, caplog):
    report = prepare("iaac_profile", RAW, tmp_path)
    config = config_of("iaac_profile", tmp_path)
    dataset = load(config, caplog)
    parts = ("user_gender_id", "user_age_level", "user_star_level")
    profiles = ["_".join(values) for values in zip(*(frame[name] for name in parts), strict=True)]
    assert column(dataset, "user_profile") == profiles
    assert {name: rows for name, (rows, _) in report.scenarios.items()} == {
        name: profiles.count(name) for name in profiles
    }
    assert config["scenario_id_field"] == "user_profile"
    assert "instance_id" not in dataset.field2type


def test_three_days_are_needed(tmp_path):
    raw = tmp_path / "raw"
    raw.write_text("\n".join(RAW.read_text().split("\n")[:4]) + "\n")
    with pytest.raises(UsageError, match="has rows of 2 values of day, expected three or more"):
        prepare("iaac_time", raw, tmp_path)


def test_scenario_may_be_another_field(tmp_path):
    converter = replace(iaac.CONVERTER, scenario="context_page_id")
    assert set(convert(converter, RAW, tmp_path).scenarios) == {"4001", "4002", "4003", "4020"}


numbers = st.integers(0, 10**19).map(str)


@given(st.lists(numbers, min_size=1))
def test_lists_become_sequences(values):
    assert number_list(";".join(values)).split(" ") == values
    path, second, leaf = category_path(";".join(values)).split("\t")
    assert (path.split(" "), leaf) == (values, values[-1])
    assert second == (values[1] if len(values) > 1 else "-1")


def test_missing_lists():
    assert number_list("-1") == "-1"
    assert category_path("-1") == "-1\t-1\t-1"
    assert predicted("-1") == "-1\t-1\t-1"


@given(
    st.lists(
        st.tuples(numbers, st.none() | st.just(["-1"]) | st.lists(numbers, min_size=1)),
        min_size=1,
    )
)
def test_predicted_categories_and_properties(pairs):
    elements = [
        category if names is None else f"{category}:{','.join(names)}" for category, names in pairs
    ]
    whole, categories, properties = predicted(";".join(elements)).split("\t")
    assert whole.split(" ") == elements
    assert categories.split(" ") == [category for category, _ in pairs]
    flat = [name for _, names in pairs for name in names or [] if name != "-1"]
    assert properties.split(" ") == (flat or ["-1"])


@given(st.text("019:;,- ", max_size=8))
def test_what_is_no_list_is_refused(value):
    """What is accepted can be written back; nothing else is."""
    try:
        whole, _, _ = predicted(value).split("\t")
    except ValueError:
        return
    assert whole.replace(" ", ";") == value


@given(st.floats(0, 1))
def test_rates_and_their_buckets(number):
    text, bucket = rate(str(number)).split("\t")
    assert text == str(number)
    assert int(bucket) / 200 <= number + 1e-9
    assert number < (int(bucket) + 1) / 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", "1\t200"), ("0.985", "0.985\t197"), ("0", "0\t0"), ("-1", "\t-1"), ("-1.0", "\t-1")],
)
def test_rates(value, expected):
    assert rate(value) == expected


@pytest.mark.parametrize("value", ["", "nan", "1.001", "-0.1", ".5", "inf", "0,5", "1e2", "١"])
def test_no_rates(value):
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        rate(value)
