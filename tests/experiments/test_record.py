import datetime
import subprocess
import sys

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.record import Record

WORK = {"model": "DNN", "seed": 1}


def opened(path, work=WORK):
    return Record(path, work, "a search", "--output")


def entries_of(path):
    with opened(path) as record:
        return record.entries


def test_what_was_added_is_there_again(tmp_path):
    path = tmp_path / "folder" / "r.jsonl"
    with opened(path) as record:
        record.add({"a": 1, "b": [1, 2]})
    assert entries_of(path) == [{"a": 1, "b": [1, 2]}]


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    path = tmp_path / "r.jsonl"
    with opened(path) as record:
        record.add({"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    with opened(path) as again:
        assert again.entries == [{"a": 1}]
        again.add({"a": 3})
    assert entries_of(path) == [{"a": 1}, {"a": 3}]


def test_a_second_command_is_refused_until_the_first_has_ended(tmp_path):
    path = tmp_path / "r.jsonl"
    with opened(path) as record:
        with pytest.raises(UsageError) as told:
            opened(path)
        assert str(told.value) == (
            f"record {str(path)!r}: another command is at work on it, expected one at a time, or "
            "another --output."
        )
        record.add({"a": 1})
    assert entries_of(path) == [{"a": 1}]


def test_a_killed_command_leaves_the_record_to_the_next(tmp_path):
    path = tmp_path / "r.jsonl"
    program = (
        "import os, pathlib\n"
        "from recbole_midpg.experiments.record import Record\n"
        f"record = Record(pathlib.Path({str(path)!r}), {WORK!r}, 'a search', '--output')\n"
        "record.add({'a': 1})\n"
        "print('added', flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"added\n"
        with pytest.raises(UsageError, match="another command is at work"):
            opened(path)
        process.kill()
    assert entries_of(path) == [{"a": 1}]


def test_a_record_that_is_refused_is_free_again(tmp_path):
    path = tmp_path / "r.jsonl"
    entries_of(path)
    with pytest.raises(UsageError, match="other seed"):
        opened(path, {**WORK, "seed": 2})
    assert entries_of(path) == []


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise NotImplementedError("flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with opened(tmp_path / "r.jsonl") as record:
        record.add({"a": 1})
    assert "its file system has no locks" in caplog.text


@pytest.mark.parametrize("text", ["text\n", "1\n", '{"model": "DNN"}\n[]\n'])
def test_what_is_no_record_is_left_alone(tmp_path, text):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match="is no record of a search"):
        opened(path)
    assert path.read_text() == text


def test_another_work_is_told_by_what_differs(tmp_path):
    path = tmp_path / "r.jsonl"
    entries_of(path)
    told = r"of another search \(other seed\), expected the same one, or another --output\.$"
    with pytest.raises(UsageError, match=told):
        opened(path, {**WORK, "seed": 2})


def test_what_an_earlier_version_did_not_keep_is_not_compared_and_told(tmp_path, caplog):
    path = tmp_path / "r.jsonl"
    entries_of(path)
    work, kept_later = {**WORK, "data": {"x": 1}}, {"data": "the dataset's data"}
    for _ in range(2):
        with Record(path, work, "a search", "--output", kept_later):
            pass
        (line,) = caplog.messages
        assert line.startswith(f"record {str(path)!r}: it goes on, but does not say what it began")
        assert line.endswith("not compared: the dataset's data.")
        caplog.clear()
    with pytest.raises(UsageError, match=r"\(other seed\)"):
        Record(path, {**work, "seed": 2}, "a search", "--output", kept_later)
    Record(tmp_path / "new.jsonl", work, "a search", "--output", kept_later).__exit__()
    with pytest.raises(UsageError, match=r"\(other data\)"):
        Record(tmp_path / "new.jsonl", WORK, "a search", "--output", kept_later)
    assert caplog.messages == []


def test_dates_of_yaml_are_kept_and_compared(tmp_path):
    path, day = tmp_path / "r.jsonl", datetime.date(2024, 1, 2)
    for _ in range(2):
        opened(path, {**WORK, "from": day}).__exit__()
    with pytest.raises(UsageError, match=r"\(other from\)"):
        opened(path, {**WORK, "from": datetime.date(2024, 1, 3)})
