"""Bytes in words."""

from recbole_midpg.common.units import in_units


def test_bytes_in_words():
    assert [in_units(count) for count in (0, 999, 1000, 21_500_000, 1_800_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "22 MB",
        "1.8 GB",
    ]
