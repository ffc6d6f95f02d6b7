import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.record import Record


def test_what_was_added_is_there_again(tmp_path):
    path = tmp_path / "folder" / "r.jsonl"
    record = Record(path, {"model": "DNN"}, "a search", "--output")
    record.add({"a": 1, "b": [1, 2]})
    assert Record(path, {"model": "DNN"}, "a search", "--output").entries == [{"a": 1, "b": [1, 2]}]


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    path = tmp_path / "r.jsonl"
    Record(path, {"model": "DNN"}, "a search", "--output").add({"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    again = Record(path, {"model": "DNN"}, "a search", "--output")
    assert again.entries == [{"a": 1}]
    again.add({"a": 3})
    assert Record(path, {"model": "DNN"}, "a search", "--output").entries == [{"a": 1}, {"a": 3}]


@pytest.mark.parametrize("text", ["text\n", "1\n", '{"model": "DNN"}\n[]\n'])
def test_what_is_no_record_is_left_alone(tmp_path, text):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match="is no record of a search"):
        Record(path, {"model": "DNN"}, "a search", "--output")
    assert path.read_text() == text


def test_another_work_is_told_by_what_differs(tmp_path):
    path = tmp_path / "r.jsonl"
    Record(path, {"model": "DNN", "seed": 1}, "a search", "--output")
    told = r"of another search \(other seed\), expected the same one, or another --output\.$"
    with pytest.raises(UsageError, match=told):
        Record(path, {"model": "DNN", "seed": 2}, "a search", "--output")
