from pathlib import Path

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import (
    require_ending,
    require_folder_name,
    require_free_name,
    write_text,
    written_whole,
)


def test_files_take_their_names_together(tmp_path):
    paths = [tmp_path / "new" / name for name in ("a", "b")]
    with written_whole(paths) as parts:
        for part in parts:
            part.write_text(part.name)
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == [".a.part", ".b.part"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]


def test_what_was_there_stays_where_writing_fails(tmp_path):
    path = tmp_path / "a"
    path.write_text("before")

    def fill_the_disk():
        with written_whole([path]) as (part,):
            part.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match=r"a': it cannot be written \(No space left on device\)"):
        fill_the_disk()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="it cannot be written"):
        write_text(tmp_path / "file" / "a", "text")


@pytest.mark.parametrize("name", [".", "..", "folder"])
def test_a_folder_is_no_file_to_write(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"it is a folder, expected a file's name"):
        write_text(Path(name), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_exists_is_refused_unless_it_is_to_be_replaced(tmp_path):
    require_free_name(tmp_path / "new", False, [])
    (tmp_path / "old").write_text("old")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("old", "dangling"):
        with pytest.raises(UsageError, match=f"{name}': it exists already, .* or --force"):
            require_free_name(tmp_path / name, False, [])
        require_free_name(tmp_path / name, True, [])


def test_what_is_read_is_never_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "read").write_text("read")
    (tmp_path / "folder").mkdir()
    (tmp_path / "symbolic").symlink_to("read")
    (tmp_path / "hard").hardlink_to(tmp_path / "read")
    reads = [("--items", None), ("--input", "read")]
    for name in ("read", "folder/../read", "symbolic", "hard", str(tmp_path / "read")):
        for force in (False, True):
            with pytest.raises(UsageError, match="': it is --input, expected another file"):
                require_free_name(name, force, reads)
    (tmp_path / "other").write_text("read")
    require_free_name("other", True, reads)


def test_an_ending_says_what_a_file_holds():
    require_ending("a.csv", [".csv"])
    with pytest.raises(UsageError, match=r"output 'a.txt': its ending is '.txt', expected .csv\."):
        require_ending("a.txt", [".csv"])
    with pytest.raises(UsageError, match=r"its ending is '', expected one of .json, .csv\."):
        require_ending("a", [".json", ".csv"])


@pytest.mark.parametrize("name", ["file", "file/a/b"])
def test_a_file_is_no_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--output: 'file' is a file, expected a folder"):
        require_folder_name(name)
    for fine in (".", "new/a", tmp_path):
        require_folder_name(fine)
