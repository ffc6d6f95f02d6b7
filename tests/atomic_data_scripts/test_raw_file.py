import csv
import gzip
import io
import zipfile
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts import raw_file
from recbole_midpg.atomic_data_scripts.raw_file import (
    LONGEST_LINE,
    BadValueError,
    Delimited,
    LineSplitter,
    RawFile,
)
from recbole_midpg.common.errors import UsageError

NAMES = ("a", "b", "c")
CSV = LineSplitter(NAMES, Delimited(",", quoted=True))
SPACES = LineSplitter(NAMES, Delimited(" "))
COMMA_PAIRS = LineSplitter(NAMES, Delimited(",,", quoted=True, header=False, encoding="latin-1"))

# Texts in which everything that can go wrong is likely.
risky_bytes = st.lists(
    st.sampled_from(
        [
            *(b",", b" ", b'"', b'""', b"\t", b"\r", b"\r\n", b"\n", b"\0", b"x", b"\xe9"),
            *(b"1,2,3", b"1 2 3", b'"a,b",c,d', b"\x0b", b"\x85", "é".encode(), "\u2028".encode()),
        ]
    ),
    max_size=12,
).map(b"".join)


def lines_of(data: bytes, tmp_path, size=7):
    path = tmp_path / "raw"
    path.write_bytes(data)
    raw_file_block, raw_file.BLOCK_BYTES = raw_file.BLOCK_BYTES, size
    try:
        blocks = list(RawFile(path, "raw").blocks())
    finally:
        raw_file.BLOCK_BYTES = raw_file_block
    for block, following in pairwise(blocks):
        assert following.first_line == block.first_line + block.data.count(b"\n") + 1
        assert block.ended
    return [line for block in blocks for line in block.data.split(b"\n")], blocks[-1].ended


@given(risky_bytes, st.integers(3, 40))
def test_blocks_hold_every_line_once(tmp_path_factory, data, size):
    if not data:
        return
    lines, ended = lines_of(data, tmp_path_factory.mktemp("raw"), size)
    assert b"\n".join(lines) + (b"\n" if ended else b"") == data


def test_byte_order_mark_is_dropped(tmp_path):
    assert lines_of(b"\xef\xbb\xbfa,b\n\xef\xbb\xbf\n", tmp_path) == (
        [b"a,b", b"\xef\xbb\xbf"],
        True,
    )


def test_a_line_without_end_is_cut_and_still_too_long(tmp_path):
    data = b"a\n" + b"x" * (5 * LONGEST_LINE) + b"\nb\n"
    lines, _ = lines_of(data, tmp_path, size=50_000)
    assert lines[0] == b"a"
    assert LONGEST_LINE < len(lines[1]) < 3 * LONGEST_LINE
    assert lines[2] == b"b"
    with pytest.raises(BadValueError, match="longer than 131,072 bytes"):
        CSV.line(lines[1])
    with pytest.raises(ValueError, match="too long"):
        CSV.block(b"1,2,3\n" + lines[1])


def line_by_line(splitter, data):
    try:
        rows = [splitter.line(line) for line in data.split(b"\n")]
    except BadValueError:
        return None
    return [line for line, _ in rows], [tuple(values) for _, values in rows]


def block(splitter, data):
    try:
        lines, columns = splitter.block(data)
    except ValueError:
        return None
    return lines, list(zip(*columns, strict=True))


@pytest.mark.parametrize("splitter", [CSV, SPACES, COMMA_PAIRS])
@given(data=risky_bytes)
def test_many_lines_at_once_are_split_as_one_by_one(splitter, data):
    assert block(splitter, data) == line_by_line(splitter, data)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"])),
        min_size=3,
        max_size=3,
    ),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_csv_writer_writes_is_read_back(values, quoting):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=quoting).writerow(values)
    line = file.getvalue().removesuffix("\n").encode()  # the carriage return stays
    assert CSV.line(line)[1] == values
    lines, columns = CSV.block(line)
    assert [column[0] for column in columns] == values
    assert lines == [line.decode().removesuffix("\r")]


@given(risky_bytes.filter(lambda data: b"\n" not in data))
def test_an_accepted_csv_line_means_what_python_reads(data):
    try:
        line, values = CSV.line(data)
    except BadValueError:
        return
    assert next(csv.reader([line], strict=True)) == values


@pytest.mark.parametrize(
    ("data", "column", "reason"),
    [
        (b"1,2", None, "expected 3 columns, found 2"),
        (b"1,2,3,4", None, "expected 3 columns, found 4"),
        (b"", None, "the line is empty"),
        (b"1;2;3", None, "expected 3 columns, found 1"),
        (b"1,x\ty,3", "b", "cannot hold a tab"),
        (b"1,2,x\ry", "c", "cannot hold a carriage return"),
        (b"\0,2,3", "a", "cannot hold a zero byte"),
        (b"1,Caf\xe9,3", "b", "byte 0xe9 is not UTF-8"),
        (b'1,5" disk,3', "b", "must stand in quotes"),
        (b'1,"x"y,3', "b", "must end with its quote"),
        (b'1,2,"x', "c", "does not end on its line"),
    ],
)
def test_what_is_wrong_with_a_line(data, column, reason):
    with pytest.raises(BadValueError, match=reason) as caught:
        CSV.line(data)
    assert caught.value.column == column
    with pytest.raises(ValueError):
        CSV.block(b"1,2,3\n" + data)


def test_the_last_line_may_be_cut_off():
    with pytest.raises(BadValueError, match="the file ends in the middle of this line"):
        CSV.line(b"1,2", ended=False)
    assert CSV.line(b"1,2,3", ended=False)[1] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a,b", "lacks column c"),
        ("a,b,c,d", "has the extra column 'd'"),
        (",a,b,c", "has the extra column ''"),
        ("a,b,x", "lacks column c and has the extra column 'x'"),
        ("b,a,c", "another order or twice"),
        ("a,b,c,c", "another order or twice"),
        ("a\tb\tc", "are separated by tabs, expected commas"),
        ("a b c", "are separated by spaces, expected commas"),
        ("a;b;c", "are separated by semicolons, expected commas"),
        ("", "lacks column a, b, c and has the extra column ''"),
    ],
)
def test_header_must_be_exact(tmp_path, header, message):
    with pytest.raises(UsageError, match=f"raw.csv, line 1: .*{message}"):
        CSV.check_header(tmp_path / "raw.csv", header.encode())


@pytest.mark.parametrize("header", [b"a,b,c", b"a,b,c\r", b'"a","b","c"'])
def test_good_headers(tmp_path, header):
    CSV.check_header(tmp_path, header)


def test_separators_of_two_characters_and_another_encoding():
    line = 'a,b,,"c,,d",,é'
    assert COMMA_PAIRS.line(line.encode("latin-1"))[1] == ["a,b", "c,,d", "é"]
    assert COMMA_PAIRS.block(f"{line}\n{line}".encode("latin-1"))[1][2] == ("é", "é")


def test_names_with_types():
    typed = LineSplitter(NAMES, Delimited("\t", typed=True))
    assert typed.is_header(b"a:token\tb:float\tc\r")
    assert not typed.is_header(b"a:token\tb:float\td:token")
    assert typed.header_line() == "a\tb\tc\n"
    assert not COMMA_PAIRS.is_header(b"a,,b,,c")


def test_header_in_another_encoding(tmp_path):
    with pytest.raises(UsageError, match="header is not UTF-8"):
        CSV.check_header(tmp_path, "a,b,c".encode("utf-16"))


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return path


def read(path, member="data.csv"):
    shares = []
    data = b"\n".join(block.data for block in RawFile(path, member).blocks(shares.append))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return data


def test_compression_is_told_by_content(tmp_path):
    (tmp_path / "plain.gz").write_bytes(b"a,b\n")
    (tmp_path / "packed.csv").write_bytes(gzip.compress(b"a,b\n"))
    zipped(tmp_path / "archive.csv", only="a,b\n")
    for name in ("plain.gz", "packed.csv", "archive.csv"):
        assert read(tmp_path / name) == b"a,b"


def test_zip_member_is_the_only_one_or_the_named_one(tmp_path):
    path = zipped(tmp_path / "z.zip", readme="x\n", folder__data_dot_csv="a,b\n")
    assert read(path) == b"a,b"
    with pytest.raises(UsageError, match=r"holds readme, folder/data.csv, expected exactly one"):
        read(path, "other.csv")


@pytest.mark.parametrize("name", ["../data.csv", "/data.csv", "a/../../data.csv", "..\\data.csv"])
def test_zip_member_that_leaves_the_folder_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(name, "a,b\n")
    with pytest.raises(UsageError, match="leaves the folder, refused"):
        read(tmp_path / "z.zip")


def test_of_many_members_some_are_named(tmp_path):
    path = zipped(tmp_path / "z.zip", **{f"m{number}": "x" for number in range(6)})
    with pytest.raises(UsageError, match="holds m0, m1, m2, m3, m4, m5, expected"):
        read(path)
    path = zipped(tmp_path / "z.zip", **{f"m{number}": "x" for number in range(1_234)})
    with pytest.raises(UsageError, match="holds m0, m1, m2, m3, m4 and 1,229 others, expected"):
        read(path)


def test_empty_or_no_member(tmp_path):
    with pytest.raises(UsageError, match="member data is empty"):
        read(zipped(tmp_path / "z.zip", data=""))
    zipfile.ZipFile(tmp_path / "none.zip", "w").close()
    with pytest.raises(UsageError, match="holds no file, expected exactly one"):
        read(tmp_path / "none.zip")


def test_cut_off_or_damaged_archives(tmp_path):
    text = "".join(f"{number},{number * 7919 % 10007}\n" for number in range(20_000))
    packed = gzip.compress(text.encode())
    archive = zipped(tmp_path / "z.zip", data=text).read_bytes()
    middle = len(archive) // 2
    flipped = archive[:middle] + bytes([archive[middle] ^ 255]) + archive[middle + 1 :]
    for number, data in enumerate((packed[:-20], packed[:100], archive[:-40], flipped)):
        path = tmp_path / f"cut{number}"
        path.write_bytes(data)
        with pytest.raises(UsageError, match=f"{path}: the compressed file is cut off or damaged"):
            read(path)


def test_no_such_file(tmp_path):
    with pytest.raises(UsageError, match=r"is a folder, expected the raw file, as .*data.csv"):
        RawFile(tmp_path, "data.csv")
    with pytest.raises(UsageError, match="there is no such file"):
        RawFile(tmp_path / "no", "data.csv")
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match="the file is empty"):
        RawFile(tmp_path / "empty", "data.csv")
    with pytest.raises(UsageError, match="not a regular file"):
        RawFile(tmp_path / "/dev/null", "data.csv")
