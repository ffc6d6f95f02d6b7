import shutil

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.saved_dataset import create_dataset
from recbole_midpg.loading.atomic_problem import find_problem, find_ragged_line
from tests.support.recbole_data import DATA, gaps_config


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DATA / "gaps", tmp_path / "gaps")
    return tmp_path


def config_of(folder):
    return gaps_config("DNN", data_path=str(folder), dataset_cache=False)


def change(folder, kind, before, after):
    path = folder / "gaps" / f"gaps.{kind}"
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after, 1))
    return path


def test_nothing_is_found_in_good_files(folder):
    assert find_problem(config_of(folder)) is None


@pytest.mark.parametrize(
    ("kind", "before", "after", "problem"),
    [
        ("inter", b"5\t10", b"x\t10", "line 2, column 'rating': 'x' is not a number"),
        ("item", b"1.5 2.5", b"1.5 two", "line 2, column 'sizes': 'two' is not a number"),
        ("inter", b"u1\ti1", b"u\xff\ti1", "line 2: it is not text in utf-8"),
        ("inter", b"u1\ti1\t", b"u1\t", "line 2: it has 4 columns, expected 5"),
        ("inter", b"u3\ti3\t", b"u3\ti3\t7\t", "line 5: it has 6 columns, expected 5"),
        ("inter", b"u3\ti3\t2\t20\tc1", b"  ", "line 5: it has 1 columns, expected 5"),
        ("user", b"u3\t40\t", b"u3\t40", "line 4: it has 2 columns, expected 3"),
        ("user", b"u1", b'"u1', "line 2, column 'user_id': '\"u1' holds a quote"),
    ],
)
def test_the_first_bad_line_is_named(folder, kind, before, after, problem):
    config = config_of(folder)
    path = change(folder, kind, before, after)
    with pytest.raises(UsageError) as caught:
        create_dataset(config)
    assert str(caught.value).startswith(f"{path}, {problem}")


def test_of_lines_with_quotes_pandas_knows_the_values(folder):
    path = change(folder, "inter", b"\tc1", b'\t"c\t1"')
    assert find_ragged_line(config_of(folder), path) is None
    create_dataset(config_of(folder))


def test_a_header_that_lacks_an_id_is_told(folder):
    # RecBole's config is built before the file loses the column.
    config = config_of(folder)
    path = change(folder, "inter", b"user_id:token", b"ser_id:token")
    with pytest.raises(UsageError) as caught:
        create_dataset(config)
    assert str(caught.value) == (
        f"{path}, line 1: there is no column 'user_id' (USER_ID_FIELD), "
        "found ser_id, item_id, rating, price, coupon."
    )


def test_a_byte_order_mark_is_told(folder):
    config = config_of(folder)
    change(folder, "inter", b"user_id", "\ufeffuser_id".encode())
    with pytest.raises(UsageError, match="line 1: it starts with a byte order mark"):
        create_dataset(config)


def test_what_is_not_found_in_the_files_is_told_as_it_is(folder):
    config = config_of(folder)
    config["val_interval"] = {"nowhere": "[0,1]"}
    with pytest.raises(UsageError, match=r"dataset gaps: its files cannot be loaded .*\[nowhere\]"):
        create_dataset(config)
