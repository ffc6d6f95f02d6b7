import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts.repeated_keys import RepeatedKeys, Repeats


def repeats_of(folder, batches, capacity=100):
    with (folder / "rows").open("w+b") as file:
        keys = RepeatedKeys(file, capacity)
        line = 2
        for batch in batches:
            keys.add(
                [key for key, _ in batch],
                [f"{key} {content}" for key, content in batch],
                range(line, line + len(batch)),
            )
            line += len(batch)
        return keys.find()


rows = st.tuples(st.sampled_from(["", "1", "2", "é", "12"]), st.sampled_from("ab"))


@given(st.lists(st.lists(rows, max_size=5), max_size=8), st.integers(1, 12))
def test_repeats_are_those_that_pandas_finds(tmp_path_factory, batches, capacity):
    found = repeats_of(tmp_path_factory.mktemp("keys"), batches, capacity)
    frame = pd.DataFrame([row for batch in batches for row in batch], columns=["key", "content"])
    frame["line"] = range(2, 2 + len(frame))
    repeated = frame.duplicated("key")
    assert found.lines.tolist() == frame["line"][repeated].tolist()
    first_lines = frame.groupby("key")["line"].transform("min")
    assert found.first_lines.tolist() == first_lines[repeated].tolist()
    assert found.copies.tolist() == frame.duplicated(["key", "content"])[repeated].tolist()


def test_within_takes_both_ends(tmp_path):
    found = repeats_of(tmp_path, [[("1", "a")] * 4])
    assert found.lines.tolist() == [3, 4, 5]
    assert found.within(2, 3) == range(1)
    assert found.within(4, 5) == range(1, 3)
    assert found.within(6, 9) == range(3, 3)
    assert Repeats().within(1, 9) == range(0)
