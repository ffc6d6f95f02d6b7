"""From raw columns to the fields of a dataset."""

import json

import numpy as np
import pandas as pd
import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs.schema import (
    BOOLEAN,
    LOG_SCHEMA,
    WHOLE,
    LogColumn,
    LogForm,
    LogSchema,
    Outcome,
)
from recbole_midpg.event_logs.times import PLAUSIBLE_YEARS, TimeForm
from recbole_midpg.loading.column_encoding import BadValueError

SCHEMA = LogSchema(
    form=LogForm(separator=";"),
    columns=(
        LogColumn("user id", "user_id", spelling=WHOLE),
        LogColumn("city", "city"),
        LogColumn("member", "member", spelling=BOOLEAN),
        LogColumn("price", "price", "float"),
        LogColumn("tags", "tags", "token_seq", separator="|"),
        LogColumn("vector", "vector", "float_seq", separator=" "),
        LogColumn("at", "at", "float", time=TimeForm(zone="Europe/Berlin")),
    ),
    label=Outcome("clicked", "clicked"),
    outcomes=(Outcome("stars", "stars", ("4", "5"), None),),
    given=Outcome("seen", "seen"),
    missing=("-",),
    left_out={"row": "an id of rows"},
)


def field(name, values):
    raw = SCHEMA.raw_names[name]
    return SCHEMA.fields_of({raw: values})[name].tolist()


def test_tokens():
    assert field("city", [" Köln ", "a\tb\nc", '"x"', "NA", "-", "", "[PAD]", "7.0", "007"]) == [
        *("Köln", "a b c", "'x\"", "", "", "", "", "7.0", "007")
    ]
    assert field("user_id", ["7", "7.0", "007", "7.5", "x"]) == ["7", "7", "007", "7.5", "x"]
    assert field("member", ["True", "false", "TRUE", ""]) == ["true", "false", "true", ""]


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 2]),
        np.array([1.0, 2.0]),
        np.array([1, 2], np.float32),
        ["1", "2"],
        ["1.0", "2"],
        pd.Series([1, 2], dtype="Int64"),
        pd.Series(["1", "2"], dtype="category"),
        pd.Series([1, 2], dtype="category"),
        pd.Series(["1", "2"], dtype="string"),
        pd.Series(["1", "2"]),
        (1, 2),
    ],
)
def test_ids_are_the_same_whatever_holds_them(values):
    assert field("user_id", values) == ["1", "2"]


@pytest.mark.parametrize(
    "values",
    [[1.0, None], np.array([1, np.nan]), pd.Series([1, None], dtype="Int64"), ["1.", "NA"]],
)
def test_ids_with_gaps(values):
    assert field("user_id", values) == ["1", ""]


def test_numbers():
    assert field("price", ["1.50", " 2 ", "-1e3", ".5", "NULL", "12345678901234567890"]) == [
        *("1.5", "2", "-1000", "0.5", "", "1.2345678901234567e+19")
    ]
    assert field("price", np.array([0.1, np.nan, 3], np.float32)) == ["0.1", "", "3"]
    for value in ("12,5", "1_000", "inf", "x", "0x1", "1e39"):
        with pytest.raises(BadValueError, match=r"row 2, column 'price': .* expected a number"):
            field("price", ["1", value])


def test_sequences():
    assert field("tags", ["a| b ||c", "", "NA", "-|a"]) == ["a|b|c", "", "", "a"]
    assert field("tags", [["a", None, "b|c"], None, []]) == ["a|b c", "", ""]
    assert field("vector", ["1.0 2.5", ""]) == ["1|2.5", ""]
    with pytest.raises(BadValueError, match=r"row 1, column 'vector': '1 x' .* expected numbers"):
        field("vector", ["1 x"])


def test_times_without_a_zone_are_in_the_schemas():
    seconds = pd.Timestamp("2026-11-20 09:00:00.25", tz="UTC").timestamp()
    texts = [
        "2026-11-20 10:00:00.25",
        "2026-11-20T10:00:00.250",
        "2026-11-20T09:00:00.25Z",
        "2026-11-20 04:00:00.25-05:00",
        "2026-11-20 09:00:00.25 UTC",
    ]
    assert field("at", texts) == [str(seconds)] * len(texts)
    frames = [
        pd.Series(pd.to_datetime(["2026-11-20 10:00:00.25"])),
        pd.Series(pd.to_datetime(["2026-11-20 09:00:00.25Z"])),
        pd.to_datetime(["2026-11-20 10:00:00.25"]).to_numpy(),
        pd.to_datetime(["2026-11-20 10:00:00.25"]).to_list(),
    ]
    assert [field("at", column) for column in frames] == [[str(seconds)]] * len(frames)
    assert field("at", ["2026-11-20", ""]) == ["1795129200", ""]
    assert field("at", pd.Series(pd.to_datetime(["2026-11-20", None]))) == ["1795129200", ""]
    for value in ("20261120", "1795129200", "2026-13-01", "yesterday"):
        with pytest.raises(BadValueError, match="expected a time as 2026-11-20 13:45:00"):
            field("at", [value])


@pytest.mark.parametrize(
    "form, value, seconds",
    [
        ("seconds", "1795129200.5", "1795129200.5"),
        ("milliseconds", "1795129200500", "1795129200.5"),
        ("microseconds", 1795129200500000, "1795129200.5"),
        ("%d.%m.%Y %H:%M", "20.11.2026 01:00", "1795136400"),
        ("%d.%m.%Y %H:%M %z", "20.11.2026 01:00 +0100", "1795132800"),
    ],
)
def test_other_forms_of_times(form, value, seconds):
    column = LogColumn("at", "at", "float", time=TimeForm(form))
    schema = LogSchema(LogForm(), (column,), Outcome("clicked", "clicked"))
    assert schema.fields_of({"at": [value]})["at"].tolist() == [seconds]
    with pytest.raises(BadValueError, match=f"row 1, column 'at'.*{column.time.allowed}"):
        schema.fields_of({"at": ["2026-11-20 10:00:00"]})
    if form in ("seconds", "milliseconds", "microseconds"):  # of another unit
        with pytest.raises(BadValueError):
            schema.fields_of({"at": [str(1795129200 * 1000 ** (form == "seconds"))]})


def test_outcomes():
    assert field("clicked", ["1", "0", "1.0", "True", "false", ""]) == ["1", "0", "1", "1", "0", ""]
    assert field("clicked", np.array([True, False])) == ["1", "0"]
    assert field("stars", ["5", "4.0", "3", "none at all", ""]) == ["1", "1", "0", "0", ""]
    with pytest.raises(BadValueError, match="'2' is not allowed, expected 1 or true for 1, 0 or"):
        field("clicked", ["2"])
    given, bad = SCHEMA.is_given({"seen": ["1", "0", "", "x"]})
    assert given.tolist() == [True, False, False, False]
    assert [value.row for value in bad] == [3]


def test_a_schema_is_the_same_after_json():
    plain = json.loads(json.dumps(SCHEMA.to_plain()))
    assert LogSchema.from_plain(plain) == SCHEMA
    assert LOG_SCHEMA.accepts(plain)
    for wrong in (1, "x", {}, {**plain, "format": "2"}, {**plain, "columns": [1]}, {"a": {}}):
        assert not LOG_SCHEMA.accepts(wrong)


def test_the_years_of_times_are_the_same_after_json():
    column = LogColumn("at", "at", "float", time=TimeForm("seconds", years=PLAUSIBLE_YEARS))
    schema = LogSchema(LogForm(), (column,), Outcome("clicked", "clicked"))
    plain = json.loads(json.dumps(schema.to_plain()))
    assert LogSchema.from_plain(plain) == schema
    for wrong in ([], [1980], [1980, "x"], 1980):
        plain["columns"][0]["time"]["years"] = wrong
        with pytest.raises(UsageError, match="log_schema: it is no schema of a log"):
            LogSchema.from_plain(plain)
    # as schemas were written before
    del plain["columns"][0]["time"]["years"]
    assert LogSchema.from_plain(plain).columns[0].time == TimeForm("seconds")


def test_only_wanted_fields_are_made():
    rows = {"city": ["a"], "price": ["x"]}
    assert list(SCHEMA.fields_of(rows, wanted={"city"})) == ["city"]
    fields, (bad,) = SCHEMA.read(rows)
    assert fields["price"].tolist() == [""]
    assert bad.problem == "column 'price': 'x' is not allowed, expected a number below 3.4e38."


def test_a_missing_column_is_named():
    SCHEMA.require_columns("day.csv", ["city", "price"], {"city", "joined_from_the_user"})
    with pytest.raises(UsageError, match=r"day.csv: column 'city' is missing.*is it 'City'\?"):
        SCHEMA.require_columns("day.csv", ["City", "price"], {"city"})
