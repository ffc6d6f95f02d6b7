"""Which metrics go with which modes, on a context-aware model's own rows and on candidates."""

import pytest
from recbole.config import Config

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.eval_modes import modes_of
from recbole_midpg.integration.run.run import Run
from tests.support.recbole_data import GAPS, gaps_config

SAMPLING = {"distribution": "uniform", "sample_num": 1}
MIXED = {"valid": "uni5", "test": "full"}


@pytest.fixture
def clicks(tmp_path):
    """Positives only, with features of users and items: what sampling is for."""
    folder = tmp_path / "clicks"
    folder.mkdir()
    rows = "".join(f"u{row % 20}\ti{(row * 7 + row // 20) % 15}\n" for row in range(200))
    (folder / "clicks.inter").write_text("user_id:token\titem_id:token\n" + rows)
    users = "".join(f"u{user}\tg{user % 2}\t{20 + user}\n" for user in range(20))
    (folder / "clicks.user").write_text("user_id:token\tgender:token\tage:float\n" + users)
    items = "".join(f"i{item}\tc{item % 3}\n" for item in range(15))
    (folder / "clicks.item").write_text("item_id:token\tcategory:token\n" + items)
    return tmp_path


def values(mode, metrics, **others):
    ranking = metrics[0] not in ("AUC", "LogLoss")
    return {
        "metrics": metrics,
        "valid_metric": f"{metrics[0]}@3" if ranking else metrics[0],
        "topk": [3],
        "eval_args": {**GAPS["eval_args"], "mode": mode},
        **others,
    }


def message(mode, metrics, **others):
    with pytest.raises(UsageError) as error:
        gaps_config("DNN", **values(mode, metrics, **others))
    told = str(error.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize("model", ["DPG", "DeepFM"])
@pytest.mark.parametrize(
    ("mode", "metrics"),
    [
        ("full", ["Recall", "NDCG"]),
        ("uni5", ["Recall", "NDCG"]),
        ("pop5", ["Recall"]),
        (MIXED, ["NDCG"]),
        ({"valid": "full", "test": "pop5"}, ["NDCG"]),
        ("uni5", ["AUC", "LogLoss"]),
        ({"valid": "uni5", "test": "pop5"}, ["AUC"]),
    ],
    ids=str,
)
def test_what_goes_together_gives_results(clicks, model, mode, metrics):
    config = Config(
        model,
        "clicks",
        config_dict={
            **values(mode, metrics),
            "data_path": str(clicks),
            "checkpoint_dir": str(clicks / "saved"),
            "load_col": None,
            "threshold": None,
            "numerical_features": ["age"],
            "scenario_fields": ["gender"],
            "train_neg_sample_args": SAMPLING,
            "eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "mode": mode,
                          "group_by": None},
            "epochs": 1,
            "n": 2, "m": 2, "k": 2, "embedding_size": 4, "mlp_hidden_size": [8],
            "show_progress": False,
        },
    )  # fmt: skip
    run = Run.prepare(config)
    run.train(saved=False, verbose=False)
    run.test(saved=False)
    suffix = "" if metrics[0] == "AUC" else "@3"
    assert set(run.test_results) == {f"{name.lower()}{suffix}" for name in metrics}
    assert all(value >= 0 for value in run.test_results.values())


@pytest.mark.parametrize("metric", ["Recall", "GAUC", "Hit", "GiniIndex"])
@pytest.mark.parametrize("mode", ["labeled", {"valid": "uni5", "test": "labeled"}])
def test_rankings_need_candidates(mode, metric):
    told = message(mode, [metric])
    assert f"[{metric}] of rankings, expected full, uniN or popN" in told
    assert "metrics of rows, as [AUC, LogLoss]" in told


@pytest.mark.parametrize("mode", ["full", {"test": "full"}, {"valid": "full", "test": "labeled"}])
def test_metrics_of_rows_have_no_full_mode(mode):
    told = message(mode, ["AUC", "LogLoss"])
    assert "does not go with metrics: [AUC, LogLoss] of rows, expected labeled, uniN" in told


def test_a_mode_that_is_not_set_is_full_as_in_recbole():
    arguments = {key: value for key, value in GAPS["eval_args"].items() if key != "mode"}
    with pytest.raises(UsageError, match=r"eval_args: mode: full does not go with"):
        gaps_config("DNN", eval_args=arguments)
    assert modes_of(arguments) == {"valid": "full", "test": "full"}
    assert modes_of({"mode": {"test": "uni9"}}) == {"valid": "uni9", "test": "uni9"}
    assert modes_of({"mode": MIXED}) == MIXED


def test_a_labelled_validation_goes_with_a_labelled_test_only():
    told = message({"valid": "labeled", "test": "uni5"}, ["AUC"])
    assert told.startswith("eval_args: mode: {valid: labeled, test: uni5} is not allowed")


@pytest.mark.parametrize("mode", ["full", MIXED])
def test_full_needs_rows_without_features_of_their_own(mode):
    told = message(mode, ["Recall"])
    assert "cannot be done where a row has features of its own (" in told
    assert "unload_col: {inter: [" in told


@pytest.mark.parametrize(
    "mode", ["labelled", "uni", "uni0", "pop-5", "uni5x", 5, None, ["full"], {"valid": 3}], ids=str
)
def test_a_mode_that_is_none(mode):
    assert "is not allowed, expected labeled, full, uniN or popN" in message(mode, ["AUC"])


@pytest.mark.parametrize("value", [None, "labeled", ["RO"], 3])
def test_arguments_that_are_no_mapping(value):
    with pytest.raises(UsageError, match=r"^eval_args: .* is not allowed, expected a mapping as"):
        gaps_config("DNN", eval_args=value)


@pytest.mark.parametrize("metrics", [None, [], 3, [3], ["AUC", "AUC"], {"AUC": 1}])
def test_metrics_that_are_no_names(metrics):
    with pytest.raises(UsageError, match=r"^metrics: .* is not allowed, expected names"):
        gaps_config("DNN", metrics=metrics)


def test_metrics_of_two_kinds_and_unknown_ones():
    told = message("uni5", ["AUC", "Recall", "LogLoss"])
    assert "metrics: Recall of rankings cannot be computed beside AUC, LogLoss of rows" in told
    assert "metrics: 'recal' is no metric" in message("uni5", ["recal"])
    assert message("uni5", ["recal"]).endswith("did you mean 'Recall'?")
    assert gaps_config("DNN", metrics="auc", valid_metric="auc")["metrics"] == ["auc"]


@pytest.mark.parametrize("chosen", ["AUC", "Recall", "Recall@10", "NDCG@3"])
def test_a_ranking_that_is_not_computed_chooses_no_epoch(chosen):
    told = message("uni5", ["Recall", "GAUC"], valid_metric=chosen)
    assert f"valid_metric: {chosen!r} is not computed, expected one of Recall@3, GAUC" in told


def test_rankings_choose_epochs_in_capitals_or_not():
    for chosen in ("recall@3", "GAUC"):
        gaps_config("DNN", **values("uni5", ["Recall", "GAUC"], valid_metric=chosen))


def test_candidates_need_users_and_items():
    told = message("uni5", ["Recall"], USER_ID_FIELD="uid")
    assert told.startswith("USER_ID_FIELD: 'uid' is not a column of gaps.inter")
    told = message("uni5", ["AUC"], ITEM_ID_FIELD="movie")
    assert told.startswith("ITEM_ID_FIELD: 'movie' is not a column of gaps.inter")
    nobody = {"USER_ID_FIELD": None, "ITEM_ID_FIELD": None, "numerical_features": []}
    rows = {"load_col": {"inter": ["rating", "coupon"]}, "scenario_fields": ["coupon"]}
    told = message("uni5", ["AUC"], **nobody, **rows)
    assert told.startswith("USER_ID_FIELD: None is not a loaded field, which eval_args: mode: uni5")


def test_labelled_rows_need_a_label_that_training_does_without():
    unlabelled = {"threshold": None, "LABEL_FIELD": "click", "train_neg_sample_args": SAMPLING}
    told = message("labeled", ["AUC"], **unlabelled)
    assert told.startswith(
        "LABEL_FIELD: 'click' is not a field that is loaded, and eval_args: mode"
    )
    gaps_config("DNN", **values("uni5", ["AUC"], **unlabelled))


@pytest.mark.parametrize(
    ("key", "value"),
    [("topk", "ten"), ("topk", 0), ("topk", []), ("topk", [1, "2"]), ("topk", None),
     ("valid_metric", None), ("valid_metric", ["AUC"])],
)  # fmt: skip
def test_forms(key, value):
    assert f"{key}: {value!r} is not allowed, expected a" in message(
        "uni5", ["Recall"], **{key: value}
    )
