"""A model on a labelled file, beside the metrics of its scores computed one by one."""

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import auc, log_loss, predicted_over_observed
from recbole_midpg.prediction import Scorer, scoring_pass
from recbole_midpg.prediction.evaluation import MISSING_NAME, UNKNOWN, Resampling, evaluate_rows
from recbole_midpg.prediction.rows import open_rows
from tests.atomic_data_scripts.raw_files import GOLDEN_RAW
from tests.atomic_data_scripts.recbole_reading import config_of
from tests.prediction.checkpoints import checkpoint_of, gaps_checkpoint
from tests.support.purchases import purchases_config
from tests.support.shop import ITEMS, USERS, shop_config
from tests.support.typed import midpg

CHANNELS = ["app", "web", "app", "tv", "", "app"]
HEADER = ["user_id", "item_id", "channel", "price", "click", "seen"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    return checkpoint_of(shop_config(folder, "STAR", eval_batch_size=4)).path


def shop_rows(count, seed=0):
    """Rows of known and unknown channels; every 7th user is new."""
    draw = np.random.default_rng(seed)
    rows = []
    for place in range(count):
        user = USERS[draw.integers(len(USERS))] if place % 7 else "new"
        channel = CHANNELS[place % len(CHANNELS)]
        item = ITEMS[draw.integers(len(ITEMS))]
        seen = int(draw.random() < 0.8)
        rows.append([user, item, channel, round(draw.lognormal(3), 2), draw.integers(2), seen])
    return rows


def write(path, rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def evaluated(scorer, path, **options):
    with open_rows(path, scorer.fields, "\t") as file:
        return evaluate_rows(scorer, file, **options)


@pytest.mark.parametrize("block_rows", [1, 8, 1 << 15])
def test_metrics_are_those_of_the_scores(tmp_path, checkpoint, monkeypatch, block_rows):
    monkeypatch.setattr(scoring_pass, "_BLOCK_ROWS", block_rows)
    scorer = Scorer.read(checkpoint)
    rows = shop_rows(50)
    found = evaluated(scorer, write(tmp_path / "new.csv", rows), resampling=Resampling(20))
    columns = dict(zip(HEADER, zip(*rows, strict=True), strict=True))
    scores, labels = scorer.scores(columns), np.array(columns["click"])
    names = {"tv": UNKNOWN, "": MISSING_NAME}
    channels = np.array([names.get(name, name) for name in columns["channel"]])
    assert dict(found.scenarios).keys() == {"app", "web", UNKNOWN, MISSING_NAME}
    sizes = [group.rows for _, group in found.scenarios]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) == 50
    for name, group in [("all", found.whole), *found.scenarios]:
        mine = np.ones(50, bool) if name == "all" else channels == name
        y, p = labels[mine], scores[mine]
        assert (group.rows, group.positives) == (mine.sum(), y.sum())
        np.testing.assert_equal(group.auc.value, auc(y, p))
        np.testing.assert_allclose(group.logloss.value, log_loss(y, p), rtol=1e-12)
        np.testing.assert_allclose(group.pcoc.value, predicted_over_observed(y, p), rtol=1e-6)
        assert group.logloss.low <= group.logloss.value <= group.logloss.high
    assert found.counts["channel"].unknown == CHANNELS.count("tv") * 8
    assert found.counts["user_id"].unknown == sum(row[0] == "new" for row in rows)
    assert (found.label.name, found.scenario_field, found.passed_over) == ("click", "channel", 0)


def test_unknown_scenarios_are_one_where_training_has_an_unknown_token(tmp_path):
    config = shop_config(tmp_path / "shop", "DNN", min_count={"channel": 2})
    scorer = Scorer.read(checkpoint_of(config).path)
    assert scorer.scoring.fields.scored["channel"].encoder.unknown > 0
    found = evaluated(scorer, write(tmp_path / "new.csv", shop_rows(60)))
    sizes = {name: group.rows for name, group in found.scenarios}
    assert sizes == {"app": 30, "web": 10, UNKNOWN: 10, MISSING_NAME: 10}


def test_only_rows_that_are_given_count(tmp_path, checkpoint):
    """What stands in the others is not looked at."""
    scorer, rows = Scorer.read(checkpoint), shop_rows(40)
    kept = [row for row in rows if row[-1]]
    torn = [row if row[-1] else [*row[:3], "dear", "", 0] for row in rows]
    whole = evaluated(scorer, write(tmp_path / "new.csv", torn), given="seen")
    alone = evaluated(scorer, write(tmp_path / "kept.csv", kept))
    assert whole.passed_over == 40 - len(kept) > 0
    assert (whole.whole, whole.scenarios) == (alone.whole, alone.scenarios)
    torn[3][4] = "maybe"
    torn[3][5] = 1
    with pytest.raises(UsageError, match=r"new.csv, line 5, column 'click': 'maybe' is not"):
        evaluated(scorer, write(tmp_path / "new.csv", torn), given="seen")


@pytest.mark.parametrize(
    ("task", "label", "given"),
    [("CTR", "clicked", None), ("CVR", "bought", "clicked"), ("CTCVR", "bought", None)],
)
def test_a_task_is_judged_as_after_training(tmp_path, task, label, given):
    """By its own label, on its own rows; what is named wins."""
    checkpoint = checkpoint_of(purchases_config("ESMM_DNN", tmp_path, mlp_hidden_size=[8])).path
    file = tmp_path / "purchases" / "purchases.inter"
    columns = pd.read_csv(file, sep="\t").rename(columns=lambda name: name.split(":")[0])
    scorer = Scorer.read(checkpoint, task=task)
    found = evaluated(scorer, file, resampling=Resampling(0))
    assert (found.label.name, found.given) == (label, given)
    rows = columns if given is None else columns[columns[given] == 1]
    expected = log_loss(rows[label].to_numpy(), scorer.scores(rows))
    assert found.whole.rows == len(rows)
    np.testing.assert_allclose(found.whole.logloss.value, expected, rtol=1e-12)
    named = evaluated(scorer, file, label="bought", given="clicked", resampling=Resampling(0))
    assert (named.label.name, named.given) == ("bought", "clicked")


def test_clusters_are_drawn_with_their_rows(tmp_path, checkpoint):
    """Users of one row each make the intervals of single rows."""
    scorer, rows = Scorer.read(checkpoint), shop_rows(30)
    for place, row in enumerate(rows):
        row[0] = f"n{place}"
    path = write(tmp_path / "new.csv", rows)
    by_user = evaluated(scorer, path, resampling=Resampling(50, 3, "user_id"))
    assert by_user.clusters == 30
    assert by_user.whole == evaluated(scorer, path, resampling=Resampling(50, 3)).whole
    by_item = evaluated(scorer, path, resampling=Resampling(50, 3, "item_id"))
    assert by_item.clusters == len({row[1] for row in rows})
    assert by_item.whole.auc.low != by_user.whole.auc.low


def test_the_threshold_of_training_makes_the_labels(tmp_path):
    """Of gaps, whose rows are positive from a rating of 4; the scenario is the user's job."""
    scorer = Scorer.read(gaps_checkpoint(tmp_path).path)
    rows = ["u1,i1,5,10,c1", "u2,i2,4,20,c1", "u9,i3,3,30,c2", "u3,i1,1,5,c2"]
    path = tmp_path / "new.csv"
    path.write_text("\n".join(["user_id,item_id,rating,price,coupon", *rows]) + "\n")
    found = evaluated(scorer, path, resampling=Resampling(10))
    assert (str(found.label), found.whole.positives) == ("rating >= 4", 2)
    # u9 is unknown, and u3 has no job: both have the features of token 0.
    assert {name: group.rows for name, group in found.scenarios} == {
        "nurse": 1,
        "pilot": 1,
        UNKNOWN: 2,
    }


def test_the_command_prints_a_table_and_writes_files(tmp_path, checkpoint):
    write(tmp_path / "new.csv", shop_rows(60))
    words = ["evaluate", "--checkpoint", checkpoint, "--input", "new.csv", "--resamples", "50"]
    result = midpg(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    header, _, *lines = result.stdout.splitlines()
    assert " ".join(header.split()) == "scenario rows positives positive rate AUC LogLoss PCOC"
    assert [line[:10].strip() for line in lines[:5]][-1] == "all"
    number = r"\d\.\d{4} \[\d\.\d{4}, \d\.\d{4}\]"
    assert re.search(rf"^all +60 +\d+ +0\.\d+ +{number} +{number} +{number}$", lines[4])
    assert "[95% intervals]: 50 bootstrap resamples of rows, seed 2020" in result.stdout
    assert "channel: 40 known, 10 unknown ('tv'), 10 missing\n" in result.stderr
    assert "label: click\n" in result.stderr
    for name in ("report.json", "report.csv", "report.md"):
        assert midpg(*words, "--output", name, cwd=tmp_path).returncode == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == "recbole-midpg evaluation 1"
    assert report["all"]["rows"] == 60 == sum(group["rows"] for group in report["scenarios"])
    assert f"{report['all']['auc']['low']:.4f}" in lines[4]
    assert report["values"]["channel"] == {"known": 40, "unknown": 10, "missing": 10}
    with (tmp_path / "report.csv").open() as file:
        whole, *scenarios = csv.DictReader(file)
    assert whole["scenario"] == "" and float(whole["auc_high"]) == report["all"]["auc"]["high"]
    assert [row["scenario"] for row in scenarios] == [s["name"] for s in report["scenarios"]]
    assert "| all" in (tmp_path / "report.md").read_text()


def test_a_report_is_not_overwritten_unless_forced(tmp_path, checkpoint):
    write(tmp_path / "new.csv", shop_rows(20))
    (tmp_path / "old.json").write_text("old")
    words = ["evaluate", "--checkpoint", checkpoint, "--input", "new.csv", "--resamples", "0"]
    result = midpg(*words, "--output", "old.json", cwd=tmp_path)
    assert result.returncode == 2
    assert "output 'old.json': it exists already" in result.stderr
    assert (tmp_path / "old.json").read_text() == "old"
    assert midpg(*words, "--output", "old.json", "--force", cwd=tmp_path).returncode == 0
    report = json.loads((tmp_path / "old.json").read_text())
    assert report["all"]["auc"]["low"] is None and report["all"]["auc"]["value"] is not None


def test_a_log_is_not_replaced_by_its_report(tmp_path, checkpoint):
    before = write(tmp_path / "new.csv", shop_rows(20)).read_bytes()
    words = ["evaluate", "--checkpoint", checkpoint, "--input", "new.csv", "--resamples", "0"]
    result = midpg(*words, "--output", "./new.csv", "--force", cwd=tmp_path)
    assert result.returncode == 2
    assert "output 'new.csv': it is --input, expected another file." in result.stderr
    assert (tmp_path / "new.csv").read_bytes() == before


def test_rows_of_one_class_are_told_and_have_no_auc(tmp_path, checkpoint):
    rows = [[*row[:4], 0, 1] for row in shop_rows(20)]
    write(tmp_path / "new.csv", rows)
    words = ["evaluate", "--checkpoint", checkpoint, "--input", "new.csv", "--resamples", "10"]
    result = midpg(*words, cwd=tmp_path)
    assert result.returncode == 0
    assert "label click: it is 0 in all 20 rows, where AUC is not defined" in result.stderr
    assert "scenarios of one class, without an AUC: 4" in result.stdout


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        (None, [], "input 'new.csv': it cannot be read"),
        ("", [], "new.csv, line 1: it is empty, expected the columns' names"),
        ("user_id,item_id,channel,price,click\n", [], "new.csv: it has no rows, expected some"),
        ("user_id,item_id,channel,price\nu1,i1,app,2\n", [], "column 'click' is missing, the lab"),
        ("user_id,item_id,channel,click\nu1,i1,app,1\n", [], "column 'price' is missing, which"),
        ("user_id,item_id,channel,price,click\nu1,i1,app,2,3\n", [], "line 2, column 'click': '3'"),
        (
            "user_id,item_id,channel,price,click\nu1,i1,app,2,0\n",
            ["--given", "click"],
            "new.csv: it has no rows in which click is 1",
        ),
        ("click\n", ["--given", "clack"], "column 'clack' is missing, which says what rows"),
        (
            "price,click\n",
            ["--cluster", "price"],
            "--cluster: 'price' is a float field, expected a token",
        ),
        ("click\n", ["--cluster", "click"], "--cluster: 'click' is a float field, expected a tok"),
        ("click\n", ["--cluster", "user"], "--cluster: 'user' is not a column of"),
        ("click\n", ["--resamples", "-1"], "--resamples: -1 is not allowed, expected"),
        ("click\n", ["--seed", "-1"], "--seed: -1 is not allowed, expected a whole number from 0"),
        ("click\n", ["--output", "report.xlsx"], "its ending is '.xlsx', expected one of .json"),
        ("click\n", ["--on-error", "skip"], "--on-error: 'skip' is for raw files"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(tmp_path, checkpoint, content, words, told):
    if content is not None:
        (tmp_path / "new.csv").write_text(content)
    result = midpg(
        "evaluate", "--checkpoint", checkpoint, "--input", "new.csv", *words, cwd=tmp_path
    )
    assert result.returncode == 2
    assert told in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["iaac", "amazon_electronics"])
def test_a_raw_file_is_evaluated_as_the_atomic_file_made_of_it(tmp_path, name):
    prepare(name, GOLDEN_RAW[name], tmp_path)
    values = {"checkpoint_dir": str(tmp_path / "saved"), "mlp_hidden_size": [8]}
    scorer = Scorer.read(checkpoint_of(config_of(name, tmp_path, "DNN", **values)).path)
    atomic = evaluated(scorer, tmp_path / name / f"{name}.inter", resampling=Resampling(0))
    scorer.save(tmp_path / "model.scorer")
    words = ["evaluate", "--checkpoint", "model.scorer", "--raw", name, "--resamples", "0"]
    result = midpg(*words, "--input", GOLDEN_RAW[name], "--output", "r.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["all"]["rows"] == atomic.whole.rows
    assert report["all"]["logloss"]["value"] == atomic.whole.logloss.value
    assert report["all"]["auc"]["value"] == atomic.whole.auc.value
    bad = GOLDEN_RAW[name].read_bytes() + b"bad\n"
    (tmp_path / "bad.raw").write_bytes(bad)
    words += ["--input", "bad.raw", "--on-error", "skip"]
    result = midpg(*words, cwd=tmp_path)
    assert "lines are bad and have no score" in result.stderr and result.returncode == 0
