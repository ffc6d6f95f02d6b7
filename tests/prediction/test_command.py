"""The commands ``predict``, ``recommend`` and ``export``, as the command line gives them."""

import argparse
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.commands.prediction import add_evaluate, add_export, add_predict, add_recommend
from recbole_midpg.common.choices import TASKS
from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction.scorer import Scorer
from tests.atomic_data_scripts.raw_files import GOLDEN_RAW
from tests.atomic_data_scripts.recbole_reading import config_of
from tests.prediction.checkpoints import checkpoint_of, gaps_checkpoint
from tests.prediction.test_export import EXPORTS_ALL
from tests.prediction.test_files import HEADER, ROWS
from tests.support.purchases import purchases_config
from tests.support.recbole_data import DATA
from tests.support.shop import shop_config


def run(*words):
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    add_predict(commands)
    add_recommend(commands)
    add_export(commands)
    add_evaluate(commands)
    options = vars(parser.parse_args([str(word) for word in words]))
    options.pop("action")(**options)


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "new.csv").write_text(HEADER + "\n".join(ROWS))
    return gaps_checkpoint(tmp_path / "saved").path


def read_scores(path):
    return np.loadtxt(path, dtype=np.float32, skiprows=1)


def test_predict_with_a_checkpoint_and_with_an_exported_scorer(checkpoint, tmp_path, capsys):
    run("predict", "--checkpoint", checkpoint, "--input", "new.csv", "--output", "scores.csv")
    assert capsys.readouterr().out == "scores.csv: 4 scores.\n"
    run("export", "--checkpoint", checkpoint, "--output", "model.scorer")
    run("predict", "--checkpoint", "model.scorer", "--input", "new.csv", "--output", "again.csv",
        "--keep", "note", "coupon")  # fmt: skip
    assert (tmp_path / "again.csv").read_text().splitlines()[1].startswith("a,c1,0.")
    again = np.loadtxt(tmp_path / "again.csv", np.float32, delimiter=",", skiprows=1, usecols=2)
    np.testing.assert_array_equal(again, read_scores(tmp_path / "scores.csv"))


def test_predict_of_a_raw_file_counts_what_it_leaves_out(tmp_path, capsys):
    prepare("iaac", GOLDEN_RAW["iaac"], tmp_path)
    values = {"checkpoint_dir": str(tmp_path / "saved"), "mlp_hidden_size": [8]}
    checkpoint = checkpoint_of(config_of("iaac", tmp_path, "DNN", **values)).path
    header, *rows = GOLDEN_RAW["iaac"].read_text().splitlines()
    test_rows = [line.rpartition(" ")[0] for line in (header, *rows)]
    (tmp_path / "test.txt").write_text("\n".join([*test_rows, "bad"]) + "\n")
    words = ["predict", "--checkpoint", checkpoint, "--raw", "iaac", "--input", "test.txt"]
    words += ["--output", "s.csv", "--keep", "instance_id"]
    with pytest.raises(UsageError, match=r"test\.txt, line 13: expected 26 columns, found 1"):
        run(*words)
    run(*words, "--on-error", "skip")
    told = capsys.readouterr()
    assert told.out == "s.csv: 11 scores.\n"
    assert (
        "warning: 1 of 12 lines are bad and have no score, the first one: test.txt, line 13: "
        "expected 26 columns, found 1, in 'bad'.\n"
    ) in told.err
    assert "hour: 11 known, 0 unknown, 0 missing\n" in told.err
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [row.split(" ")[0] for row in test_rows]


@pytest.mark.skipif(not EXPORTS_ALL, reason="this torch cannot export")
def test_export_of_a_program(tmp_path, capsys):
    checkpoint = gaps_checkpoint(tmp_path, "DNN").path
    run("export", "--checkpoint", checkpoint, "--output", "model.pt2")
    assert "model.pt2: " in capsys.readouterr().out
    assert torch.export.load("model.pt2").module()


def test_a_task_of_clicks_and_purchases(tmp_path, capsys):
    checkpoint = checkpoint_of(purchases_config("ESMM_DNN", tmp_path, mlp_hidden_size=[8])).path
    words = ["--checkpoint", checkpoint, "--input", tmp_path / "purchases" / "purchases.inter"]
    scores = {}
    for task in TASKS:
        run("predict", *words, "--task", task, "--output", f"{task}.csv")
        scores[task] = read_scores(tmp_path / f"{task}.csv")
    np.testing.assert_allclose(scores["CTR"] * scores["CVR"], scores["CTCVR"], rtol=1e-5)
    with pytest.raises(UsageError, match=r"task: 'a.scorer' will give every task, expected --task"):
        run("export", "--checkpoint", checkpoint, "--task", "CVR", "--output", "a.scorer")
    if EXPORTS_ALL:
        run("export", "--checkpoint", checkpoint, "--task", "CVR", "--output", "cvr.pt2")
        scorer = Scorer.read(checkpoint)
        encoded = scorer.encode({"user_id": ["u1"], "item_id": ["i1"], "channel": ["web"]})
        expected = scorer.scoring.model.tasks(encoded)["CVR"]
        given = torch.export.load("cvr.pt2").module()(encoded)
        torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["export", "--output", "model.pb"], "its ending is '.pb', expected one of .scorer"),
        (["export", "--output", "none/m.pt2"], "there is no folder to write it to"),
        (["predict", "--input", "new.csv", "--output", "none/s.csv"], "there is no folder"),
        (["predict", "--input", "new.csv", "--output", "s.parquet"], "'.parquet', expected .csv."),
        (["predict", "--input", "new.csv", "--output", "s"], "its ending is '', expected .csv."),
        (
            ["predict", "--input", "new.csv", "--output", "s.csv", "--keep", "note", "note"],
            "--keep: 'note' is there twice, expected each column once.",
        ),
        (["predict", "--input", "none.csv", "--output", "s.csv"], "input 'none.csv': it cannot"),
        (["predict", "--input", "new.txt", "--output", "s.csv"], "or --raw NAME for a dataset's"),
        (
            ["predict", "--input", "new.csv", "--output", "s.csv", "--raw", "iacc"],
            "'iacc' is not a dataset that can be converted; did you mean 'iaac'?",
        ),
        (
            ["predict", "--input", "new.csv", "--output", "s.csv", "--on-error", "skip"],
            "--on-error: 'skip' is for raw files, expected --raw beside it",
        ),
    ],
)
def test_what_is_wrong_is_told(checkpoint, tmp_path, words, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        run(*words, "--checkpoint", checkpoint)
    assert not [path for path in tmp_path.iterdir() if path.suffix not in {"", ".csv"}]
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("command", ["predict", "export"])
def test_checkpoints_that_cannot_be_read_are_told_before_anything_is_written(
    checkpoint, tmp_path, command
):
    with open(checkpoint, "rb") as file:  # noqa: PTH123 - RecBole's plain strings
        whole = file.read()
    torch.save({"weights": 1}, tmp_path / "foreign.pth")
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.pth").write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    output = tmp_path / ("kept.csv" if command == "predict" else "kept.scorer")
    output.write_text("old")
    more = ["--input", "new.csv"] if command == "predict" else []
    for name in ("none.pth", "cut.pth", "flipped.pth", "foreign.pth", "new.csv"):
        with pytest.raises(UsageError, match=f"checkpoint '{name}': ") as error:
            run(command, "--checkpoint", name, "--output", output, "--force", *more)
        assert "\n" not in str(error.value)
    assert output.read_text() == "old"


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_dataset_that_is_damaged_since_is_told_with_its_line(tmp_path, command):
    shutil.copytree(DATA / "gaps", tmp_path / "data" / "gaps")
    path = gaps_checkpoint(tmp_path / "saved", data_path=str(tmp_path / "data")).path
    (tmp_path / "new.csv").write_text(HEADER + "\n".join(ROWS))
    file = tmp_path / "data" / "gaps" / "gaps.inter"
    file.write_text(file.read_text().replace("5\t10", "5\tcheap", 1))
    ending = ".csv" if command == "predict" else ".scorer"
    more = ["--input", "new.csv"] if command == "predict" else []
    with pytest.raises(UsageError, match=r"gaps\.inter, line 2, column 'price': 'cheap' is not"):
        run(command, "--checkpoint", path, "--output", f"made{ending}", *more)
    assert not (tmp_path / f"made{ending}").exists()


@pytest.mark.parametrize("command", ["predict", "export", "recommend"])
def test_an_output_that_exists_is_replaced_by_force_alone(checkpoint, tmp_path, command):
    more = {
        "predict": ["--input", "new.csv"],
        "export": [],
        "recommend": ["--users", "u1", "--context", "coupon=c1", "price=3"],
    }[command]
    output = tmp_path / ("old.scorer" if command == "export" else "old.csv")
    output.write_text("old")
    words = [command, "--checkpoint", checkpoint, "--output", output.name, *more]
    with pytest.raises(UsageError, match=r"output 'old.*': it exists already, .* --force"):
        run(*words)
    assert output.read_text() == "old"
    run(*words, "--force")
    assert output.read_bytes() != b"old"


@pytest.mark.parametrize("command", ["predict", "export", "recommend", "evaluate"])
def test_a_checkpoint_is_not_replaced_by_what_is_made_of_it(checkpoint, tmp_path, command):
    output = {"export": "old.scorer", "evaluate": "old.json"}.get(command, "old.csv")
    (tmp_path / output).symlink_to(checkpoint)
    more = {"export": [], "recommend": ["--users", "u1"]}.get(command, ["--input", "new.csv"])
    words = [command, "--checkpoint", checkpoint, "--output", output, "--force", *more]
    before = Path(checkpoint).read_bytes()
    with pytest.raises(UsageError, match=f"output '{output}': it is --checkpoint, expected anoth"):
        run(*words)
    assert Path(checkpoint).read_bytes() == before


@pytest.fixture
def shop(tmp_path):
    """A checkpoint of DeepFM on rows with a context of their own."""
    return checkpoint_of(shop_config(tmp_path / "shop", "DeepFM")).path


IN_THE_APP = ["--context", "channel=app", "price=20"]


def recommend(shop, *words, users=("--users", "u1", "u2")):
    to_file = ["--output", "top.csv", "--force"]
    run("recommend", "--checkpoint", shop, *to_file, "--k", "4", *users, *words)
    return pd.read_csv("top.csv", dtype={"score": np.float32})


def test_recommend_for_listed_users_and_for_those_of_a_file(shop, tmp_path, capsys):
    table = recommend(shop, *IN_THE_APP)
    told = capsys.readouterr()
    assert told.out == "top.csv: 8 items for 2 requests.\n"
    assert told.err.splitlines() == [
        "user_id: 2 known, 0 unknown, 0 missing",
        "channel: 1 known, 0 unknown, 0 missing",
        "price: 1 known, 0 unknown, 0 missing",
    ]
    expected = Scorer.read(shop).top_k(["u1", "u2"], 4, {"channel": "app", "price": 20})
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    (tmp_path / "users.csv").write_text("channel,user_id\napp,u1\napp,u2\n")
    again = recommend(shop, "--context", "price=20", users=("--input", "users.csv"))
    pd.testing.assert_frame_equal(again, table)


def test_recommend_among_some_items_without_those_that_were_met(shop, tmp_path, capsys):
    seen = Scorer.read(shop, keep_seen=True)
    for word in ("--exclude_seen", "--exclude-seen"):
        table = recommend(shop, *IN_THE_APP, word)
        context = {"channel": "app", "price": 20}
        expected = seen.top_k(["u1", "u2"], 4, context, exclude=seen.seen)
        assert table["item_id"].tolist() == expected["item_id"].tolist()
    (tmp_path / "items.csv").write_text("item_id,price\ni1,3\nI2,4\ni3,5\n")
    (tmp_path / "met.csv").write_text("item_id,user_id\ni1,u1\ni3,u9\n")
    capsys.readouterr()
    table = recommend(
        shop, "--context", "channel=app", "--items", "items.csv", "--exclude", "met.csv"
    )
    kept = table.groupby("user_id")["item_id"].agg(set).to_dict()
    assert kept == {"u1": {"I2", "i3"}, "u2": {"i1", "I2", "i3"}}
    told = capsys.readouterr().err
    assert "item_id: 2 known, 1 unknown ('I2'), 0 missing" in told
    assert "exclude, user_id: 1 known, 1 unknown ('u9'), 0 missing" in told
    assert "likely cause: capitals" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--users", "u1"], r"the model reads channel, price of each row.*channel=… price=…"),
        (["--users", "u1", "--context", "channel"], "--context: 'channel' is not allowed, exp"),
        (["--users", "u1", "--context", "price=1", "price=2"], "--context: 'price' is there twice"),
        (["--users", "users.csv"], "--users: 'users.csv' is a file, which --input reads"),
        (["--input", "none.csv"], "input 'none.csv': it cannot be read"),
        (["--users", "u1", "--items", "none.csv"], "'none.csv': it cannot be read"),
        (["--input", "top.csv"], "output 'top.csv': it is --input, expected another file"),
        (["--users", "u1", "--items", "dear.csv"], r"dear\.csv, line 4, column 'price': 'abc' is"),
        (
            ["--users", "u1", "--items", "twice.csv"],
            r"twice\.csv, line 3, column 'item_id': 'i1' is",
        ),
        (["--users", "u1", "--items", "users.csv"], r"users\.csv: the column 'item_id' is missing"),
        (
            ["--users", "u1", "--items", "semi.csv"],
            r"semi\.csv, line 1: one column is found, 'item",
        ),
        (["--users", "u1", "--exclude", "users.csv"], r"users\.csv: the column 'item_id' is miss"),
        (["--users", "u1", "--exclude", "semi.csv"], r"semi\.csv, line 1: one column is found"),
        (["--input", "semi.csv"], r"semi\.csv, line 1: one column is found"),
        (["--users", "u1", "--items", "top.csv"], "output 'top.csv': it is --items, expected"),
        (["--users", "u1", "--exclude", "./top.csv"], "output 'top.csv': it is --exclude, exp"),
        (["--users", "u1", "--output", "top.parquet"], "ending is '.parquet', expected .csv"),
    ],
)
def test_what_is_wrong_with_a_recommendation_is_told(shop, tmp_path, words, told):
    (tmp_path / "users.csv").write_text("user_id\nu1\n")
    (tmp_path / "dear.csv").write_text('item_id,price,note\ni1,3,"a\nb"\ni2,abc,\n')
    (tmp_path / "twice.csv").write_text("item_id\ni1\ni1\n")
    (tmp_path / "semi.csv").write_text("item_id;user_id\ni1;u1\n")
    (tmp_path / "top.csv").write_text("old")
    with pytest.raises(UsageError, match=told):
        recommend(shop, users=words)
    assert (tmp_path / "top.csv").read_text() == "old"
