"""Files of torch: checkpoints, progress and run files, scorers, folded models, first weights."""

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run.progress import Progress
from recbole_midpg.prediction.folded_file import load_folded
from tests.integration.run.test_progress import settings, write_rows
from tests.prediction.checkpoints import gaps_checkpoint
from tests.security.attacks import CODE, NAMES, RunsCode, changed, tree


def legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def pickled(state, path):
    Path(path).write_bytes(pickle.dumps(state))


READERS = {
    "predict": ["--input=new.csv", "--output=scores.csv"],
    "export": ["--output=m.scorer"],
    "fold": ["--output=m.pth"],
    "analyze": ["matrices", "--output=o"],
}


def read(attacked, told, command, path):
    return attacked.refused(told, command, *READERS[command], f"--checkpoint={path}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that each of the commands can read."""
    return gaps_checkpoint(
        tmp_path_factory.mktemp("trained"), "DPG", generator_input="scenario"
    ).path


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("save", [torch.save, legacy, pickled])
def test_nothing_is_unpickled(attacked, command, save):
    save({"config": RunsCode(), "state_dict": {}}, "attack.pth")
    read(attacked, "checkpoint 'attack.pth': ", command, "attack.pth")


@pytest.mark.parametrize("command", READERS)
def test_nothing_in_a_good_checkpoint_is_unpickled(attacked, trained, command):
    path = changed(trained, "attack.pth", vocabulary=RunsCode())
    read(attacked, "more than plain values", command, path)


@pytest.mark.parametrize("ending", ["pth", "progress"])
def test_nothing_is_unpickled_to_go_on(attacked, gaps, ending):
    torch.save({"config": RunsCode(), "state_dict": {}}, f"attack.{ending}")
    words = ("--model=DNN", *gaps, f"--resume=attack.{ending}")
    attacked.refused(f"attack.{ending}", "run_recbole", *words)


def test_the_old_format_is_not_read_at_all(attacked):
    """torch before 2.6 runs what such a file says, whatever it is asked for."""
    legacy({"config": {}, "state_dict": {}}, "old.pth")
    read(attacked, "no archive as torch writes it", "predict", "old.pth")


def test_an_archive_that_unpacks_to_more_than_it_is(attacked, trained):
    with zipfile.ZipFile(trained) as good, zipfile.ZipFile("bomb.pth", "w") as bomb:
        for info in good.infolist():
            bomb.writestr(info.filename, good.read(info), zipfile.ZIP_DEFLATED)
    for command in READERS:
        read(attacked, "is compressed", command, "bomb.pth")


# --------------------------------------------------------------------------------------------------
# The config in a checkpoint


@pytest.mark.parametrize("command", ["predict", "fold"])
def test_the_teacher_of_kd_dagfm_in_a_checkpoint_is_a_name(attacked, trained, command):
    """RecBole's model passes the value to ``eval``."""
    values = {"teacher": CODE, "phase": "teacher_training", "type": "outer", "depth": 1}
    content = torch.load(trained, weights_only=True)
    content["config"]["model"] = "KD_DAGFM"
    content["config"]["values"].update(values, model="KD_DAGFM", alpha=0.1, beta=1.0)
    torch.save(content, "attack.pth")
    read(attacked, f"teacher: {CODE!r}", command, "attack.pth")


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("key", ["model", "dataset"])
def test_its_model_and_dataset_are_names(attacked, trained, command, key):
    for name in [*NAMES, 5, None]:
        content = torch.load(trained, weights_only=True)
        content["config"][key] = content["config"]["values"][key] = name
        torch.save(content, "attack.pth")
        read(attacked, f"its {key}: {name!r}", command, "attack.pth")


def test_its_values_name_nothing_else_than_it_does(attacked, trained):
    """RecBole's log file is named by one of them."""
    path = changed(trained, "a.pth", config={"model": "x/../../../outside/x", "dataset": "../x"})
    status, error = attacked.run("fold", f"--checkpoint={path}", "--output=m.pth")
    assert status == 0, error
    assert [file.name[:9] for file in Path("log/DPG").iterdir()] == ["DPG-gaps-"]


@pytest.mark.parametrize("values", [None, [], {"values": 1}, {"model": "DPG", "dataset": "gaps"},
                                    {"model": "DPG", "dataset": "gaps", "values": {"x": {
                                        "enum": "system", "member": "x"}}}])  # fmt: skip
def test_values_that_are_no_config(attacked, values):
    torch.save({"config": values, "state_dict": {}}, "attack.pth")
    for command in READERS:
        read(attacked, "its config is not one of recbole-midpg", command, "attack.pth")


@pytest.mark.parametrize("command", READERS)
def test_no_other_machine_is_joined(attacked, trained, monkeypatch, command):
    joined = []
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *_, **how: joined.append(how)
    )
    rank = {"local_rank": 0, "offset": 0, "world_size": 1, "nproc": 1, "ip": "192.0.2.1",
            "port": 1}  # fmt: skip
    path = changed(trained, "attack.pth", config=rank)
    attacked.run(command, *READERS[command], f"--checkpoint={path}")
    assert joined == []


@pytest.mark.parametrize("command", ["fold", "predict", "export"])
def test_reading_writes_nothing_where_its_config_says(attacked, trained, command):
    outside = str(attacked.outside)
    path = changed(
        trained,
        "attack.pth",
        config={
            **{"save_dataset": True, "checkpoint_dir": outside},
            **{"dataset_cache": True, "dataset_cache_dir": outside},
        },
    )
    status, error = attacked.run(command, *READERS[command], f"--checkpoint={path}")
    assert status == 0, error


@pytest.mark.parametrize("command", READERS)
def test_reading_downloads_nothing(attacked, trained, no_network, command):
    content = torch.load(trained, weights_only=True)
    content["config"]["dataset"] = "adult"
    content["config"]["values"].update(dataset="adult", data_path=str(attacked.outside / "adult"))
    torch.save(content, "attack.pth")
    read(attacked, "adult is not in ", command, "attack.pth")
    assert no_network == []


def test_a_checkpoint_sets_no_other_attribute_of_the_model(attacked, trained):
    path = changed(trained, "attack.pth", other_parameter={"forward": "x", "__class__": 1})
    read(attacked, "it sets __class__, forward, which DPG does not keep", "fold", path)


# --------------------------------------------------------------------------------------------------
# Scorers, folded models, weights to begin with


@pytest.mark.parametrize("name", ["KD_DAGFM", "BPR", "../x", "LDiffRec"])
def test_a_scorer_of_another_model(attacked, trained, name):
    words = ["--output=good.scorer", f"--checkpoint={trained}"]
    assert attacked.run("export", *words)[0] == 0
    content = torch.load("good.scorer", weights_only=True)
    content["config"]["model"] = name
    content["config"]["values"].update(model=name, teacher=CODE, type="outer", depth=1,
                                       alpha=0.1, beta=1.0, phase="x")  # fmt: skip
    torch.save(content, "attack.scorer")
    told = {"KD_DAGFM": "teacher: ", "../x": "its model: '../x'"}.get(name, "context-aware")
    read(attacked, told, "predict", "attack.scorer")


@pytest.mark.parametrize(
    "parts", [{"config": RunsCode()}, {"types": 5}, {"types": {"a": "x"}}, {"state_dict": {}}]
)
def test_a_folded_model_is_not_unpickled_and_its_parts_fit(attacked, trained, parts):
    words = ["--output=good.pth", f"--checkpoint={trained}"]
    assert attacked.run("fold", *words)[0] == 0
    content = torch.load("good.pth", weights_only=True)
    torch.save({**content, **parts}, "attack.pth")
    with pytest.raises(UsageError, match=r"folded model 'attack\.pth'"):
        load_folded("attack.pth")
    attacked.nothing_happened()


def general(name):
    """Words that train one of RecBole's own models that rank items."""
    write_rows(np.random.default_rng(1))
    return f"--model={name}", "--dataset=some", "--epochs=1"


def test_the_items_of_ldiffrec_are_not_unpickled(attacked):
    """RecBole's model reads the dataset's file with ``allow_pickle=True``."""
    words = general("LDiffRec")
    np.save("dataset/some/item_emb.npy", np.array([RunsCode()]), allow_pickle=True)
    attacked.refused("array of numbers", "run_recbole", *words, "--n_cate=2")


def test_weights_to_begin_with_are_not_unpickled(attacked):
    """RecBole's models read them by a bare ``torch.load``."""
    words = general("NeuMF")
    pickled(RunsCode(), "attack.pth")
    words = (*words, "--use_pretrain=True", "--mf_pretrain_path=attack.pth",
             "--mlp_pretrain_path=attack.pth")  # fmt: skip
    attacked.refused("weights 'attack.pth'", "run_recbole", *words)


# --------------------------------------------------------------------------------------------------
# What a run goes on from, and writes over


@pytest.fixture
def run(attacked):
    """A run of two epochs, finished, and how it is gone on with in-process."""
    write_rows(np.random.default_rng(1))
    values = settings(epochs=2)
    run_recbole("DNN", "some", config_dict=values)
    (checkpoint,) = Path("saved").glob("*.pth")
    shutil.copy(checkpoint, "saved/victim.pth")
    shutil.copy(checkpoint.with_suffix(".json"), "saved/victim.json")
    lines = [f"{key}: {json.dumps(value)}" for key, value in values.items()]
    Path("c.yaml").write_text("\n".join(lines))
    return checkpoint, ("--model=DNN", "--dataset=some", "--config_files=c.yaml")


CHECKPOINT_NAMES = [
    *NAMES,
    "../../outside/victim.pth",
    "victim.pth",
    "DNN-victim.txt",
    5,
    None,
    ["x"],
]


def after_first_epoch(checkpoint, target, name):
    """A state that would let a run write its best epoch under another name."""
    state = {"checkpoint": name, "best_epoch": None}
    changed(checkpoint, target, run_state=state, epoch=0, cur_step=0, best_valid_score=-1.0)


def test_a_checkpoint_names_no_other_file_to_write_over(attacked, run):
    checkpoint, words = run
    for name in CHECKPOINT_NAMES:
        after_first_epoch(checkpoint, "saved/attack.progress", name)
        attacked.refused("attack.progress", "run_recbole", *words, "--resume=saved/attack.progress")


def test_another_run_s_checkpoint_is_not_written_over(attacked, run):
    checkpoint, words = run
    changed(checkpoint, "saved/DNN-other.pth", config={"learning_rate": 0.5})
    after_first_epoch(checkpoint, "saved/attack.progress", "DNN-other.pth")
    told = attacked.refused(
        "DNN-other.pth", "run_recbole", *words, "--resume=saved/attack.progress"
    )
    assert "it was trained with learning_rate: 0.5" in told


def test_a_run_file_names_a_checkpoint_beside_it(attacked, run, monkeypatch):
    checkpoint, words = run
    named = []
    stock = Progress.resume
    monkeypatch.setattr(
        Progress, "resume", lambda self: named.append(self._run_file) or stock(self)
    )
    for report in Path("saved").glob("*.json"):
        report.unlink()  # the run is finished, and would be told to be
    attacked.refused("no unfinished run", "run_recbole", *words, "--resume")
    for name in CHECKPOINT_NAMES:
        named[0].write_text(json.dumps({"checkpoint": name}))
        after_first_epoch(checkpoint, named[0].with_suffix(".progress"), name)
        attacked.refused(named[0].name, "run_recbole", *words, "--resume=auto")


STATES = [
    *(5, {}, {"checkpoint": "DNN-x.pth"}, {"torch": torch.zeros(3)}, {"history": [{"x": 1}]}),
    *({"numpy": ("x",)}, {"loader": "x"}),
]


def test_a_state_that_is_no_run_s(attacked, run):
    checkpoint, words = run
    for state in STATES:
        content = torch.load(checkpoint, weights_only=True)
        is_part = isinstance(state, dict) and state and "checkpoint" not in state
        content["run_state"] = {**content["run_state"], **state} if is_part else state
        content["epoch"] = 0
        torch.save(content, f"saved/{checkpoint.name}")
        words_of_it = (*words, f"--resume=saved/{checkpoint.name}")
        attacked.refused(checkpoint.name, "run_recbole", *words_of_it)


def test_a_run_that_goes_on_removes_no_one_else_s_files(attacked, run):
    checkpoint, words = run
    folder = attacked.folder / "downloads"
    folder.mkdir()
    shutil.copy(checkpoint, folder)
    foreign = folder / "film.part"
    foreign.write_bytes(b"half of it")
    os.utime(foreign, (0, 0))
    status, error = attacked.run("run_recbole", *words, f"--resume=downloads/{checkpoint.name}")
    assert status == 0, error
    assert "film.part" in tree(folder)
