"""Entries of the dataset cache, and saved datasets."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_midpg.integration.dataset.dataset_state import STATE_FORMAT, unpack
from recbole_midpg.loading.array_file import Entry, _head, read_entry, write_entry
from tests.security.attacks import RunsCode


def entry_of(description, rest=b"\0" * 4096):
    """The bytes of an entry with any description, its own digest right."""
    text = json.dumps(description).encode()
    head = _head(text)
    return head + text + bytes(-(len(head) + len(text)) % 64) + rest


def array(**changes):
    return {"name": "0", "type": "<i8", "shape": [4], "place": 0, "sha256": "", **changes}


ENTRIES = {
    "addresses": {"format": 1, "values": {}, "arrays": [array(type="|O")]},
    "addresses inside": {"format": 1, "values": {}, "arrays": [array(type="O,i8")]},
    "raw": {"format": 1, "values": {}, "arrays": [array(type="|V8")]},
    "before": {"format": 1, "values": {}, "arrays": [array(place=-4096)]},
    "negative": {"format": 1, "values": {}, "arrays": [array(shape=[-2, -2])]},
    "text": {"format": 1, "values": {}, "arrays": [array(shape="4")]},
    "nothing": {},
    "list": [],
    "no arrays": {"format": 1, "values": {}, "arrays": 5},
}
STATES = {
    "a list": ["list"],
    "no dataset": {"x": 1},
    "a number": 5,
    "a function": {"system": "mkdir ran"},
    "no enumeration": {"enum": "os", "member": "system"},
    "an array that is not there": {"array": "9"},
    "no array's name": {"array": {"array": "0"}},
    "no table": {"form": "__class__", "tables": 5},
    "no lengths": {"in_tuples": False, "lengths": "x", "rows": []},
}


def content_of(state):
    """A dataset's content with any state."""
    return {"format": STATE_FORMAT, "made of": {"config": {}, "files": {}}, "state": state}


@pytest.fixture
def cached(attacked, gaps):
    """The words of a run whose dataset is in the cache, and the file of the entry."""
    words = ("--model=DNN", *gaps, "--dataset_cache=True", "--dataset_cache_dir=cache",
             "--metrics=[LogLoss]", "--valid_metric=LogLoss", "--state=WARNING")  # fmt: skip
    status, error = attacked.run("run_recbole", *words)
    assert status == 0, error
    (entry,) = Path("cache").glob("*.arrays")
    return words, entry


@pytest.mark.slow
def test_entries_that_are_no_datasets_are_made_anew(attacked, cached):
    words, entry = cached
    good = entry.read_bytes()
    for name, description in ENTRIES.items():
        entry.write_bytes(entry_of(description))
        status, told = attacked.run("run_recbole", *words)
        assert status == 0, (name, told)
        assert entry.read_bytes() == good, name
    for name, state in STATES.items():
        for values in (state, content_of(state)):
            with entry.open("wb") as file:
                write_entry(file, Entry(values))
            status, told = attacked.run("run_recbole", *words)
            assert status == 0, (name, told)


def test_an_entry_sets_neither_the_config_nor_the_folder(attacked, cached):
    words, entry = cached
    found = read_entry(entry)
    content = found.values
    content["state"] |= {"config": {}, "dataset_path": "/etc", "logger": "x"}
    arrays = {name: np.array(values) for name, values in found.arrays.items()}
    with entry.open("wb") as file:
        write_entry(file, Entry(content, arrays))
    assert "dataset_path" in unpack(content, arrays)["state"]
    status, told = attacked.run("run_recbole", *words)
    assert status == 0, told


@pytest.mark.parametrize("name", ["saved/gaps-Dataset.pth", "mine.pth"])
def test_a_saved_dataset_is_not_unpickled(attacked, gaps, name):
    Path("saved").mkdir()
    for save in (torch.save, lambda state, path: Path(path).write_bytes(pickle.dumps(state))):
        save({"config": RunsCode(), "dataset": RunsCode()}, name)
        attacked.refused(name, "run_recbole", "--model=DNN", *gaps, f"--dataset_save_path={name}")


@pytest.mark.parametrize("name", STATES)
def test_a_saved_dataset_of_other_values(attacked, gaps, name):
    words = ("--model=DNN", *gaps, "--dataset_save_path=mine.pth")
    for values in (STATES[name], content_of(STATES[name])):
        with Path("mine.pth").open("wb") as file:
            write_entry(file, Entry(values))
        attacked.refused("saved dataset 'mine.pth'", "run_recbole", *words)


@pytest.mark.parametrize("name", ["loaders.pth", "../outside/victim.pth"])
def test_saved_dataloaders_are_not_unpickled(attacked, gaps, name):
    if not Path(name).exists():
        Path(name).write_bytes(pickle.dumps(RunsCode()))
    attacked.refused("is a pickle, which is not loaded", "run_recbole", "--model=DNN", *gaps,
                     f"--dataloaders_save_path={name}")  # fmt: skip
