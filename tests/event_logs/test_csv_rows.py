"""Where values begin and end, against Python's own reader."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.event_logs.csv_rows import split_rows

VALUES = st.text(st.sampled_from('ab ,"\nÄ\t'), max_size=5)


def rows_of(cells):
    data = bytes(cells.buffer)
    texts = [
        [data[start:end].decode() for start, end in zip(starts, ends, strict=True)]
        for starts, ends in zip(cells.starts.tolist(), cells.ends.tolist(), strict=True)
    ]
    return (
        [[text.replace('""', '"') for text in row] for row in texts] if cells.has_quotes else texts
    )


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=6), st.booleans())
def test_rows_are_those_of_the_csv_reader(rows, all_quoted):
    rows = [row for row in rows if any(row)]  # a row of nothing is written as an empty line
    file = io.StringIO()
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(file, lineterminator="\n", quoting=quoting).writerows(rows)
    cells = split_rows(file.getvalue().encode(), 2, ",", 3, quoted=True)
    assert rows_of(cells) == [list(row) for row in rows]
    assert cells.bad == []
    ends = [0]
    for row in rows:
        ends.append(ends[-1] + 1 + sum(value.count("\n") for value in row))
    assert cells.lines.tolist() == [2 + end for end in ends[:-1]]


@given(st.binary(max_size=60).map(lambda data: data.replace(b"x", b'",\n') + b"\n"))
def test_whatever_stands_there_a_line_is_a_row_or_bad_or_empty(data):
    cells = split_rows(data, 2, ",", 2, quoted=True)
    assert cells.starts.shape == cells.ends.shape == (len(cells.lines), 2)
    assert (cells.ends >= cells.starts).all()
    numbers = [*cells.lines.tolist(), *(bad.line for bad in cells.bad)]
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) <= set(range(2, 2 + data.count(b"\n")))


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"a,b", "2 values, expected 3"),
        (b"a,b,c,d", "4 values, expected 3"),
        (b'a,5" screen,c', "a value with a quote must stand in quotes"),
        (b'a,"b"x,c', "a value with a quote must stand in quotes"),
        (b'a,"b,c', "a value with a quote must stand in quotes"),
        (b"a,\xe9,c", "byte 0xe9 is not UTF-8 text"),
        (b"a,\0,c", "it holds a zero byte"),
        (b"a,b," + b"c" * 140_000, "the line is longer than 131,072 bytes"),
    ],
)
def test_a_bad_line_between_good_ones(line, reason):
    data = b'1,2,"3\n3"\n' + line + b"\n\n4,5,6\n"
    cells = split_rows(data, 2, ",", 3, quoted=True)
    assert rows_of(cells) == [["1", "2", "3\n3"], ["4", "5", "6"]]
    assert cells.lines.tolist() == [2, 6]
    (bad,) = cells.bad
    assert bad.line == 4
    assert bad.problem.startswith(reason)


def test_quotes_are_parts_of_values_where_values_are_not_quoted():
    cells = split_rows(b'5",6",7\n"8",9,10\n', 2, ",", 3, quoted=False)
    assert rows_of(cells) == [['5"', '6"', "7"], ['"8"', "9", "10"]]


def test_carriage_returns_at_line_ends_are_no_part_of_values():
    cells = split_rows(b'a,b\r\n"c",d\r\n', 2, ",", 2, quoted=True)
    assert rows_of(cells) == [["a", "b"], ["c", "d"]]
