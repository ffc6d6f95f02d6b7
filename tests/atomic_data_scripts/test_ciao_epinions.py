import struct

import numpy as np
import pytest
from scipy.io import savemat

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.atomic_data_scripts.matlab_file import matrix_as_text
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load

ROWS = [[1, 10, 3, 5, 2], [2, 10, 4, 0, 1], [1, 11, 4, 3, 3], [1, 10, 3, 5, 2], [1, 10, 4, 4, 1]]
KEPT = [("1", "10", "3", "5"), ("1", "11", "4", "3"), ("1", "10", "3", "5"), ("1", "10", "4", "4")]


def mat(path, rows, dtype="int32", compress=True, **more):
    savemat(path, {"rating": np.array(rows, dtype), **more}, do_compression=compress)
    return path


def values_of(path):
    return [tuple(row.values()) for row in atomic_rows(path)]


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dtype", ["int32", "float64", "uint8", "int16"])
def test_the_matrix_of_the_authors(tmp_path, dtype, compress):
    raw = mat(tmp_path / "rating.mat", ROWS, dtype, compress)
    report = prepare("ciao", raw, tmp_path)
    assert values_of(tmp_path / "ciao" / "ciao.inter") == KEPT
    header = (tmp_path / "ciao" / "ciao.inter").read_text().splitlines()[0]
    assert header == "user_id:token\titem_id:token\tcategory:token\trating:float"
    assert report.scenarios == {"3": [2, 2], "4": [2, 1]}
    assert report.entities == {"user": 1, "item": 2}
    assert (report.copies, report.repeats) == (1, 1)
    assert report.left_out == {"without a rating": 1}
    dropped = prepare("ciao", raw, tmp_path, duplicates="drop-repeats")
    assert values_of(tmp_path / "ciao" / "ciao.inter") == KEPT[:2]
    assert dropped.rows_in == dropped.rows_out + 2 + 1


def test_moments_where_the_matrix_has_them(tmp_path):
    rows = [[*row, 1_300_000_000 + place] for place, row in enumerate(ROWS)]
    raw = mat(tmp_path / "rating_with_timestamp.mat", rows)
    prepare("epinions", raw, tmp_path)
    made = atomic_rows(tmp_path / "epinions" / "epinions.inter")
    assert [row["timestamp"] for row in made] == [f"130000000{place}" for place in (0, 2, 3, 4)]


@pytest.mark.parametrize("name", ["ciao", "epinions"])
def test_the_same_as_text(tmp_path, name):
    width = {"ciao": 5, "epinions": 4}[name]
    names = ["user", "item", "cat", "rating", "help"][:width]
    lines = [",".join(names), *(",".join(map(str, row[:width])) for row in ROWS)]
    (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    prepare(name, tmp_path / f"{name}.csv", tmp_path)
    assert values_of(tmp_path / name / f"{name}.inter") == KEPT


@pytest.mark.parametrize("name", ["ciao", "epinions"])
def test_config(tmp_path, caplog, name):
    rows = [[1 + n % 7, n, 1 + n % 3, 1 + n % 5, 1] for n in range(20)]
    prepare(name, mat(tmp_path / "rating.mat", rows), tmp_path)
    config = config_of(name, tmp_path)
    dataset = load(config, caplog)
    assert set(dataset.field2type) == {"user_id", "item_id", "category", "label"}
    assert config["scenario_id_field"] == "category"
    assert column(dataset, "label") == [float(n % 5 >= 3) for n in range(20)]
    assert [part.dataset.inter_num for part in built(config)] == [16, 2, 2]


def test_files_that_are_no_matrix(tmp_path):
    raw = tmp_path / "rating.mat"

    def told(words):
        with pytest.raises(UsageError, match=f"{raw}.*{words}"):
            prepare("ciao", raw, tmp_path)
        assert not (tmp_path / "ciao").exists()

    mat(raw, ROWS, other=np.eye(2))
    told("holds 2 matrices of numbers, expected one")
    mat(raw, [[0.5, 1, 1, 1, 1]], "float64")
    told("numbers that are not whole")
    mat(raw, [row[:4] for row in ROWS])
    told("line 1: expected 5 columns, found 4")
    mat(raw, [[1, 1, 1, 6, 1]])
    told("line 1, column rating: '6' is not allowed, expected one of 0, 1")
    whole = mat(raw, ROWS, compress=False).read_bytes()
    raw.write_bytes(whole[:-24])
    told("is cut off")
    raw.write_bytes(b"MATLAB 7.3" + whole[10:126] + b"??")
    told("is no MATLAB file of level 5")
    packed = mat(raw, ROWS).read_bytes()
    raw.write_bytes(packed[:150] + bytes(20) + packed[170:])
    told("damaged")


def test_a_matrix_of_another_byte_order():
    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    numbers = np.array([[1, -2], [3, 4], [5, 6]], ">i4")
    content = (
        element(6, struct.pack(">II", 12, 0))
        + element(5, struct.pack(">ii", 3, 2))
        + struct.pack(">HH4s", 1, 1, b"x")
        + element(5, numbers.tobytes(order="F"))
    )
    file = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + element(14, content)
    assert matrix_as_text(file) == b"1,-2\n3,4\n5,6\n"
