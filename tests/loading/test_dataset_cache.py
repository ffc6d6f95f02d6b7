"""The cache of datasets: found again, noticed when damaged, never in the way."""

import errno
import json
import logging
import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from recbole_midpg.loading import array_file, dataset_cache
from recbole_midpg.loading.array_file import Entry
from recbole_midpg.loading.dataset_cache import (
    KEPT_ENTRIES,
    DatasetCache,
    default_folder,
    key_of,
)

ENTRY = Entry(
    {"fields": ["a", None, 1.5], "text": "ä"},
    {
        "ids": np.arange(1000, dtype=np.int32),
        "none": np.zeros((0, 3)),
        "table": np.arange(6.0).reshape(2, 3)[:, ::2],
    },
)
KEY = key_of("what it is made of")


@pytest.fixture
def cache(tmp_path):
    return DatasetCache(tmp_path / "deep" / "cache")


def only_entry(cache):
    (path,) = cache.folder.glob("*.arrays")
    return path


def assert_is_entry(loaded):
    assert loaded.values == ENTRY.values
    assert loaded.arrays.keys() == ENTRY.arrays.keys()
    for name, array in ENTRY.arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert np.array_equal(loaded.arrays[name], array)


def test_what_is_stored_is_loaded(cache):
    assert cache.load("set", KEY) is None
    cache.store("set", KEY, ENTRY)
    assert_is_entry(cache.load("set", KEY))
    assert cache.load("set", key_of("something else")) is None
    assert cache.load("other set", KEY) is None
    assert [path.suffix for path in cache.folder.iterdir()] == [".arrays"]


def test_a_loaded_array_can_be_changed_without_changing_the_entry(cache):
    cache.store("set", KEY, ENTRY)
    cache.load("set", KEY).arrays["ids"][:] = 7
    assert_is_entry(cache.load("set", KEY))


def test_every_changed_bit_is_noticed(cache, caplog):
    cache.store("set", KEY, ENTRY)
    path = only_entry(cache)
    written = path.read_bytes()
    holes = padding_of(written)
    draw = random.Random(0)
    for place in [*range(200), *(draw.randrange(len(written)) for _ in range(300))]:
        changed = bytearray(written)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        loaded = cache.load("set", KEY)
        assert loaded is None or place in holes
    assert "is made anew" in caplog.text


def padding_of(written):
    """The places between the parts, which nobody reads."""
    begin = len(array_file._head(b""))
    size = int.from_bytes(written[begin - 40 : begin - 32], "little")
    arrays = json.loads(written[begin : begin + size])["arrays"]
    first = array_file._aligned(begin + size)
    read = set(range(begin + size))
    for array in arrays:
        start = first + array["place"]
        size = np.dtype(array["type"]).itemsize * int(np.prod(array["shape"]))
        read.update(range(start, start + size))
    return set(range(len(written))) - read


@pytest.mark.parametrize("kept", [0, 1, 30, 60, 300, 2000])
def test_a_file_that_was_cut_off_is_noticed(kept, cache, caplog):
    cache.store("set", KEY, ENTRY)
    path = only_entry(cache)
    path.write_bytes(path.read_bytes()[:kept])
    assert cache.load("set", KEY) is None
    assert "is made anew" in caplog.text
    cache.store("set", KEY, ENTRY)
    assert_is_entry(cache.load("set", KEY))


def test_another_format_is_not_read(cache, monkeypatch, caplog):
    cache.store("set", KEY, ENTRY)
    monkeypatch.setattr(array_file, "FORMAT", array_file.FORMAT + 1)
    assert cache.load("set", KEY) is None
    assert "format" in caplog.text


def test_keys():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})
    assert key_of([1, 2]) != key_of([2, 1])


def test_the_newest_entries_of_a_dataset_are_kept(cache):
    cache.store("other", KEY, ENTRY)
    keys = [key_of(number) for number in range(KEPT_ENTRIES + 2)]
    for age, key in enumerate(keys):
        cache.store("set", key, ENTRY)
        os.utime(cache._path("set", key), (age, age))
    cache.load("set", keys[2])  # used now
    cache.store("set", KEY, ENTRY)
    left = [key for key in keys if cache.load("set", key)]
    assert left == [keys[2], *keys[-KEPT_ENTRIES + 2 :]]
    assert cache.load("other", KEY)


def test_abandoned_parts_are_deleted(cache):
    cache.store("set", KEY, ENTRY)
    old, new = cache.folder / "x.arrays.old.part", cache.folder / "x.arrays.new.part"
    note, foreign = cache.folder / "files" / "x.json.old.part", cache.folder / "film.part"
    note.parent.mkdir(exist_ok=True)
    for path in (old, new, note, foreign):
        path.touch()
        os.utime(path, None if path is new else (0, 0))
    cache.store("set", KEY, ENTRY)
    assert [path.exists() for path in (old, new, note, foreign)] == [False, True, False, True]


def test_a_folder_that_cannot_be_made_costs_one_line(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = DatasetCache(tmp_path / "file" / "cache")
    cache.store("set", KEY, ENTRY)
    assert len(caplog.records) == 1
    assert "is not written" in caplog.text
    assert cache.load("set", KEY) is None


def test_a_full_disk_costs_one_line_and_leaves_nothing(cache, caplog, monkeypatch):
    def fail(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    cache.store("set", KEY, ENTRY)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "No space left" in caplog.text
    assert list(cache.folder.iterdir()) == []


def test_writers_at_the_same_time_leave_a_whole_entry(cache):
    threads = [threading.Thread(target=cache.store, args=("set", KEY, ENTRY)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_is_entry(cache.load("set", KEY))
    assert len(list(cache.folder.iterdir())) == 1


def old_file(path, content, age=100):
    path.write_text(content)
    moment = path.stat().st_mtime - age
    os.utime(path, (moment, moment))


def test_a_file_is_hashed_once_as_long_as_it_stays(cache, tmp_path, monkeypatch):
    path = tmp_path / "file"
    old_file(path, "one")
    key = cache.content_key(path)
    hashed = []
    stock = dataset_cache.sha256_of
    monkeypatch.setattr(dataset_cache, "sha256_of", lambda file: hashed.append(file) or stock(file))
    assert cache.content_key(path) == key
    assert not hashed
    old_file(path, "two")
    assert cache.content_key(path) != key
    old_file(path, "one", age=50)
    assert cache.content_key(path) == key
    assert len(hashed) == 2


def test_a_file_written_just_now_is_hashed_each_time(cache, tmp_path):
    path = tmp_path / "file"
    path.write_text("one")
    moment = path.stat()
    first = cache.content_key(path)
    path.write_text("two")
    os.utime(path, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert cache.content_key(path) != first


def test_a_damaged_note_of_a_hash_is_made_anew(cache, tmp_path):
    path = tmp_path / "file"
    old_file(path, "one")
    key = cache.content_key(path)
    (note,) = (cache.folder / "files").iterdir()
    for text in ("", "[]", "{", '{"identity": 1}'):
        note.write_text(text)
        assert cache.content_key(path) == key


def test_the_user_s_folder_of_caches(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/recbole_midpg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "recbole_midpg"

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert default_folder() == Path("recbole_midpg_cache")


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", "a*", "", "ä"])
def test_any_name_of_a_dataset(name, cache):
    cache.store(name, KEY, ENTRY)
    assert_is_entry(cache.load(name, KEY))
    assert only_entry(cache).parent == cache.folder
