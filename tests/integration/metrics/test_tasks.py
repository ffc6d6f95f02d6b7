"""Tables of clicks, of purchases after a click and of both, after a run and in its report."""

import json

import numpy as np
import pytest
import yaml

from recbole_midpg.evaluation.binary_metrics import auc
from recbole_midpg.integration.metrics.tasks import tables_of_tasks
from recbole_midpg.integration.models.registry import get_model
from tests.support.purchases import purchases_config, purchases_values, write_purchases
from tests.support.recbole_data import loaders_of
from tests.support.toy import scrambled
from tests.support.typed import midpg, run_recbole

SMALL = {"mlp_hidden_size": [8, 4], "embedding_size": 4}


def test_each_task_is_judged_on_its_rows(tmp_path):
    config = purchases_config("ESMM_DNN", tmp_path, rows=600, **SMALL, eval_batch_size=7)
    train, _, test = loaders_of(config)
    model = scrambled(get_model("ESMM_DNN")(config, train.dataset)).eval()
    tables = tables_of_tasks(model, test)
    rows = test._dataset[np.arange(len(test._dataset))]
    probabilities = {name: column.detach().numpy() for name, column in model.tasks(rows).items()}
    clicked, bought = rows["clicked"].numpy(), rows["bought"].numpy()
    whole = {name: table.everything for name, table in tables.items()}
    assert whole["CTR"].rows == whole["CTCVR"].rows == len(clicked)
    assert whole["CVR"].rows == clicked.sum()
    of_clicked = clicked == 1
    expected = {
        "CTR": auc(clicked, probabilities["CTR"]),
        "CVR": auc(bought[of_clicked], probabilities["CVR"][of_clicked]),
        "CTCVR": auc(bought, probabilities["CTCVR"]),
    }
    assert {name: row.auc for name, row in whole.items()} == pytest.approx(expected)
    for table in tables.values():
        assert sum(row.rows for row in table.scenarios) == table.everything.rows
        assert {row.name for row in table.scenarios} <= {"app", "web", "mail"}


def test_a_run_prints_a_table_a_task_and_reports_them(tmp_path):
    write_purchases(tmp_path / "dataset", rows=400)
    values = {**purchases_values(tmp_path / "dataset"), **SMALL, "checkpoint_dir": "saved"}
    (tmp_path / "purchases.yaml").write_text(yaml.safe_dump(values))
    words = ["--model=ESMM_MIDPG", "--dataset=purchases", "--config_files=purchases.yaml"]
    done = run_recbole(*words, "--n=4", "--m=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for task in ("CTR:", "CVR:", "CTCVR:"):
        assert task in done.stdout.splitlines()
    assert "CTR bce" in done.stderr and "CVR beta*mir" in done.stderr
    (path,) = (tmp_path / "saved").glob("*.json")
    report = json.loads(path.read_text())
    assert report["tasks"].keys() == {"CTR", "CVR", "CTCVR"}
    of_label = report["tasks"]["CTCVR"]
    assert round(of_label["all"]["auc"], 4) == report["test"]["auc"]
    assert of_label["scenarios"] == report["scenarios"]
    (tmp_path / "new.csv").write_text("user_id,item_id,channel\nu1,i1,app\n")
    (checkpoint,) = (tmp_path / "saved").glob("*.pth")
    scored = midpg("predict", "--checkpoint", checkpoint, "--input", "new.csv",
                   "--output", "scores.csv", cwd=tmp_path)  # fmt: skip
    assert scored.returncode == 0, scored.stderr


def test_a_misspelt_tower_is_said_at_once(tmp_path):
    done = run_recbole("--model=ESMM_MIDGP", "--dataset=ml-100k", cwd=tmp_path)
    assert done.returncode == 2
    assert "ESMM_MIDGP" in done.stderr and "did you mean 'ESMM_MIDPG'" in done.stderr


def test_a_fold_of_two_towers_is_refused(tmp_path):
    write_purchases(tmp_path / "dataset", rows=100)
    values = {**purchases_values(tmp_path / "dataset"), **SMALL, "checkpoint_dir": "saved"}
    values["generator_input"] = "scenario"
    (tmp_path / "purchases.yaml").write_text(yaml.safe_dump(values))
    words = ["--model=ESMM_DPG", "--dataset=purchases", "--config_files=purchases.yaml"]
    assert run_recbole(*words, "--n=4", "--m=4", cwd=tmp_path).returncode == 0
    (checkpoint,) = (tmp_path / "saved").glob("*.pth")
    done = midpg("fold", "--checkpoint", checkpoint, "--output", "folded.pth", cwd=tmp_path)
    assert done.returncode == 2 and "ESMM_DPG" in done.stderr
