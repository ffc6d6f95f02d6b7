import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.dataset_state import STATE_FORMAT
from recbole_midpg.loading.array_file import Entry, read_entry, write_entry
from tests.security.attacks import RunsCode
from tests.support.recbole_data import DATA, GAPS, gaps_config


def tensors(dataset):
    dataset._change_feat_format()
    return {
        (feature, name): getattr(dataset, feature)[name]
        for feature in dataset.feat_name_list
        for name in getattr(dataset, feature).columns
    }


def test_a_saved_dataset_is_the_dataset():
    built = create_dataset(gaps_config(save_dataset=True))
    path = Path("saved/gaps-Dataset.pth")
    assert read_entry(path).arrays
    built.inter_feat = None  # the next one cannot share it
    loaded = create_dataset(gaps_config())
    fresh = create_dataset(gaps_config(checkpoint_dir="elsewhere"))
    assert vars(loaded).keys() == vars(fresh).keys()
    for name in ("field2type", "field2source", "field2seqlen", "field2bucketnum", "uid_field"):
        assert getattr(loaded, name) == getattr(fresh, name), name
    for name, tokens in fresh.field2id_token.items():
        assert np.array_equal(loaded.field2id_token[name], tokens), name
        assert loaded.field2token_id[name] == fresh.field2token_id[name]
    expected = tensors(fresh)
    for name, tensor in tensors(loaded).items():
        missing = tensor.isnan()
        assert torch.equal(missing, expected[name].isnan()), name
        assert torch.equal(tensor[~missing], expected[name][~missing]), name


def test_a_changed_key_builds_the_dataset_anew():
    create_dataset(gaps_config(save_dataset=True))
    changed = create_dataset(gaps_config(numerical_features=[]))
    assert changed.inter_feat["price"].dtype == np.float64
    changed = create_dataset(gaps_config(threshold={"rating": 5}))
    assert changed.inter_feat["label"].sum() == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda path: pickle.dump(RunsCode(), path.open("wb")),
        lambda path: torch.save({"dataset": RunsCode()}, path),
        lambda path: torch.save({"weights": 1}, path),
        lambda path: path.write_bytes(b""),
    ],
)
def test_other_files_at_its_name_are_refused_and_not_run(tmp_path, write):
    Path("saved").mkdir()
    write(Path("saved/gaps-Dataset.pth"))
    with pytest.raises(UsageError, match=r"saved.gaps-Dataset\.pth"):
        create_dataset(gaps_config())
    assert not (tmp_path / "ran").exists()


def test_pickled_dataloaders_are_refused(tmp_path):
    from recbole.data import data_preparation

    config = gaps_config(dataloaders_save_path="loaders.pth")
    with Path("loaders.pth").open("wb") as file:
        pickle.dump(RunsCode(), file)
    with pytest.raises(UsageError, match=r"dataloaders_save_path: 'loaders\.pth'"):
        data_preparation(config, create_dataset(config))
    config = gaps_config(save_dataloaders=True)
    with pytest.raises(UsageError, match="save_dataloaders: True"):
        data_preparation(config, create_dataset(config))
    assert not (tmp_path / "ran").exists()


def written(values):
    Path("saved").mkdir(exist_ok=True)
    with Path("saved/gaps-Dataset.pth").open("wb") as file:
        write_entry(file, Entry(values))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"format": STATE_FORMAT, "made of": {"config": {}, "files": {}}, "state": {}},
        {"format": STATE_FORMAT, "made of": 3, "state": 4},
        {"format": STATE_FORMAT, "made of": {"files": 5}, "state": {}},
    ],
)
def test_a_saved_dataset_of_another_program_is_refused(values):
    written(values)
    with pytest.raises(UsageError, match=r"gaps-Dataset\.pth': .*holds no dataset"):
        create_dataset(gaps_config())


def test_a_damaged_file_is_refused():
    create_dataset(gaps_config(save_dataset=True))
    path = Path("saved/gaps-Dataset.pth")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"gaps-Dataset\.pth': .*is cut off.*remove it"):
        create_dataset(gaps_config())


def test_a_saved_dataset_is_split_as_this_run_asks():
    """Not as the run did that saved it."""
    create_dataset(gaps_config(save_dataset=True))
    halves = {**GAPS["eval_args"], "split": {"RS": [0.8, 0.1, 0.1]}}
    dataset = create_dataset(gaps_config(eval_args=halves, seed=1))
    assert dataset.config["eval_args"]["split"] == {"RS": [0.8, 0.1, 0.1]}
    assert len(dataset.build()[0]) > 0.7 * dataset.inter_num


def test_a_dataset_of_recboles_other_models_is_saved_too():
    model, values = "BPR", {"eval_args": {**GAPS["eval_args"], "mode": "full"}}
    built = create_dataset(gaps_config(model, save_dataset=True, **values))
    (path,) = Path("saved").glob("*.pth")
    assert read_entry(path).arrays
    loaded = create_dataset(gaps_config(model, **values))
    assert type(loaded) is type(built) and vars(loaded).keys() == vars(built).keys()
    for name in built.feat_name_list:
        here, there = getattr(built, name), getattr(loaded, name)
        assert [repr(value) for value in here.to_numpy().ravel()] == [
            repr(value) for value in there.to_numpy().ravel()
        ]
    for name, tokens in built.field2token_id.items():
        assert loaded.field2token_id[name] == tokens


@pytest.fixture
def own_files(tmp_path):
    shutil.copytree(DATA / "gaps", tmp_path / "data" / "gaps")
    (tmp_path / "data" / "gaps" / "gaps.net").write_text("source_id:token")
    create_dataset(gaps_config(data_path="data", save_dataset=True))
    return tmp_path / "data" / "gaps"


def more_rows(folder):
    file = folder / "gaps.inter"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, lines[-1]]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (more_rows, "gaps.inter has changed"),
        (lambda folder: (folder / "gaps.net").unlink(), "gaps.net was removed"),
        (lambda folder: (folder / "gaps.kg").write_text("head_id:token"), "gaps.kg was added"),
    ],
)
def test_files_that_have_changed_are_read_and_not_what_was_saved(own_files, change, words, caplog):
    change(own_files)
    expected = len((own_files / "gaps.inter").read_text().splitlines()) - 1
    loaded = create_dataset(gaps_config(data_path="data"))
    assert loaded.inter_num == expected
    assert words in caplog.text


def test_a_saved_dataset_serves_where_its_files_are_touched_only(own_files, caplog):
    caplog.set_level("INFO")
    file = own_files / "gaps.inter"
    file.write_bytes(file.read_bytes())
    create_dataset(gaps_config(data_path="data"))
    assert "Load filtered dataset from" in caplog.text


def test_a_saved_dataset_of_an_earlier_version_is_refused(tmp_path):
    Path("saved").mkdir()
    torch.save({"config": {}, "dataset": {}}, "saved/gaps-Dataset.pth")
    with pytest.raises(UsageError, match="no dataset of this version"):
        create_dataset(gaps_config())
