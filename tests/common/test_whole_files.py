from pathlib import Path

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import (
    refuse_existing,
    require_folder,
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
    refuse_existing(tmp_path / "new", force=False)
    (tmp_path / "old").write_text("old")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("old", "dangling"):
        with pytest.raises(UsageError, match=f"{name}': it exists already, .* or --force"):
            refuse_existing(tmp_path / name, force=False)
        refuse_existing(tmp_path / name, force=True)


def test_what_exists_is_refused_by_the_name_of_its_option(tmp_path):
    (tmp_path / "old").touch()
    with pytest.raises(UsageError, match=r"^--settings_file '.*old': it exists already"):
        refuse_existing(tmp_path / "old", force=False, option="--settings_file")


@pytest.mark.parametrize("name", ["file", "file/below", "file/below/it"])
def test_a_file_is_no_folder_to_write_into(tmp_path, name):
    (tmp_path / "file").touch()
    told = r"^--output '.*': there is a file .*file', expected a folder or a new name\.$"
    with pytest.raises(UsageError, match=told):
        require_folder("--output", tmp_path / name)


def test_a_folder_that_is_or_can_be_made_is_taken(tmp_path):
    require_folder("--output", tmp_path)
    require_folder("--output", tmp_path / "new" / "one")
    require_folder("--output", "new")
    assert list(tmp_path.iterdir()) == []
