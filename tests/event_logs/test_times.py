"""Points in time, as logs write them."""

import numpy as np
import pandas as pd
import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.event_logs.times import (
    ISO,
    PLAUSIBLE_YEARS,
    TimeForm,
    require_time_format,
    unit_of,
)


def texts(*values):
    return np.array(values, dtype=object)


@pytest.mark.parametrize(
    "form",
    [
        *("seconds", "nanoseconds", "iso", "%Y%m%d", "%d.%m.%Y %H:%M", "%d.%m.%y %I:%M %p"),
        *("%Y-%m-%d %H:%M:%S.%f", "%d %b %Y %H:%M %z", "%Y-%j", "%G-W%V-%u", "%Y%m%d%H", "%c"),
    ],
)
def test_patterns_that_tell_the_day(form):
    require_time_format("--time-format", form)


@pytest.mark.parametrize(
    "form, reason",
    [
        ("%H:%M", "it reads '14:45' as 1900-01-01 14:45:00"),
        ("%m-%d", "it reads '11-23' as 1900-11-23 00:00:00"),
        ("%Y %m", "it reads '2019 11' as 2019-11-01 00:00:00"),
        ("%d.%m.%Y %I:%M", "it reads '23.11.2019 02:45' as 2019-11-23 02:45:00"),
        ("%Q", "'Q' is a bad directive"),
        ("%", "it is no pattern"),
        ("%U", "it is no pattern"),
        ("%Y-%m-%d %Y", "it is no pattern"),
        ("nonsense", ""),
        ("", ""),
        ("ISO8601", ""),
        ("mixed", ""),
    ],
)
def test_patterns_that_leave_out_a_part_of_the_day(form, reason):
    with pytest.raises(UsageError) as error:
        require_time_format("--time-format", form)
    sentence = str(error.value)
    assert sentence.startswith(f"--time-format: {form!r} is not allowed")
    assert reason in sentence
    assert sentence.endswith("or a pattern with year, month and day, as '%d.%m.%Y %H:%M'.")


@pytest.mark.parametrize("value", ["20261101", "20261101.0", "20261101.", " 20261101 "])
def test_dates_as_whole_numbers(value):
    seconds = TimeForm("%Y%m%d").seconds(texts(value))
    assert seconds.tolist() == [pd.Timestamp("2026-11-01").timestamp()]
    assert TimeForm("%Y%m%d").seconds(np.array([20261101.0])).tolist() == seconds.tolist()
    assert TimeForm("%Y%m%d").seconds(np.array([20261101])).tolist() == seconds.tolist()
    assert np.isnan(TimeForm("%Y%m%d").seconds(texts("20261101.05", "2026.0", ".0"))).all()


def test_a_unit_is_found_by_numbers_that_lie_in_our_time():
    for unit, factor in {"seconds": 1, "milliseconds": 1e3, "microseconds": 1e6}.items():
        assert unit_of(1_793_515_404 * factor) == unit
    assert unit_of(1_793_515_404e9) == "nanoseconds"
    for number in (0, -1, 2026, 46327.5, 20261101, 202611011200, 20261101120000, 1e18 * 99):
        assert unit_of(number) is None


def test_numbers_beyond_the_years_are_no_times_unless_the_unit_was_named():
    values = texts("1793515404", "0", "20261101", "9999999999")
    found = TimeForm("seconds", years=PLAUSIBLE_YEARS)
    assert np.isnan(found.seconds(values)).tolist() == [False, True, True, True]
    assert found.allowed == "seconds since 1970 from 1980 to 2099"
    assert not np.isnan(TimeForm("seconds").seconds(values)).any()


@pytest.mark.parametrize("zoned", [False, True])
def test_times_that_a_zone_has_not_or_has_twice(zoned):
    texts_of_rows = ["2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-10-25 03:30:00", ""]
    if zoned:
        texts_of_rows = [f"{text}Z" for text in texts_of_rows[:3]]
    form = TimeForm(ISO, "Europe/Berlin")
    index = pd.DatetimeIndex(pd.to_datetime([text or None for text in texts_of_rows]))
    for values in (texts(*texts_of_rows), index):
        absent, twice = form.clock_changes(values)
        assert np.flatnonzero(absent).tolist() == ([] if zoned else [0])
        assert np.flatnonzero(twice).tolist() == ([] if zoned else [1])
        assert not np.any(TimeForm(ISO).clock_changes(values))


def test_clock_changes_of_other_forms():
    pattern = TimeForm("%d.%m.%Y %H:%M", "Europe/Berlin")
    absent, twice = pattern.clock_changes(texts("29.03.2026 02:30", "x", "25.10.2026 02:00"))
    assert absent.tolist() == [True, False, False]
    assert twice.tolist() == [False, False, True]
    zoned = TimeForm("%d.%m.%Y %H:%M %z", "Europe/Berlin")
    assert not np.any(zoned.clock_changes(texts("29.03.2026 02:30 +0000")))
    assert not np.any(TimeForm("seconds", "Europe/Berlin").clock_changes(texts("1793515404")))
