from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts.times import clock, unix_milliseconds, unix_seconds


@given(st.integers(10**8, 10**10 - 1), st.integers(-11, 12))
def test_hour_and_day_are_those_of_the_zone(seconds, hours):
    text, hour, day = clock(hours)(str(seconds)).split("\t")
    local = datetime(1970, 1, 1) + timedelta(seconds=seconds, hours=hours)
    assert (text, hour, day) == (str(seconds), str(local.hour), local.date().isoformat())
    assert clock(hours, unix_milliseconds)(f"{seconds}999") == f"{text}\t{hour}\t{day}"


def test_days_of_the_alimama_contest_begin_at_midnight_in_china():
    assert clock(8)("1537200000") == "1537200000\t0\t2018-09-18"
    assert clock(8)("1537803599") == "1537803599\t23\t2018-09-24"


@pytest.mark.parametrize("value", ["", "0", "12345678", "12345678901", "123456789.0", "0123456789"])
def test_what_is_no_moment(value):
    with pytest.raises(ValueError, match="expected Unix seconds"):
        unix_seconds(value)
    with pytest.raises(ValueError, match="expected Unix milliseconds"):
        unix_milliseconds(value)
