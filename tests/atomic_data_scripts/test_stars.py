import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts.stars import is_liked, rating


@given(st.floats(-10, 10).map(str) | st.sampled_from(["1", "5.0", "5.00", "4.", "nan", "", "6"]))
def test_ratings(value):
    try:
        kept = rating(value)
    except ValueError:
        kept = None
    good = value in {"1", "5.0", "5.00", *(f"{stars}.0" for stars in range(1, 6))}
    assert kept == (value if good else None)


@pytest.mark.parametrize(("text", "liked"), [("3", False), ("4", True), ("3.0", False)])
def test_four_stars_are_liked(text, liked):
    assert is_liked(text) is liked
