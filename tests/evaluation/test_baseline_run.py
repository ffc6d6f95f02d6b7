import json

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.baseline_run import TEST, VALID, baseline_auc

VALUES = {
    "dataset": "d",
    "seed": 1,
    "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}},
    "time_split": None,
    "LABEL_FIELD": "label",
    "TIME_FIELD": "timestamp",
    "USER_ID_FIELD": "user_id",
    "threshold": None,
    "benchmark_filename": None,
    "rm_dup_inter": None,
    "val_interval": None,
    "filter_inter_by_user_or_item": True,
    "user_inter_num_interval": "[0,inf)",
    "item_inter_num_interval": "[0,inf)",
}


def config_with(path, content, **values):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {**VALUES, "baseline_run": str(path), **values}


@pytest.fixture
def report():
    return {
        "format": "recbole-midpg run 1",
        "config": VALUES,
        "valid": {"auc": 0.61},
        "test": {"auc": 0.62},
    }


def test_each_split_has_its_own(tmp_path, report):
    config = config_with(tmp_path / "a.json", report)
    assert baseline_auc(config, VALID) == 0.61
    assert baseline_auc(config, TEST) == 0.62


@pytest.mark.parametrize("key", VALUES)
def test_runs_on_other_rows_are_refused(tmp_path, report, key):
    config = config_with(tmp_path / "a.json", report, **{key: "other"})
    with pytest.raises(UsageError, match=f"is of another {key}.*same rows"):
        baseline_auc(config, TEST)


def test_what_is_no_report_is_refused(tmp_path, report):
    for number, (content, problem) in enumerate(
        [
            ("{", "it is not JSON text"),
            ([], "its format is None"),
            ({**report, "format": "other"}, "its format is 'other'"),
            ({**report, "test": {"logloss": 0.5}}, "has an AUC of None on test"),
            ({**report, "test": {"auc": 0.5}}, "expected one beside 0.5"),
        ]
    ):
        with pytest.raises(UsageError, match=problem):
            baseline_auc(config_with(tmp_path / f"{number}.json", content), TEST)
